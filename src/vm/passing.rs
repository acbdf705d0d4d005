//! What a VM's machine knows only while something is under way: a dial, an end, a drain.
//!
//! Owns nothing but that.
//! **Invariant:** a VM that streams in peace has none of it, and no memory for it.

use super::dial_failure::DialFailure;
use super::drain::Drain;
use super::end::{After, Recognised};
use crate::env::{Exit, Moment};
use std::time::Duration;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Passing {
    /// How long the first connection may take, until it stands.
    pub dial_timeout: Option<Duration>,
    /// When that is over.
    pub give_up: Option<Moment>,
    /// A reboot binds its path within milliseconds: until then dials do not come later each time.
    pub hurry_until: Moment,
    /// Why the last dial failed, while there is no connection.
    pub last_failure: Option<DialFailure>,
    /// The VMM's end, once it is known.
    pub vmm_exit: Option<Exit>,
    pub exit_grace: Option<Moment>,
    pub drain: Drain,
    /// Nothing was heard on this connection yet: when the VMM's threads are looked at.
    pub look_at: Option<Moment>,
    /// One look has found no serial thread.
    pub suspected: bool,
    pub after: After,
    pub recognised: Option<Recognised>,
}
