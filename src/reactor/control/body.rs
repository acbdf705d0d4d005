//! Answers that are made piece by piece, as the client takes them.
//!
//! Owns the list of their kinds.
//! **Invariant:** a step makes one bounded piece, and only once the one before it is sent whole: a
//! client that takes nothing costs a piece of memory. One that waits costs nothing until it is
//! queued by what it waits for.

use super::console::Console;
use super::feed::Following;
use super::listing::Listing;
use super::metrics::Scrape;
use super::reading::Reading;
use crate::env::{Env, Moment};
use crate::reactor::Reactor;
use crate::reactor::key::Key;

/// Such an answer, and how far it is.
pub(super) enum Body {
    /// How every VM stands.
    Vms(Listing),
    /// Counters.
    Metrics(Scrape),
    /// State changes.
    Events(Following),
    /// What a VM has printed.
    Log(Box<Reading>),
    /// The connection is a console's from here on: what comes on it is no request, and what goes
    /// has no chunks. `step_console` makes it.
    Console(Box<Console>),
}

impl Body {
    /// The next byte of what a VM prints, where it tells of that.
    pub(super) fn place(&self) -> Option<u64> {
        match self {
            Body::Log(reading) => Some(reading.place()),
            Body::Console(console) => Some(console.view.offset),
            _ => None,
        }
    }
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
    /// It can't be gone on with: the connection is closed without the answer's end.
    Broken,
}

impl<E: Env> Reactor<E> {
    /// Appends the next piece: about [`CONTROL_PIECE_BYTES`](crate::limits::CONTROL_PIECE_BYTES).
    pub(super) fn step_body(
        &mut self,
        body: &mut Body,
        key: Key,
        into: &mut Vec<u8>,
        now: Moment,
    ) -> Made {
        match body {
            Body::Vms(listing) => self.list(listing, into),
            Body::Metrics(scrape) => self.scrape(scrape, into, now),
            Body::Events(follower) => self.tell_follower(follower, into),
            Body::Log(reading) => self.read_on(reading, key, into),
            Body::Console(_) => Made::Broken,
        }
    }
}
