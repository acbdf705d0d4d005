//! A VM's machine as it is left to a successor in the same process, and taken over by it.
//!
//! Owns what of it is written down.
//! **Invariant:** a stream that was heard, full or displaced is so for the successor; what has a
//! deadline keeps it, and what is not written down begins anew.

use super::super::end::After;
use super::{State, Vm};
use crate::config::OnExit;
use crate::env::{Exit, Moment};
use crate::limits;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Where a VM's stream stands. What is not here begins anew: back-offs that are not its own fault.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SavedVm {
    /// `held`, `dialing`, `streaming` or `leaving`.
    pub state: String,
    /// When it was connected.
    pub since: Moment,
    /// When the wait for the answer to our leaving ends.
    pub until: Moment,
    /// When the first connection must stand.
    pub give_up: Option<Moment>,
    /// Bytes have come on the connection there is.
    pub heard: bool,
    /// The last read that brought bytes found the socket full.
    pub full: bool,
    /// Times in a row that another client took the console.
    pub displaced_tries: u32,
    /// How long a stream must live for that to begin anew, as those times say.
    pub ours_after: Duration,
    /// It was told that the VMM's serial thread has ended.
    pub unserved: bool,
    /// What is known of the last end of stream, while there is no connection.
    pub after: After,
    /// How the VMM ended, once that is known.
    pub vmm_exit: Option<Exit>,
}

impl Vm {
    /// What a successor needs.
    pub fn save(&self) -> SavedVm {
        let (since, until) = match self.state() {
            State::Streaming { since } => (since, Moment::ZERO),
            State::Leaving { until } => (Moment::ZERO, until),
            State::Held | State::Dialing { .. } | State::Closed => (Moment::ZERO, Moment::ZERO),
        };
        let passing = self.passing.as_deref().cloned().unwrap_or_default();
        SavedVm {
            state: self.state().name().to_owned(),
            since,
            until,
            give_up: passing.give_up,
            heard: self.heard,
            full: self.tail.is_full(),
            displaced_tries: self.displaced_tries.into(),
            ours_after: self.ours_after(),
            unserved: self.unserved,
            after: passing.after,
            vmm_exit: passing.vmm_exit,
        }
    }

    /// Goes on where the predecessor was; `connected`: its stream was taken over. Without one it
    /// is dialed at once.
    pub fn take_over(
        saved: &SavedVm,
        on_exit: OnExit,
        dial_timeout: Option<Duration>,
        connected: bool,
        seed: u64,
        now: Moment,
    ) -> Self {
        let mut vm = Vm::held(on_exit, seed);
        vm.set(match (saved.state.as_str(), connected) {
            ("leaving", true) => State::Leaving { until: saved.until },
            (_, true) => State::Streaming { since: saved.since },
            ("held", false) => State::Held,
            (_, false) => State::Dialing { at: Some(now) },
        });
        let first = !connected && saved.give_up.is_some();
        vm.displaced_tries = u8::try_from(saved.displaced_tries).unwrap_or(u8::MAX);
        let passing = vm.passing();
        passing.give_up = saved.give_up.filter(|_| first);
        passing.dial_timeout = dial_timeout.filter(|_| first);
        passing.vmm_exit = saved.vmm_exit;
        if connected {
            // One that was never heard is looked at as one that has just been connected.
            passing.look_at =
                (!saved.heard && !saved.unserved).then(|| now + limits::UNHEARD_AFTER);
            passing.exit_grace = saved.vmm_exit.map(|_| now + limits::LEAVE_DEADLINE);
            (vm.heard, vm.unserved) = (saved.heard, saved.unserved);
            // What CH holds behind a full socket may wait for us to dial anew.
            vm.tail.on_bytes(saved.full, true, now);
        } else {
            passing.after = saved.after;
        }
        vm.settle();
        vm
    }
}
