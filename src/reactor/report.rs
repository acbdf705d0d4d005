//! What an embedder hears and may ask: events, a VM's status, counters.
//!
//! Owns nothing.
//! **Invariant:** no byte of a guest is in any of it; counters only grow.

use super::key::Key;
use crate::ch::api::Reply;
use crate::control::frames::Writer;
use crate::env::Exit;
use crate::log::Counters;
use crate::vm::{CloseReason, Recognised};
use serde::{Deserialize, Serialize, Serializer};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A VM of one reactor. It is never given to another VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VmId(pub(crate) Key);

/// A VM's state has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The VM's name.
    pub id: String,
    /// The VM.
    pub vm: VmId,
    /// What happened.
    pub kind: EventKind,
}

/// What happened to a VM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// It was taken charge of.
    Adopted,
    /// Its launch has come to its end: the guest runs.
    Launched,
    /// Its serial socket is connected; the pid of the VMM, where it can be known.
    Connected(Option<u32>),
    /// The stream has ended; it is dialed again, or closed if its VMM has ended.
    Disconnected,
    /// The new connection leads to the socket of the one before: another client had taken it.
    Displaced,
    /// The guest was reset, or vm.reboot: the console is connected to the VMM's new socket.
    /// How long there was no connection.
    Rebooted(Duration),
    /// vm.shutdown: the socket is gone, its VMM stays; a later vm.boot is waited for.
    ShutDown,
    /// vm.boot after that: the console is connected again.
    Booted,
    /// The connection was reset before the VMM accepted it; it is dialed again.
    NeverAccepted,
    /// The VMM has exited; what it left in the socket is read yet.
    VmmExited(Exit),
    /// The console is connected, but the VMM has no thread any more that serves it: only
    /// vm.reboot, vm.shutdown and vm.boot, or a restore bring it back.
    Unserved,
    /// The stream ended right after a read that found the socket full: what the VMM then held in
    /// its own buffer died with it, if there was anything.
    UpstreamLossPossible,
    /// Somebody types into the console from now on, a client of our own API.
    Attached {
        /// His user.
        uid: u32,
        /// His process, where it is known.
        pid: Option<u32>,
        /// He has taken another's place.
        forced: bool,
    },
    /// He does so no more.
    Detached {
        /// His user.
        uid: u32,
        /// His process, where it is known.
        pid: Option<u32>,
        /// Why, by the words of the events file.
        cause: &'static str,
    },
    /// Its log was rotated this often since the last such event.
    Rotated(u64),
    /// A rotation failed, and is tried again.
    RotationFailed,
    /// This many bytes that had been read are in no file. Those dropped for a rate limit are told
    /// once a second at most.
    Lost(u64),
    /// The VMM's answer to [`Reactor::call`](crate::reactor::Reactor::call), or why there is none.
    Answered(&'static str, Result<Reply, String>),
    /// It is at its end; the id is free again after the turn.
    Closed(CloseReason),
}

/// One VM as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VmStatus {
    /// Its name.
    pub id: String,
    /// `held`, `dialing`, `streaming`, `leaving` or `closed`.
    pub state: &'static str,
    /// Its serial socket.
    #[serde(serialize_with = "as_text")]
    pub serial: PathBuf,
    /// Its log.
    #[serde(serialize_with = "as_text")]
    pub log: PathBuf,
    /// The VMM's pid, where it is known.
    pub pid: Option<u32>,
    /// Bytes read from its console.
    pub read_bytes: u64,
    /// Connections made.
    pub connects: u64,
    /// Times that another client took the console.
    pub displaced: u64,
    /// Times that an end of stream may have cost bytes in the VMM.
    pub upstream_loss_possible: u64,
    /// Connected to a VMM that serves its console no more.
    pub unserved: bool,
    /// How its streams ended, and what followed.
    pub ends: Ends,
    /// Why the last dial failed, while there is no connection.
    pub dial_failure: Option<String>,
    /// What its log has counted.
    pub log_counters: Counters,
    /// Bytes in the log's present generation.
    pub log_bytes: u64,
    /// Bytes that wait in memory, because the log can't be written.
    pub held_bytes: u64,
    /// How many look at its console by our own API.
    pub viewers: u64,
    /// Who of them types into it.
    pub writer: Option<Writer>,
}

/// A path as text: JSON has no other, and a path's odd byte is no reason to tell nothing of a VM.
fn as_text<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}

/// The bounds by which turns are counted, in microseconds. Each phase's own end is at 4 ms
/// ([`TURN_TIME`](crate::limits::TURN_TIME)).
pub const TURN_US_BOUNDS: [u64; 9] = [50, 100, 250, 500, 1000, 2500, 5000, 10_000, 100_000];

