//! The event loop: one thread, one `poll`, everything else is a reaction.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

use crate::cmdline::Outcome;
use crate::data::Data;
use crate::error::{InitError, chain};
use crate::network::Network;
use crate::service::{self, Child, Output, SERVICES};
use crate::service_log::ServiceLog;
use crate::supervise::{Action, Place, Supervisor};
use crate::{cgroup, console, power, provision};

/// How often sockets and the ready file are looked for while something is awaited, and how late anything else may be noticed.
const TICK_BUSY: Duration = Duration::from_millis(20);
const TICK_IDLE: Duration = Duration::from_secs(2);

/// Time since boot, the clock all decisions use.
pub(crate) fn now() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from)
}

struct Machine {
    supervisor: Supervisor,
    children: [Option<Child>; SERVICES.len()],
    /// Pipes of services that ended, read until they are empty: the last words are the interesting ones.
    last_words: Vec<(Place, Output)>,
    log: ServiceLog,
    network: Network,
    announced: bool,
    outcome: Outcome,
    data: Data,
}

/// What `poll` woke us for; same order as its descriptors.
enum Source {
    Signal,
    Network,
    Button(usize),
    Output(Place),
    LastWords(usize),
}

/// Runs the services until somebody asks the machine to stop.
pub(crate) fn supervise(network: Network, data: Data) -> Result<Outcome, InitError> {
    let mut mask = SigSet::empty();
    for signal in [
        Signal::SIGCHLD,
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGPWR,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
        Signal::SIGHUP,
        Signal::SIGPIPE,
    ] {
        mask.add(signal);
    }
    mask.thread_block().map_err(InitError::Signals)?;
    let signals =
        SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).map_err(InitError::Signals)?;
    let mut buttons = power::buttons();
    let mut machine = Machine {
        supervisor: Supervisor::new(&SERVICES.map(|service| service.stop_patience), now()),
        children: [const { None }; SERVICES.len()],
        last_words: Vec::new(),
        log: ServiceLog::open(Path::new("/data/logs")),
        network,
        announced: false,
        outcome: Outcome::PowerOff,
        data,
    };
    loop {
        machine.act();
        if machine.supervisor.all_down() {
            break;
        }
        for source in machine.wait(&signals, &buttons)? {
            match source {
                Source::Signal => machine.on_signals(&signals),
                Source::Network => machine.network.on_readable(),
                Source::Output(place) => machine.relay(place),
                Source::LastWords(index) => machine.relay_last_words(index),
                Source::Button(index) if buttons.get_mut(index).is_some_and(power::pressed) => {
                    machine.stop("power button", Outcome::PowerOff)
                }
                Source::Button(_) => {}
            }
        }
        machine.network.on_time();
        machine.last_words.retain(|(_, output)| output.is_open());
    }
    machine.close();
    let outcome = machine.outcome;
    // Its log file must be closed before the data disk can be let go.
    drop(machine);
    power::release_disks();
    Ok(outcome)
}

