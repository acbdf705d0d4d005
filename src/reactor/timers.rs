//! Deadlines: when which machine of which VM wants to be called.
//!
//! Owns the order of them; the machines own the deadlines themselves.
//! **Invariant:** per VM and clock there is at most one entry, and `next` is the earliest of all.

use super::key::Key;
use crate::env::Moment;
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

/// The deadlines of one VM, as they stand in the order: the key to take them out again.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Armed([Option<Moment>; 4]);

impl Armed {
    /// When this one is due.
    pub(crate) fn at(&self, clock: Clock) -> Option<Moment> {
        self.0[clock as usize]
    }
}

#[derive(Default)]
pub(crate) struct Timers {
    order: BTreeSet<(Moment, Key, Clock)>,
}

impl Timers {
    /// Sets, moves or (with `None`) takes out one deadline.
    pub(crate) fn set(&mut self, armed: &mut Armed, key: Key, clock: Clock, at: Option<Moment>) {
        let slot = &mut armed.0[clock as usize];
        if *slot == at {
            return;
        }
        if let Some(old) = *slot {
            self.order.remove(&(old, key, clock));
        }
        if let Some(new) = at {
            self.order.insert((new, key, clock));
        }
        *slot = at;
    }

    /// Takes out all of a VM's.
    pub(crate) fn clear(&mut self, armed: &mut Armed, key: Key) {
        for clock in [Clock::Vm, Clock::Log, Clock::Launch, Clock::Call] {
            self.set(armed, key, clock, None);
        }
    }

    /// The earliest.
    pub(crate) fn next(&self) -> Option<Moment> {
        self.order.first().map(|(at, _, _)| *at)
    }

    /// The earliest that is due. It stays in until its machine sets another.
    pub(crate) fn due(&self, now: Moment) -> Option<(Key, Clock)> {
        self.order.first().filter(|(at, _, _)| *at <= now).map(|(_, key, clock)| (*key, *clock))
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
        let (mut timers, mut of_a, mut of_b) =
            (Timers::default(), Armed::default(), Armed::default());
        timers.set(&mut of_a, a, Clock::Vm, Some(ms(5)));
        timers.set(&mut of_b, b, Clock::Log, Some(ms(3)));
        assert_eq!(timers.due(ms(4)), Some((b, Clock::Log)));
        timers.set(&mut of_b, b, Clock::Log, Some(ms(9)));
        assert_eq!((timers.due(ms(4)), timers.next()), (None, Some(ms(5))));
        timers.clear(&mut of_a, a);
        timers.set(&mut of_b, b, Clock::Log, None);
        assert_eq!(timers.next(), None);
        assert!(timers.order.is_empty());
    }
}
