//! When which client, or which VM that is watched, is to be looked at although nothing became ready
//! for it.
//!
//! Owns the order of their deadlines; each of them has its own.
//! **Invariant:** each has at most one entry, and a turn in which none is due looks at the first
//! alone, however many there are.

use crate::env::Moment;
use crate::reactor::key::Key;
use std::collections::BTreeSet;

/// See the module.
#[derive(Default)]
pub(super) struct Deadlines {
    order: BTreeSet<(Moment, Key)>,
}

impl Deadlines {
    /// Sets, moves or (with `None`) takes out one. `armed`: as it stands in the order.
    pub(super) fn set(&mut self, key: Key, armed: &mut Option<Moment>, at: Option<Moment>) {
        if *armed == at {
            return;
        }
        if let Some(old) = std::mem::replace(armed, at) {
            self.order.remove(&(old, key));
        }
        if let Some(new) = at {
            self.order.insert((new, key));
        }
    }

    /// The earliest.
    pub(super) fn next(&self) -> Option<Moment> {
        self.order.first().map(|(at, _)| *at)
    }

    /// Takes out the earliest, if it is due: whose it is.
    pub(super) fn take_due(&mut self, now: Moment) -> Option<Key> {
        let first = self.order.first().copied().filter(|(at, _)| *at <= now)?;
        self.order.pop_first();
        Some(first.1)
    }
}
