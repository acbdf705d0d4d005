//! Emptying the VMM's ring before its VM is ended or snapshotted.
//!
//! Owns how far that is.
//! **Invariant:** it ends: empty, with the stream, or at a deadline; and it says which.
//!
//! CH v53 flushes its ring only at the guest's next output byte or at an accept, and a paused
//! guest prints nothing: so each new connection brings one socket's worth, until one brings less
//! (measured: 92578 bytes by 230 connections, without loss). The first connection is made only
//! if the last read found the socket full: whatever is in the ring found no room behind it.

use crate::env::Moment;
use crate::limits;
use std::time::Duration;

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// The VMM holds nothing back.
    Empty,
    /// The stream ended or is being left meanwhile; that tells of its losses itself.
    StreamOver,
    /// It took too long, or no new connection could be had: the ring may hold more.
    Incomplete,
}

/// A drain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Drain {
    /// None is wanted.
    #[default]
    No,
    /// The next new connection is due then.
    Fetch { at: Moment, limit: Moment },
    /// A new connection is made; the old one ends by then, or nobody accepts.
    Switch { by: Moment, limit: Moment },
    /// It is empty if nothing comes until then.
    Silence { until: Moment, limit: Moment },
    /// It is over.
    Over(Drained),
}

impl Drain {
    /// Begins, behind a read that found the socket full, or did not.
    pub(super) fn begin(full: bool, within: Duration, now: Moment) -> Self {
        let mut drain = Drain::Silence { until: now, limit: now + within };
        drain.on_bytes(full, now);
        drain
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.deadline().is_some()
    }

    pub(super) fn deadline(&self) -> Option<Moment> {
        match *self {
            Drain::No | Drain::Over(_) => None,
            Drain::Fetch { at, limit } => Some(at.min(limit)),
            Drain::Switch { by, limit } => Some(by.min(limit)),
            Drain::Silence { until, limit } => Some(until.min(limit)),
        }
    }

    pub(super) fn on_bytes(&mut self, full: bool, now: Moment) {
        match *self {
            // What the old connection still has is read to its end first.
            Drain::No | Drain::Over(_) | Drain::Switch { .. } => {}
            Drain::Fetch { limit, .. } | Drain::Silence { limit, .. } => {
                *self = if full {
                    Drain::Fetch { at: now + limits::DRAIN_PAUSE, limit }
                } else {
                    Drain::Silence { until: now + limits::TAIL_SILENCE, limit }
                };
            }
        }
    }

    /// The new connection could not be made: it is tried again.
    pub(super) fn on_dial_failed(&mut self, now: Moment) {
        if let Drain::Switch { limit, .. } = *self {
            *self = Drain::Fetch { at: now + limits::TAIL_SILENCE, limit };
        }
    }

    /// The new connection has taken the old one's place.
    pub(super) fn on_switched(&mut self, now: Moment) {
        if let Drain::Switch { limit, .. } = *self {
            *self = Drain::Silence { until: now + limits::TAIL_SILENCE, limit };
        }
    }

    /// A deadline has come; `true`: a new connection is due.
    pub(super) fn on_timer(&mut self, now: Moment) -> bool {
        match *self {
            Drain::Silence { until, .. } if now >= until => *self = Drain::Over(Drained::Empty),
            Drain::Fetch { limit, .. } | Drain::Silence { limit, .. } if now >= limit => {
                *self = Drain::Over(Drained::Incomplete);
            }
            Drain::Switch { by, limit } if now >= by.min(limit) => {
                *self = Drain::Over(Drained::Incomplete);
            }
            Drain::Fetch { at, limit } if now >= at => {
                *self = Drain::Switch { by: now + limits::LEAVE_DEADLINE, limit };
                return true;
            }
            _ => {}
        }
        false
    }

    /// It is over before it was empty.
    pub(super) fn give_up(&mut self, outcome: Drained) {
        if self.is_under_way() {
            *self = Drain::Over(outcome);
        }
    }

    /// How it ended, once.
    pub(super) fn take(&mut self) -> Option<Drained> {
        let Drain::Over(outcome) = *self else { return None };
        *self = Drain::No;
        Some(outcome)
    }
}
