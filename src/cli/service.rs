//! The service manager that started us, as the environment tells of it.
//!
//! Owns the names of its variables: NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID, FDSTORE, LISTEN_*.
//! **Invariant:** a manager that is not as it says costs a warning, never the run.

use seriald::Seriald;
use seriald::env::Descriptor;
use seriald::handover::notify::listen_names;
use std::env::{var, var_os};
use std::time::Duration;

/// The first descriptor that is handed over, see sd_listen_fds(3).
const FIRST: Descriptor = 3;

/// Connects to it, and takes back what it has kept. `again`: this process did so before, and an
/// earlier program of it has what was handed over at its start.
pub fn connect(reactor: &mut Seriald, again: bool) {
    let kept = if again { Vec::new() } else { kept() };
    if let Some(address) = var_os("NOTIFY_SOCKET").filter(|address| !address.is_empty())
        && let Err(error) = reactor.connect_service(&address, watchdog())
    {
        log::warn!("{}: {error}", address.display());
    }
    let room = number("FDSTORE").unwrap_or(0);
    if !again && (!reactor.is_served() || (room == 0 && kept.is_empty())) {
        log::warn!(
            "no descriptor store: if this process is killed, consoles whose guests print are \
             silent until they reboot (FileDescriptorStoreMax= with systemd 254 or later, or \
             `seriald supervise`)"
        );
    }
    let wanted = (reactor.is_served() && room > 0) || !kept.is_empty();
    if wanted && let Err(error) = reactor.keep_in_store(kept) {
        log::warn!("no descriptor store: {error}");
    }
}

/// Warns of a store that has less room than there are VMs.
pub fn check_room(vms: usize) {
    // The memory, and a second stream of a VM whose tail is fetched.
    let needed = vms as u64 + 2;
    if let Some(room) = number("FDSTORE").filter(|room| *room > 0 && *room < needed) {
        log::warn!(
            "the descriptor store has room for {room}, {vms} VMs need {needed}: a crash can cost \
             the consoles beyond (FileDescriptorStoreMax=)"
        );
    }
}

fn number(name: &str) -> Option<u64> {
    var(name).ok()?.parse().ok()
}

/// How often it wants a sign of life: half of the time after which it misses one.
fn watchdog() -> Option<Duration> {
    let for_us = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
    let every = Duration::from_micros(number("WATCHDOG_USEC")? / 2);
    (for_us && !every.is_zero()).then_some(every)
}

fn kept() -> Vec<(String, Descriptor)> {
    let value = |name| var(name).ok();
    let (pid, count, names) = (value("LISTEN_PID"), value("LISTEN_FDS"), value("LISTEN_FDNAMES"));
    let ours = std::process::id();
    let names = listen_names(pid.as_deref(), count.as_deref(), names.as_deref(), ours);
    names.into_iter().zip(FIRST..).collect()
}
