//! The life of a quilt-init: launcher, shim, program.
//!
//! The launcher waits in its leaf until the engine has placed it there, builds the template and starts the shim, pid 1 of
//! the cage. The shim parks until there is an order; then it finishes the cage, gives up every right, starts the
//! program, reaps whatever ends, reports the program's end and ends itself, which makes the kernel end all the rest.
//! Nothing is printed, nothing is read but the socket, and there is one thread.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::unistd::ForkResult;

use crate::build::{Cage, Program, Template};
use crate::steps::{self, At};
use crate::sys;
use crate::wire::{self, Descriptors, Order, Record};

/// The descriptor our socket is on.
pub(crate) const CONTROL: i32 = 0;
/// What a process of ours ends with when there is nobody to tell.
const FAILED: i32 = 127;

/// Serves one order. Returns the process's exit code.
pub fn main() -> i32 {
    match launcher() {
        Ok(()) => 0,
        Err(_) => FAILED,
    }
}

fn launcher() -> io::Result<()> {
    sys::close_from(3, u32::MAX)?;
    nix::unistd::chdir("/")?;
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    let control = sys::borrow(CONTROL);
    let Some(start) = wire::receive_start(control)? else { return Ok(()) };
    let mut template = Template { rootfs: start.rootfs.into(), parent: start.parent };
    if let Err((at, error)) = steps::run(0, steps::TEMPLATE, &mut template) {
        return report(control, Record::failed(at, &error));
    }
    match sys::fork() {
        Ok(ForkResult::Child) => park(template),
        Ok(ForkResult::Parent { child }) => {
            while sys::wait_any()?.0 != child.as_raw() {}
            Ok(())
        }
        Err(error) => report(control, Record::failed(steps::FORK, &error)),
    }
}

/// Pid 1 of the cage, until its order comes.
fn park(mut template: Template) -> ! {
    let control = sys::borrow(CONTROL);
    let built = steps::run(1, steps::PARK, &mut template);
    let record = built.as_ref().err().map_or(Record::Done, |(at, error)| Record::failed(*at, error));
    if report(control, record).is_err() || built.is_err() {
        sys::exit_now(FAILED);
    }
    match wire::receive_order(control) {
        Ok(Some((order, descriptors))) => shim(Cage { order, descriptors }),
        // The engine is gone, or does not speak our language.
        Ok(None) | Err(_) => sys::exit_now(FAILED),
    }
}

fn report(to: BorrowedFd<'_>, record: Record) -> io::Result<()> {
    nix::unistd::write(to, &record.encode())?;
    Ok(())
}

/// Tells the engine which step failed and ends.
fn give_up(started: &OwnedFd, at: At, error: &io::Error) -> ! {
    // The engine sees the end of the pipe if even this fails.
    let _ = report(started.as_fd(), Record::failed(at, error));
    sys::exit_now(FAILED)
}

/// Pid 1 of the cage, with an order.
fn shim(mut cage: Cage) -> ! {
    let built = steps::run(2, steps::CAGE, &mut cage).and_then(|()| steps::run(3, steps::IDENTITY, &mut cage));
    if let Err((at, error)) = built {
        give_up(&cage.descriptors.started, at, &error);
    }
    match sys::fork() {
        Ok(ForkResult::Child) => program(cage),
        Ok(ForkResult::Parent { child }) => {
            let _ = report(cage.descriptors.started.as_fd(), Record::Done);
            keep_house(cage.descriptors, child.as_raw())
        }
        Err(error) => give_up(&cage.descriptors.started, steps::FORK, &error),
    }
}

fn program(cage: Cage) -> ! {
    let mut program = Program { cage, exec: None };
    match steps::run(4, steps::PROGRAM, &mut program) {
        // The last step does not return when it succeeds.
        Ok(()) => sys::exit_now(FAILED),
        Err((at, error)) => give_up(&program.cage.descriptors.started, at, &error),
    }
}

/// Reaps until the program has ended, reports its wait status, ends. Holds one descriptor and six system calls.
fn keep_house(descriptors: Descriptors<OwnedFd>, program: i32) -> ! {
    // Pid 1 is deaf to every signal it has no handler for, and the runtime installs some.
    let placed = sys::reset_signals()
        .and_then(|()| sys::place(descriptors.status.as_fd(), 0))
        .and_then(|()| sys::close_from(1, u32::MAX));
    // The values name numbers that are closed now; dropping them would close what came to have the same number.
    std::mem::forget(descriptors);
    if placed.and_then(|()| sys::load_filter(&crate::seccomp::shim())).is_err() {
        sys::exit_now(FAILED);
    }
    loop {
        match sys::wait_any() {
            Ok((pid, status)) if pid == program => {
                let _ = nix::unistd::write(sys::borrow(0), &status.to_le_bytes());
                sys::exit_now(0);
            }
            Ok(_) => {}
            Err(_) => sys::exit_now(FAILED),
        }
    }
}

/// Whether an order fits a message; the text to send if so.
pub(crate) fn encode(order: &Order) -> io::Result<Option<Vec<u8>>> {
    let text = serde_json::to_vec(order)?;
    Ok((text.len() <= wire::MESSAGE_BYTES_MAX).then_some(text))
}
