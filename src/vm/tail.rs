//! What the VMM may hold back behind a read that found its socket full.
//!
//! Owns when it is fetched by a new connection, and how seldom where that brings nothing.
//! **Invariant:** nothing is fetched but after silence behind a full socket.

use super::backoff::step;
use crate::env::{Moment, Stamp};
use crate::limits;
use std::time::Duration;

/// The tail of one stream.
#[derive(Clone, Debug, Default)]
pub(super) struct Tail {
    /// The last read that brought bytes found the socket full.
    full: bool,
    fetch_at: Option<Stamp>,
    /// Connections made for a tail since the last one that brought bytes at once.
    tries: u8,
    switched_at: Option<Stamp>,
}

impl Tail {
    pub(super) fn is_full(&self) -> bool {
        self.full
    }

    pub(super) fn deadline(&self) -> Option<Moment> {
        self.fetch_at.map(Moment::from)
    }

    /// A new connection that was made for no tail.
    pub(super) fn on_dialed(&mut self) {
        (self.full, self.fetch_at, self.switched_at) = (false, None, None);
    }

    /// One read brought bytes; where `wanted`, silence after a full one is to be followed up.
    pub(super) fn on_bytes(&mut self, full: bool, wanted: bool, now: Moment) {
        self.full = full;
        self.fetch_at = None;
        // An accept makes CH flush its ring at once, so bytes that come right after one are tail.
        let tail_came = self.switched_just_before(now);
        if tail_came {
            self.tries = 0;
        }
        if full && wanted {
            let silence = if tail_came { limits::TAIL_SILENCE_IN_SERIES } else { self.silence() };
            self.fetch_at = Some((now + silence).into());
        }
    }

    /// A peer whose full socket hides nothing (v52, a bulk sender) is asked ever more seldom.
    fn silence(&self) -> Duration {
        step(self.tries, limits::TAIL_SILENCE, limits::TAIL_SILENCE_MAX)
    }

    /// A drain sees to it.
    pub(super) fn leave_to_drain(&mut self) {
        self.fetch_at = None;
    }

    /// The new connection could not be made; later it is tried again.
    pub(super) fn on_dial_failed(&mut self, now: Moment) {
        self.tries = self.tries.saturating_add(1);
        self.fetch_at = Some((now + self.silence()).into());
    }

    /// The new connection has taken the old one's place.
    pub(super) fn on_switched(&mut self, now: Moment) {
        self.tries = self.tries.saturating_add(1);
        self.switched_at = Some(now.into());
        self.fetch_at = None;
    }

    fn switched_just_before(&self, now: Moment) -> bool {
        self.switched_at.is_some_and(|at| now.saturating_sub(at.into()) <= limits::TAIL_SILENCE)
    }

    /// Whether an end now may take with it what the ring held. A new connection that has been
    /// silent for a while has shown that it held nothing; one that ends at once, or was never
    /// accepted, has not.
    pub(super) fn may_be_lost(&self, was_accepted: bool, now: Moment) -> bool {
        let was_heard = || was_accepted && !self.switched_just_before(now);
        self.full && (self.switched_at.is_none() || !was_heard())
    }

    /// Silence has lasted long enough: it is fetched.
    pub(super) fn is_due(&mut self, now: Moment) -> bool {
        let due = self.fetch_at.is_some_and(|at| now >= at.into());
        if due {
            self.fetch_at = None;
        }
        due
    }
}
