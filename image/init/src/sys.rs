//! Every unsafe call of PID 1, each behind a safe signature.
#![allow(unsafe_code, reason = "module loading, ioctls and the step between fork and exec have no safe wrapper")]

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Loads one kernel module; one that is there already counts as loaded.
pub(crate) fn load_module(file: &File) -> io::Result<()> {
    // SAFETY: the descriptor is open for the call, the parameter string is a valid C string, the kernel copies both.
    let result = unsafe { libc::syscall(libc::SYS_finit_module, file.as_raw_fd(), c"".as_ptr(), 0) };
    match check(result) {
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
        other => other,
    }
}

fn check(result: libc::c_long) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Grows the mounted ext4 below `directory` to `blocks` file system blocks. Doing it twice is harmless.
pub(crate) fn grow_ext4(directory: &File, blocks: u64) -> io::Result<()> {
    // _IOW('f', 16, u64), in no header that Rust sees.
    const EXT4_IOC_RESIZE_FS: u32 = 0x4008_6610;
    // SAFETY: the argument points to a u64 that lives through the call, as this request expects.
    let result =
        unsafe { libc::ioctl(directory.as_raw_fd(), libc::Ioctl::from(EXT4_IOC_RESIZE_FS), &raw const blocks) };
    check(result.into())
}

/// Tells the kernel that partition `number` of an open disk now has this extent. Sizes in bytes.
pub(crate) fn resize_partition(disk: &File, number: i32, start: i64, length: i64) -> io::Result<()> {
    #[repr(C)]
    struct Partition {
        start: i64,
        length: i64,
        number: libc::c_int,
        names: [u8; 128],
    }
    #[repr(C)]
    struct Request {
        operation: libc::c_int,
        flags: libc::c_int,
        length: libc::c_int,
        data: *mut Partition,
    }
    const BLKPG: u32 = 0x1269;
    const RESIZE: libc::c_int = 3;
    let mut partition = Partition { start, length, number, names: [0; 128] };
    let size = libc::c_int::try_from(size_of::<Partition>()).unwrap_or(libc::c_int::MAX);
    let mut request = Request { operation: RESIZE, flags: 0, length: size, data: &raw mut partition };
    // SAFETY: both structures have the layout of linux/blkpg.h and live through the call.
    let result = unsafe { libc::ioctl(disk.as_raw_fd(), libc::Ioctl::from(BLKPG), &raw mut request) };
    check(result.into())
}

/// What one `ifreq` call carries.
enum Field {
    Flags(libc::c_short),
    Address(Ipv4Addr),
}

fn interface_request(name: &str, field: &Field) -> io::Result<libc::ifreq> {
    if name.len() >= libc::IFNAMSIZ {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: an all-zero ifreq is valid: it holds bytes and a union of plain integers.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (slot, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *slot = libc::c_char::from_ne_bytes([byte]);
    }
    match field {
        Field::Flags(flags) => request.ifr_ifru.ifru_flags = *flags,
        Field::Address(address) => request.ifr_ifru.ifru_addr = socket_address(*address),
    }
    Ok(request)
}

fn socket_address(address: Ipv4Addr) -> libc::sockaddr {
    let inet = libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: 0,
        sin_addr: libc::in_addr { s_addr: u32::from(address).to_be() },
        sin_zero: [0; 8],
    };
    // SAFETY: both types are 16 bytes of plain integers and begin with the address family; the kernel reads it back as sockaddr_in.
    unsafe { std::mem::transmute(inet) }
}

fn interface_call(socket: RawFd, call: libc::Ioctl, name: &str, field: &Field) -> io::Result<()> {
    let mut request = interface_request(name, field)?;
    // SAFETY: every request used here takes a pointer to one ifreq, which lives through the call.
    check(unsafe { libc::ioctl(socket, call, &raw mut request) }.into())
}

/// Switches an interface on.
pub(crate) fn interface_up(socket: &impl AsRawFd, name: &str) -> io::Result<()> {
    let flags = libc::c_short::try_from(libc::IFF_UP | libc::IFF_RUNNING).unwrap_or_default();
    interface_call(socket.as_raw_fd(), libc::SIOCSIFFLAGS, name, &Field::Flags(flags))
}

/// Gives an interface its one IPv4 address and mask.
pub(crate) fn interface_address(
    socket: &impl AsRawFd,
    name: &str,
    address: Ipv4Addr,
    mask: Ipv4Addr,
) -> io::Result<()> {
    interface_call(socket.as_raw_fd(), libc::SIOCSIFADDR, name, &Field::Address(address))?;
    if address == Ipv4Addr::UNSPECIFIED {
        return Ok(());
    }
    interface_call(socket.as_raw_fd(), libc::SIOCSIFNETMASK, name, &Field::Address(mask))
}

/// Makes `gateway` the way out; one that is there already counts.
pub(crate) fn default_route(socket: &impl AsRawFd, gateway: Ipv4Addr) -> io::Result<()> {
    // SAFETY: an all-zero rtentry is valid: integers, sockaddr values and a null device name.
    let mut route: libc::rtentry = unsafe { std::mem::zeroed() };
    route.rt_dst = socket_address(Ipv4Addr::UNSPECIFIED);
    route.rt_genmask = socket_address(Ipv4Addr::UNSPECIFIED);
    route.rt_gateway = socket_address(gateway);
    route.rt_flags = libc::RTF_UP | libc::RTF_GATEWAY;
    // SAFETY: the request takes a pointer to one rtentry, which lives through the call and whose device pointer is null.
    match check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCADDRT, &raw mut route) }.into()) {
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
        other => other,
    }
}

/// A UDP socket on the DHCP client port that hears broadcasts on one interface before it has an address.
pub(crate) fn dhcp_socket(interface: &str) -> io::Result<std::net::UdpSocket> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, setsockopt, socket, sockopt};
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(AddressFamily::Inet, SockType::Datagram, flags, None)?;
    setsockopt(&fd, sockopt::Broadcast, &true)?;
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    setsockopt(&fd, sockopt::BindToDevice, &interface.into())?;
    bind(fd.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68)))?;
    Ok(fd.into())
}

/// Who a service runs as, and where.
pub(crate) struct Place {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Open `cgroup.procs` of the service's cgroup.
    pub(crate) cgroup: File,
}

/// Makes the child join its cgroup, clear its signal mask, lead its own session and, unless it stays root, give up every capability for good
/// and become its user, in that order: joining needs root.
pub(crate) fn arrange(command: &mut Command, place: Place) {
    let step = move || {
        // SAFETY: only async-signal-safe calls between fork and exec; the arguments are integers and a static string.
        unsafe {
            check(libc::write(place.cgroup.as_raw_fd(), c"0".as_ptr().cast(), 1) as libc::c_long)?;
            let mut none: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&raw mut none);
            check(libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut()).into())?;
            check(libc::setsid().into())?;
            if place.uid != 0 {
                check(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0).into())?;
                // Ends at the first number this kernel does not know.
                let mut capability = 0;
                while libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) == 0 {
                    capability += 1;
                }
            }
            check(libc::setgroups(0, std::ptr::null()).into())?;
            check(libc::setresgid(place.gid, place.gid, place.gid).into())?;
            check(libc::setresuid(place.uid, place.uid, place.uid).into())
        }
    };
    // SAFETY: the closure allocates nothing, takes no lock and touches only what it owns.
    unsafe { command.pre_exec(step) };
}
