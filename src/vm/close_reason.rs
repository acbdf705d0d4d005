//! Why a VM is closed.
//!
//! Owns the words for it.
//! **Invariant:** a VM is closed for one of these and no other reason.

use super::dial_failure::DialFailure;
use crate::env::Exit;
use std::fmt;

/// Why a VM is closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// It was released, and its stream ended.
    Released,
    /// It was released, and its stream did not end within [`crate::limits::LEAVE_DEADLINE`].
    ReleasedUnanswered,
    /// Its VMM has exited.
    VmmExited(Exit),
    /// There was no first connection in the time that its spec allows; the last failure.
    DialTimeout(Option<DialFailure>),
    /// Its launch failed: the step and the cause.
    LaunchFailed(String),
    /// Its launch was broken off by a release or a stop: the step.
    LaunchBrokenOff(String),
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CloseReason::Released => f.write_str("released"),
            CloseReason::ReleasedUnanswered => {
                f.write_str("released; the VMM did not end the stream within 1 s")
            }
            CloseReason::VmmExited(exit) => write!(f, "the VMM has ended ({exit})"),
            CloseReason::DialTimeout(Some(last)) => write!(f, "no connection in time: {last}"),
            CloseReason::DialTimeout(None) => f.write_str("no connection in time"),
            CloseReason::LaunchFailed(why) => write!(f, "launch failed: {why}"),
            CloseReason::LaunchBrokenOff(why) => write!(f, "launch: {why}"),
        }
    }
}
