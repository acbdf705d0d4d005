//! The loop's inner parts as benchmarks drive them: in the way that the loop does, and no other.
//!
//! Owns what it drives. Compiled with the feature `bench` alone: neither part is anything for an
//! embedder, and a benchmark is a crate of its own.
//! **Invariant:** nothing is done here that the loop does not do; what is measured is the part.

use super::key::{Key, Kind};
use super::table::Table;
use super::timers::{Clock, Timers};
use crate::env::{Moment, Stamp};

/// The order of deadlines, one of each VM.
pub struct Deadlines {
    timers: Timers,
    armed: Vec<Option<Stamp>>,
}

impl Deadlines {
    /// So many VMs, none of which has a deadline.
    pub fn new(vms: usize) -> Self {
        Deadlines { timers: Timers::default(), armed: vec![None; vms] }
    }

    /// Sets, moves or takes out the deadline of a VM.
    pub fn set(&mut self, vm: usize, at: Option<Moment>) {
        let key = Key { slot: vm as u32, generation: vm as u64 };
        self.timers.set(&mut self.armed[vm], key, Clock::Vm, at);
    }

    /// The VM whose deadline is the earliest, if it is due.
    pub fn due(&self, now: Moment) -> Option<usize> {
        self.timers.due(now).map(|(slot, _)| slot as usize)
    }
}

/// The table of slots, each of which notes whether its stream is ready.
pub struct Slots {
    table: Table<bool>,
    keys: Vec<Key>,
}

impl Slots {
    /// A table of so many VMs.
    pub fn new(vms: usize) -> Self {
        let mut table = Table::new();
        let keys = (0..vms).map(|_| table.insert(false)).collect();
        Slots { table, keys }
    }

    /// The tokens of their streams.
    pub fn tokens(&self) -> Vec<u64> {
        self.keys.iter().map(|key| key.token(Kind::Serial)).collect()
    }

    /// Marks what a token stands for. `false`: it is stale.
    pub fn mark(&mut self, token: u64) -> bool {
        let slot = Key::from_token(token).and_then(|(key, _)| self.table.get_mut(key));
        slot.map(|ready| *ready = true).is_some()
    }

    /// A VM goes, and another comes.
    pub fn replace(&mut self, vm: usize) {
        self.table.remove(self.keys[vm]);
        self.keys[vm] = self.table.insert(false);
    }
}
