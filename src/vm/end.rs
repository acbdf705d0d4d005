//! What an end of stream was: its cause, and what the connection after it makes of it.
//!
//! Owns what is known between an end and the next connection.
//! **Invariant:** pure; an end is recognised once, and nothing is recognised that another cause
//! explains as well.

use crate::env::{Exit, Moment};
use crate::limits;
use serde::{Deserialize, Serialize};

/// What is known of an end of stream when it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndCause {
    /// The VMM has exited.
    VmmExited,
    /// The path is gone or leads to another socket: a reboot or a shutdown; what follows tells.
    PathGone {
        /// The VMM is watched, and has not exited.
        vmm_lives: bool,
    },
    /// The path still leads to the socket that we were connected to: another client was let in,
    /// or the VMM was killed and its exit is not seen yet.
    PathUnchanged,
    /// ECONNRESET before any byte: the VMM ended, or bound anew, before it accepted us.
    NeverAccepted,
}

/// What a new connection leads to, compared with the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// The same socket.
    SameSocket,
    /// Another socket of the same VMM.
    SameVmm,
    /// Another VMM, or one that can't be known; the first connection too.
    Other,
}

/// What was recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recognised {
    /// The guest was reset, or vm.reboot: another socket of the same VMM.
    Rebooted,
    /// vm.shutdown: the path is gone, the VMM lives, and no new path came in time.
    ShutDown,
    /// vm.boot after a shutdown.
    Booted,
    /// Another client had taken the console.
    Displaced,
    /// The connection was reset before the VMM accepted it.
    NeverAccepted,
    /// The VMM has exited.
    VmmExited(Exit),
    /// Connected, but the VMM has no thread any more that would serve the console.
    Unserved,
}

/// Between an end and the next connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum After {
    /// No stream has ended, or what ended was recognised.
    #[default]
    Nothing,
    /// The path was gone while the VMM lived; it is a shutdown if nothing has come by then.
    Gone {
        /// When it is a shutdown.
        shut_down_at: Option<Moment>,
    },
    /// A shutdown was told.
    ShutDown,
    /// The path was unchanged.
    Unchanged,
}

impl After {
    pub(super) fn new(cause: EndCause, now: Moment) -> Self {
        match cause {
            EndCause::PathGone { vmm_lives } => {
                After::Gone { shut_down_at: vmm_lives.then_some(now + limits::SHUT_DOWN_AFTER) }
            }
            EndCause::PathUnchanged => After::Unchanged,
            EndCause::VmmExited | EndCause::NeverAccepted => After::Nothing,
        }
    }

    /// When a path that stays away is a shutdown.
    pub(super) fn deadline(&self) -> Option<Moment> {
        match self {
            After::Gone { shut_down_at } => *shut_down_at,
            _ => None,
        }
    }

    /// What the connection that follows makes of the end.
    pub(super) fn followed_by(&mut self, reached: Reached) -> Option<Recognised> {
        match (std::mem::take(self), reached) {
            (After::Unchanged, Reached::SameSocket) => Some(Recognised::Displaced),
            (After::ShutDown, Reached::SameVmm) => Some(Recognised::Booted),
            (After::Gone { .. } | After::Unchanged, Reached::SameVmm) => Some(Recognised::Rebooted),
            _ => None,
        }
    }
}

/// Whether these threads are those of a Cloud Hypervisor whose guest was booted and whose serial
/// thread has returned, as it does for good when a client closes with unread bytes (measured, v52
/// and v53). Without a vCPU it is another program, or a VM that waits for its boot.
pub fn serial_thread_is_gone(names: &[String]) -> bool {
    // The kernel cuts a name to 15 bytes; `serial-manager` has 14.
    names.iter().any(|name| name.starts_with("vcpu"))
        && !names.iter().any(|name| name == "serial-manager")
}
