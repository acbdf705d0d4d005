//! How long a phase of a turn goes on before it leaves the rest to the next turn.
//!
//! Owns the moment at which a phase is over.
//! **Invariant:** whoever asks has done one thing before, so that each phase gets on in each turn,
//! however busy those before it were; what is left makes the next turn follow at once.

use super::Reactor;
use crate::env::{Env, Moment};
use crate::limits;

/// The clock of one phase.
pub(super) struct Pace {
    until: Moment,
    /// Things done since the clock was looked at.
    unseen: u32,
}

impl Pace {
    /// Whether the phase is to leave the rest, after something that may have taken long.
    pub(super) fn is_over<E: Env>(&mut self, env: &E) -> bool {
        self.unseen = 0;
        env.now() >= self.until
    }

    /// The same after something that is cheap: the clock is looked at now and then.
    pub(super) fn is_over_by_now<E: Env>(&mut self, env: &E) -> bool {
        self.unseen += 1;
        self.unseen >= limits::LOOK_AT_CLOCK_EVERY && self.is_over(env)
    }
}

impl<E: Env> Reactor<E> {
    /// A phase begins, in the turn that began at `began`.
    pub(super) fn pace(&self, began: Moment) -> Pace {
        let least = self.env.now() + limits::PHASE_TIME;
        Pace { until: least.max(began + limits::TURN_TIME), unseen: 0 }
    }

    /// The clock of those who ask our own API: however little else a turn had to do, it lasts no
    /// longer for them, so that no VM waits longer for them than for another phase.
    pub(super) fn pace_of_clients(&self) -> Pace {
        Pace { until: self.env.now() + limits::PHASE_TIME, unseen: 0 }
    }

    /// The part of it for those who are yet to be let in.
    pub(super) fn pace_of_admissions(&self) -> Pace {
        Pace { until: self.env.now() + limits::PHASE_TIME / 2, unseen: 0 }
    }

    /// Changes with everything done for a VM that takes much longer than a read.
    pub(super) fn dear_things(&self) -> u64 {
        let stats = &self.stats;
        stats.rotations + stats.reopened + stats.dials + stats.tail_dials
    }
}
