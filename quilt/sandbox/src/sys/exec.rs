//! `execve` whose pointers a filter can know and the program cannot.
//!
//! The `tool-noexec` filter must let exactly one `execve` pass: ours. It compares the path and argument pointers with
//! two addresses chosen at random for this cage. After `execve` the memory and the knowledge are gone, and a wrong
//! guess is refused, so there is no second one.

#![allow(unsafe_code, reason = "raw system calls; every block says why it is sound")]

use std::ffi::CString;
use std::io;
use std::ptr;

const PAGE_BYTES: usize = 4096;
/// User addresses have 47 bits; stay clear of both ends.
const ADDRESS_BITS: u32 = 46;
const ATTEMPTS_MAX: usize = 64;

/// A program, its arguments and its environment, laid out ready for the call.
#[derive(Debug)]
pub(crate) struct Exec {
    path: *const libc::c_char,
    arguments: *const *const libc::c_char,
    environment: Vec<*const libc::c_char>,
    /// Keeps what the pointers above point to.
    _strings: (Vec<CString>, Vec<CString>),
}

impl Exec {
    /// Copies the path and the argument table to random addresses. The memory is never given back: `execve` takes it.
    pub(crate) fn new(argv: Vec<CString>, environment: Vec<CString>) -> io::Result<Exec> {
        let Some(path) = argv.first() else { return Err(io::Error::from_raw_os_error(libc::EINVAL)) };
        let path = copy_to_random_page(path.as_bytes_with_nul())?;
        let mut table: Vec<u8> = Vec::with_capacity((argv.len() + 1) * size_of::<usize>());
        for argument in &argv {
            table.extend_from_slice(&(argument.as_ptr() as usize).to_ne_bytes());
        }
        table.extend_from_slice(&0usize.to_ne_bytes());
        let arguments = copy_to_random_page(&table)?;
        let pointers = environment.iter().map(|entry| entry.as_ptr()).chain([ptr::null()]).collect();
        Ok(Exec {
            path: path.cast(),
            arguments: arguments.cast(),
            environment: pointers,
            _strings: (argv, environment),
        })
    }

    /// The two secret addresses: path and argument table.
    pub(crate) fn secrets(&self) -> [u64; 2] {
        [self.path as u64, self.arguments as u64]
    }

    /// Replaces this process. Returns only the error.
    pub(crate) fn run(&self) -> io::Error {
        // SAFETY: path, both tables and all strings are NUL-terminated or null-terminated and alive; `execve` either
        // replaces the process or changes nothing.
        unsafe { libc::syscall(libc::SYS_execve, self.path, self.arguments, self.environment.as_ptr()) };
        io::Error::last_os_error()
    }
}

/// Copies `bytes` to a fresh mapping whose address, and offset where there is room, come from the kernel's generator.
fn copy_to_random_page(bytes: &[u8]) -> io::Result<*mut u8> {
    for _ in 0..ATTEMPTS_MAX {
        let random = super::random_u64()?;
        let hint = ((random & ((1 << ADDRESS_BITS) - 1)) as usize | 1 << 20) & !(PAGE_BYTES - 1);
        let slack = PAGE_BYTES + (PAGE_BYTES - bytes.len() % PAGE_BYTES) % PAGE_BYTES;
        let len = bytes.len() + slack;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
        // SAFETY: NOREPLACE maps only where nothing is, so no live memory changes.
        let page =
            unsafe { libc::mmap(hint as *mut libc::c_void, len, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
        if page == libc::MAP_FAILED {
            let error = io::Error::last_os_error();
            if error.raw_os_error() == Some(libc::EEXIST) || error.raw_os_error() == Some(libc::EPERM) {
                continue;
            }
            return Err(error);
        }
        // Pointer tables need 8-byte alignment.
        let offset = (random >> ADDRESS_BITS) as usize % (slack / 8) * 8;
        // SAFETY: `offset + bytes.len() <= len`, inside the mapping just made; the regions cannot overlap.
        let target = unsafe { page.cast::<u8>().add(offset) };
        // SAFETY: as above.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), target, bytes.len()) };
        return Ok(target);
    }
    Err(io::Error::from_raw_os_error(libc::ENOMEM))
}

/// A C string, or EINVAL for one with a NUL inside.
pub(crate) fn c_string(text: &str) -> io::Result<CString> {
    CString::new(text).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
}
