//! Deadlines: when which machine of which VM wants to be called.
//!
//! Owns the order of them; the machines own the deadlines themselves.
//! **Invariant:** per VM and clock there is at most one entry, and `next` is the earliest of all.

use super::key::Key;
use crate::env::{Moment, Stamp};
use std::collections::BTreeSet;

/// Which machine of a VM a deadline belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Clock {
    /// The stream's machine.
    Vm = 0,
    /// The log.
    Log = 1,
    /// The launch's machine.
    Launch = 2,
    /// A question to the API.
    Call = 3,
}

impl Clock {
    pub(super) const ALL: [Clock; 4] = [Clock::Vm, Clock::Log, Clock::Launch, Clock::Call];
}

/// A deadline: when, in two halves so that it is no larger than it must be, and whose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    at: [u32; 2],
    /// The slot, and which of its clocks.
    of: u32,
}

impl Entry {
    fn new(at: Stamp, key: Key, clock: Clock) -> Self {
        let at = at.bits();
        // A slot's number has 24 bits.
        Entry { at: [(at >> 32) as u32, at as u32], of: key.slot << 2 | clock as u32 }
    }

    fn at(self) -> Stamp {
        Stamp::from_bits(u64::from(self.at[0]) << 32 | u64::from(self.at[1]))
    }
}

#[derive(Default)]
pub(crate) struct Timers {
    order: BTreeSet<Entry>,
}

impl Timers {
    /// Sets, moves or (with `None`) takes out one deadline of the VM in a slot. `armed`: as it
    /// stands in the order, which is kept there.
    pub(crate) fn set(
        &mut self,
        armed: &mut Option<Stamp>,
        key: Key,
        clock: Clock,
        at: Option<Moment>,
    ) {
        let new = at.map(Stamp::from);
        if *armed == new {
            return;
        }
        if let Some(old) = std::mem::replace(armed, new) {
            self.order.remove(&Entry::new(old, key, clock));
        }
        if let Some(new) = new {
            self.order.insert(Entry::new(new, key, clock));
        }
    }

    /// The earliest.
    pub(crate) fn next(&self) -> Option<Moment> {
        self.order.first().map(|first| first.at().into())
    }

    /// The earliest that is due, by its slot's number. It stays in until its machine sets another.
    pub(crate) fn due(&self, now: Moment) -> Option<(u32, Clock)> {
        let first = self.order.first().filter(|first| first.at() <= now.into())?;
        Some((first.of >> 2, Clock::ALL[(first.of & 3) as usize]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_earliest_comes_first_and_a_moved_one_leaves_nothing_behind() {
        let ms = Duration::from_millis;
        let (a, b) = (Key { slot: 0, generation: 0 }, Key { slot: 1, generation: 1 });
        let (mut timers, mut of_a, mut of_b) = (Timers::default(), None, None);
        timers.set(&mut of_a, a, Clock::Vm, Some(ms(5)));
        timers.set(&mut of_b, b, Clock::Log, Some(ms(3)));
        assert_eq!(timers.due(ms(4)), Some((1, Clock::Log)));
        timers.set(&mut of_b, b, Clock::Log, Some(ms(9)));
        assert_eq!((timers.due(ms(4)), timers.next()), (None, Some(ms(5))));
        timers.set(&mut of_a, a, Clock::Vm, None);
        timers.set(&mut of_b, b, Clock::Log, None);
        assert_eq!(timers.next(), None);
        assert!(timers.order.is_empty());
    }
}