impl Machine {
    /// Sleeps until something happens or is due.
    fn wait(&self, signals: &SignalFd, buttons: &[std::fs::File]) -> Result<Vec<Source>, InitError> {
        let mut sources = vec![Source::Signal];
        let mut watched: Vec<BorrowedFd<'_>> = vec![signals.as_fd()];
        if let Some(socket) = self.network.socket() {
            sources.push(Source::Network);
            watched.push(socket.as_fd());
        }
        for (index, button) in buttons.iter().enumerate() {
            sources.push(Source::Button(index));
            watched.push(button.as_fd());
        }
        for (place, child) in self.children.iter().enumerate() {
            if let Some(child) = child.as_ref().filter(|child| child.output.is_open()) {
                sources.push(Source::Output(place));
                watched.push(child.output.as_fd());
            }
        }
        for (index, (_, output)) in self.last_words.iter().enumerate() {
            sources.push(Source::LastWords(index));
            watched.push(output.as_fd());
        }
        let mut fds: Vec<PollFd<'_>> = watched.into_iter().map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        match poll(&mut fds, PollTimeout::try_from(self.patience()).unwrap_or(PollTimeout::ZERO)) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(InitError::Poll(errno)),
        }
        Ok(sources.into_iter().zip(fds).filter(|(_, fd)| fd.any() == Some(true)).map(|(source, _)| source).collect())
    }

    fn patience(&self) -> Duration {
        let busy = !self.announced || self.supervisor.stopping() || self.children.iter().any(Option::is_none);
        let tick = if busy { TICK_BUSY } else { TICK_IDLE };
        let network = self.network.deadline().map_or(TICK_IDLE, |deadline| deadline.saturating_sub(now()));
        tick.min(network).max(Duration::from_millis(1))
    }

    /// Does everything that is due.
    fn act(&mut self) {
        for (place, service) in SERVICES.iter().enumerate() {
            if self.children[place].is_some() && service::offered(service) {
                self.supervisor.on_offer(place);
            }
        }
        while let Some(action) = self.supervisor.on_time(now()) {
            self.take(action);
        }
        if !self.announced && self.children.iter().all(Option::is_some) {
            self.announce();
        }
    }

    fn take(&mut self, action: Action) {
        match action {
            Action::Start(place) => self.start(place),
            Action::Terminate(place) => self.signal(place, Signal::SIGTERM),
            Action::Kill(place) => {
                console::say(&format!("{} does not stop, killing it", SERVICES[place].name));
                cgroup::kill(&format!("system/{}", SERVICES[place].name));
                self.signal(place, Signal::SIGKILL);
            }
            Action::Alarm(place) => {
                console::say(&format!("ALARM: {} keeps dying, trying once a minute", SERVICES[place].name))
            }
        }
    }

    fn start(&mut self, place: Place) {
        let service = &SERVICES[place];
        service::forget(service);
        self.announced = false;
        match service::start(service) {
            Ok(child) => {
                console::say(&format!("{} started, pid {}", service.name, child.pid));
                self.children[place] = Some(child);
            }
            Err(failure) => {
                console::say(&chain(&failure));
                self.died(place);
            }
        }
    }

    fn died(&mut self, place: Place) {
        if let Some(action) = self.supervisor.on_exit(place, now()) {
            self.take(action);
        }
    }

    fn signal(&self, place: Place, signal: Signal) {
        if let Some(child) = &self.children[place]
            && let Err(cause) = kill(child.pid, signal)
        {
            console::say(&format!("{signal} to {}: {cause}", SERVICES[place].name));
        }
    }

    fn announce(&mut self) {
        let Some(ready) = provision::ready() else { return };
        self.announced = true;
        let kept = if self.data == Data::Durable { "" } else { " (nothing is kept: no data disk)" };
        console::say(&format!("node {}", ready.node_id));
        console::say(&format!("listen {}", ready.listen));
        console::say(&format!("ca-fingerprint sha256:{}", ready.ca_sha256));
        console::say(&format!("ready after {:.2} s{kept}", now().as_secs_f64()));
        service::warm_up();
    }

    fn on_signals(&mut self, signals: &SignalFd) {
        while let Ok(Some(info)) = signals.read_signal() {
            match Signal::try_from(i32::try_from(info.ssi_signo).unwrap_or_default()) {
                Ok(Signal::SIGTERM | Signal::SIGPWR | Signal::SIGUSR2) => {
                    self.stop("asked to power off", Outcome::PowerOff)
                }
                Ok(Signal::SIGINT) => self.stop("asked to reboot", Outcome::Reboot),
                Ok(Signal::SIGCHLD) => self.reap(),
                _ => {}
            }
        }
    }

    fn stop(&mut self, why: &str, outcome: Outcome) {
        if !self.supervisor.stopping() {
            console::say(&format!("{why}: stopping services"));
            self.outcome = outcome;
            self.supervisor.on_stop();
        }
    }

    /// Collects every ended process: ours get a decision, orphans just end.
    fn reap(&mut self) {
        loop {
            let (pid, how) = match waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid, format!("exited with {code}")),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, format!("was ended by {signal}")),
                Ok(WaitStatus::StillAlive) | Err(_) => return,
                Ok(_) => continue,
            };
            let Some(place) =
                self.children.iter().position(|child| child.as_ref().is_some_and(|child| child.pid == pid))
            else {
                continue;
            };
            if let Some(child) = self.children[place].take() {
                self.last_words.push((place, child.output));
            }
            console::say(&format!("{} {how}", SERVICES[place].name));
            self.died(place);
        }
    }

    fn relay(&mut self, place: Place) {
        let lines = self.children[place].as_mut().map(|child| child.output.read()).unwrap_or_default();
        self.write(place, &lines);
    }

    fn relay_last_words(&mut self, index: usize) {
        let Some((place, output)) = self.last_words.get_mut(index) else { return };
        let (place, lines) = (*place, output.read());
        self.write(place, &lines);
    }

    fn write(&mut self, place: Place, lines: &[Vec<u8>]) {
        for line in lines {
            console::relay(SERVICES[place].name, line);
            self.log.line(SERVICES[place].name, &console::escape(line));
        }
    }

    /// After the last service: what is left of the cages, then the disks.
    fn close(&mut self) {
        for index in 0..self.last_words.len() {
            self.relay_last_words(index);
        }
        cgroup::kill("quilt");
        cgroup::kill("system");
        self.reap();
    }
}