/// Counters of one reactor, over all VMs since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stats {
    /// Passes of the loop.
    pub turns: u64,
    /// The longest of them, in microseconds, its wait not counted.
    pub turn_us_max: u64,
    /// Turns by how long they took: up to each of [`TURN_US_BOUNDS`] and above the one before, and
    /// above all of them.
    pub turn_us_counts: [u64; TURN_US_BOUNDS.len() + 1],
    /// How long all of them took, in microseconds.
    pub turn_us_sum: u64,
    /// Events whose VM was gone.
    pub stale_events: u64,
    /// Bytes read from consoles.
    pub read_bytes: u64,
    /// Bytes written to logs.
    pub written_bytes: u64,
    /// Reads that brought bytes.
    pub reads: u64,
    /// Reads that found a socket full: the guest may have had to wait, or to leave bytes behind.
    pub socket_full_reads: u64,
    /// Dials, and how many of them failed.
    pub dials: u64,
    /// Dials that failed.
    pub dial_failures: u64,
    /// Connections made to fetch what a VMM held back.
    pub tail_dials: u64,
    /// Times that another client took a console.
    pub displaced: u64,
    /// Times that an end of stream may have cost bytes in the VMM.
    pub upstream_loss_possible: u64,
    /// How streams ended, and what followed.
    pub ends: Ends,
    /// Rotations done.
    pub rotations: u64,
    /// Rotations that failed and were tried again.
    pub rotation_failures: u64,
    /// Times that a log was found moved or deleted, and was opened anew.
    pub reopened: u64,
    /// Bytes that were read and are in no file.
    pub lost_bytes: u64,
    /// Those of `lost_bytes` that were above their VM's own rate.
    pub lost_rate_limit: u64,
    /// Those of `lost_bytes` that were above the host's rate.
    pub lost_host_rate_limit: u64,
    /// Those of `lost_bytes` that were dropped because a rotation kept failing, not a write.
    pub lost_rotation_failed: u64,
    /// Those of `lost_bytes` that a predecessor held, or had read, when it crashed.
    pub lost_crash: u64,
    /// Those of `lost_bytes` that could still not be written when their log was closed.
    pub lost_closed: u64,
    /// Those of `lost_bytes` that came from consoles which a predecessor left and nobody adopted.
    pub lost_unclaimed: u64,
    /// Writes to a log that failed; what they left is held, and tried again.
    pub write_failures: u64,
    /// VMs that were not taken charge of, and launches that were refused.
    pub adoption_failures: u64,
    /// What became of those who asked our own API.
    pub clients: Clients,
    /// Backups that were replaced by what `after_rotate` made of them.
    pub packed: u64,
    /// Times that this failed; the backup then stays as it is.
    pub after_rotate_failures: u64,
    /// Times that backups were brought to the disk.
    pub syncs: u64,
    /// Times that this failed.
    pub sync_failures: u64,
    /// Bytes of another VM, read while leaving a console that turned out to be its.
    pub foreign_bytes: u64,
    /// Events that nobody took in time.
    pub events_dropped: u64,
}

impl Stats {
    pub(super) fn count_turn(&mut self, took_us: u64) {
        self.turns += 1;
        self.turn_us_max = self.turn_us_max.max(took_us);
        self.turn_us_sum += took_us;
        let place = TURN_US_BOUNDS.iter().position(|bound| took_us <= *bound);
        self.turn_us_counts[place.unwrap_or(TURN_US_BOUNDS.len())] += 1;
    }
}

/// Clients of our own API, over all of its sockets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Clients {
    /// Those that were let in.
    pub accepted: u64,
    /// Requests that were answered.
    pub requests: u64,
    /// Refused: they were given no role.
    pub refused_forbidden: u64,
    /// Refused: there were too many already.
    pub refused_full: u64,
    /// Closed: they asked for nothing for too long, or another needed the place.
    pub dropped_idle: u64,
    /// Closed: their request took too long to come.
    pub dropped_request: u64,
    /// Closed: they took nothing of their answer for too long.
    pub dropped_slow: u64,
    /// Closed: what they looked at went on faster than they took it.
    pub dropped_lagged: u64,
}

/// How often which end, or what followed one, was recognised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ends {
    /// Guest resets, and vm.reboot.
    pub reboots: u64,
    /// vm.shutdown: the path went, the VMM stayed.
    pub shutdowns: u64,
    /// vm.boot after one.
    pub boots: u64,
    /// Connections that were reset before the VMM accepted them.
    pub never_accepted: u64,
    /// Exits of VMMs.
    pub vmm_exits: u64,
    /// Connections to a VMM that has no serial thread any more.
    pub unserved: u64,
}

impl Ends {
    pub(super) const NONE: Self =
        Ends { reboots: 0, shutdowns: 0, boots: 0, never_accepted: 0, vmm_exits: 0, unserved: 0 };

    pub(super) fn count(&mut self, what: Recognised) {
        match what {
            Recognised::Rebooted => self.reboots += 1,
            Recognised::ShutDown => self.shutdowns += 1,
            Recognised::Booted => self.boots += 1,
            Recognised::NeverAccepted => self.never_accepted += 1,
            Recognised::VmmExited(_) => self.vmm_exits += 1,
            Recognised::Unserved => self.unserved += 1,
            // Counted beside these, where it always was.
            Recognised::Displaced => {}
        }
    }
}

/// What one turn did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// Bytes read from consoles.
    pub read_bytes: u64,
    /// VMs in charge after it.
    pub vms: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_counts_at_the_first_bound_that_it_does_not_exceed() {
        let mut stats = Stats::default();
        for took in [0, 50, 51, 100_000, 100_001] {
            stats.count_turn(took);
        }
        assert_eq!(stats.turn_us_counts, [2, 1, 0, 0, 0, 0, 0, 0, 1, 1]);
        assert_eq!((stats.turns, stats.turn_us_max, stats.turn_us_sum), (5, 100_001, 200_102));
    }
}
