//! The table of slots: a slab whose keys carry a generation.
//!
//! Owns every slot.
//! **Invariant:** a key of a removed slot finds nothing, also after the place is taken again.

use super::key::{GENERATIONS_MAX, Key, SLOTS_MAX};
use slab::Slab;

pub(crate) struct Table<S> {
    slots: Slab<(u64, S)>,
    next_generation: u64,
}

impl<S> Table<S> {
    pub(crate) fn new() -> Self {
        Table { slots: Slab::new(), next_generation: 0 }
    }

    /// The key that the next insert gives; `None`: the table is full.
    pub(crate) fn next_key(&self) -> Option<Key> {
        let slot = self.slots.vacant_key();
        let fits = slot < SLOTS_MAX && self.next_generation < GENERATIONS_MAX;
        let generation = self.next_generation;
        fits.then_some(Key { slot: slot as u32, generation })
    }

    /// Puts a slot in, under the key that [`Table::next_key`] gave.
    pub(crate) fn insert(&mut self, slot: S) -> Key {
        let generation = self.next_generation;
        self.next_generation += 1;
        Key { slot: self.slots.insert((generation, slot)) as u32, generation }
    }

    pub(crate) fn get(&self, key: Key) -> Option<&S> {
        let (generation, slot) = self.slots.get(key.slot as usize)?;
        (*generation == key.generation).then_some(slot)
    }

    /// What is in this place.
    pub(crate) fn at(&self, slot: u32) -> Option<(Key, &S)> {
        let (generation, s) = self.slots.get(slot as usize)?;
        Some((Key { slot, generation: *generation }, s))
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut S> {
        let (generation, slot) = self.slots.get_mut(key.slot as usize)?;
        (*generation == key.generation).then_some(slot)
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<S> {
        self.get(key)?;
        Some(self.slots.remove(key.slot as usize).1)
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The key of the first slot that is at this place or behind it.
    pub(crate) fn first_from(&self, place: usize) -> Option<Key> {
        let mut places = place..self.slots.capacity();
        places.find_map(|place| {
            let (generation, _) = self.slots.get(place)?;
            Some(Key { slot: place as u32, generation: *generation })
        })
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Key, &S)> {
        self.slots
            .iter()
            .map(|(slot, (generation, s))| (Key { slot: slot as u32, generation: *generation }, s))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_a_removed_slot_finds_nothing_after_its_place_is_taken_again() {
        let mut table = Table::new();
        let old = table.insert("old");
        assert_eq!(table.remove(old), Some("old"));
        let announced = table.next_key();
        let new = table.insert("new");
        assert_eq!(announced, Some(new));
        assert_eq!(old.slot, new.slot, "the slab hands a free place out again");
        assert_eq!((table.get(old), table.get(new)), (None, Some(&"new")));
        assert_eq!(table.remove(old), None);
        assert_eq!(table.len(), 1);
    }
}
