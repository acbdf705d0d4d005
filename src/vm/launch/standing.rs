//! How a launch stands, for those who ask.
//!
//! Owns nothing.
//! **Invariant:** asking changes nothing.

use super::{Launch, Step};

impl Launch {
    /// The guest runs, and nobody has asked for its end.
    pub fn is_running(&self) -> bool {
        self.step == Step::Running
    }

    /// The guest does not run yet, and nothing has failed.
    pub fn is_under_way(&self) -> bool {
        !self.ran && self.failure.is_none()
    }

    /// It has failed, and the VMM is being ended or has ended.
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// It has failed as something was not done, or not answered, in time.
    pub fn was_late(&self) -> bool {
        self.late
    }

    /// Whether what lies at the API path, and at the serial path, is what its VMM made. Until the
    /// guest runs nobody else has reason to bind there; after that a successor may.
    pub fn is_making(&self) -> (bool, bool) {
        let api = self.spawned && !self.ran;
        (api, api && self.asked_to_create && !self.in_the_way)
    }

    /// Only the answer to the last question is outstanding.
    pub fn is_booting(&self) -> bool {
        self.step == Step::Boot
    }

    /// The VMM outlived SIGKILL, or can't be signalled: it is left.
    pub fn has_given_up(&self) -> bool {
        self.step == Step::GivenUp
    }

    /// It was stopped before it had come to its end.
    pub fn was_broken_off(&self) -> bool {
        self.broken_off
    }

    /// Its end was asked for, and is under way.
    pub fn is_stopping(&self) -> bool {
        matches!(self.step, Step::Pausing | Step::Draining | Step::Stopping)
    }
}
