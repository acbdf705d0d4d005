//! Answers that are made piece by piece, as the client takes them.
//!
//! Owns the list of their kinds.
//! **Invariant:** a step makes one bounded piece, and only once the one before it is sent whole: a
//! client that takes nothing costs a piece of memory. One that waits costs nothing until it is
//! queued by what it waits for.

use super::feed::Following;
use super::listing::Listing;
use super::metrics::Scrape;
use crate::env::{Env, Moment};
use crate::reactor::Reactor;

/// Such an answer, and how far it is.
pub(super) enum Body {
    /// How every VM stands.
    Vms(Listing),
    /// Counters.
    Metrics(Scrape),
    /// State changes.
    Events(Following),
}

/// What came of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Made {
    /// There is more to be made at once.
    More,
    /// There is nothing for now: whoever has something for it queues its client.
    Waits,
    /// The piece was the last.
    Ended,
}

impl<E: Env> Reactor<E> {
    /// Appends the next piece: about [`CONTROL_PIECE_BYTES`](crate::limits::CONTROL_PIECE_BYTES).
    pub(super) fn step_body(&mut self, body: &mut Body, into: &mut Vec<u8>, now: Moment) -> Made {
        match body {
            Body::Vms(listing) => self.list(listing, into),
            Body::Metrics(scrape) => self.scrape(scrape, into, now),
            Body::Events(follower) => self.tell_follower(follower, into),
        }
    }
}
