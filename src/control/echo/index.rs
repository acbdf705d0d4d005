//! Where words of eight bytes stand in what was sent.
//!
//! Owns a table of positions, each with a hash of its word; of the same words it knows the last.
//! **Invariant:** pure, of at most [`SLOTS_MAX`] slots; a look takes [`PROBES`] of them. What it
//! finds may be another word, or none: it is to be compared. What it misses costs only time.

/// Most slots, each of 8 bytes.
const SLOTS_MAX: usize = 16 * 1024;
/// Fewest, once there is one.
const SLOTS_MIN: usize = 32;
/// Slots in which a word may stand.
const PROBES: usize = 4;

/// See the module. A slot has a hash in its upper half and a position's lower 32 bits; those that
/// are not among the last ones sent are stale, and taken anew.
#[derive(Debug, Default)]
pub(super) struct Index {
    slots: Vec<u64>,
}

impl Index {
    /// The memory that it takes, in bytes.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.slots.capacity() * size_of::<u64>()
    }

    /// Makes room for the words of so many bytes. `known` are held, the last ends at `sent`.
    pub(super) fn reach(&mut self, bytes: usize, sent: u64, known: usize) {
        let wanted = (bytes / super::STRIDE as usize * 2).next_power_of_two();
        let wanted = wanted.clamp(SLOTS_MIN, SLOTS_MAX);
        if wanted <= self.slots.len() || bytes < super::JUMP_RUN {
            return;
        }
        let before = std::mem::replace(&mut self.slots, vec![0; wanted]);
        for slot in before.into_iter().filter(|slot| is_live(*slot, sent, known)) {
            self.insert(slot, sent, known);
        }
    }

    /// A word ends at `sent`.
    pub(super) fn put(&mut self, word: u64, sent: u64, known: usize) {
        self.insert(hash(word) << 32 | sent & LOWER, sent, known);
    }

    fn insert(&mut self, slot: u64, sent: u64, known: usize) {
        let places = places(slot >> 32, self.slots.len());
        let same = |at: &usize| self.slots[*at] >> 32 == slot >> 32;
        let free = |at: &usize| !is_live(self.slots[*at], sent, known);
        if let Some(at) = places.clone().find(same).or_else(|| places.clone().find(free)) {
            self.slots[at] = slot;
        }
    }

    /// Where a word may end.
    pub(super) fn find(&self, word: u64, sent: u64, known: usize) -> impl Iterator<Item = u64> {
        let hash = hash(word);
        let slots = places(hash, self.slots.len()).map(|at| self.slots[at]);
        let found = slots.filter(move |slot| slot >> 32 == hash && is_live(*slot, sent, known));
        found.map(move |slot| sent - back(slot, sent))
    }
}

const LOWER: u64 = u32::MAX as u64;

/// How far before `sent` its position is.
fn back(slot: u64, sent: u64) -> u64 {
    sent.wrapping_sub(slot) & LOWER
}

fn is_live(slot: u64, sent: u64, known: usize) -> bool {
    slot != 0 && back(slot, sent) < known as u64
}

fn hash(word: u64) -> u64 {
    word.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32
}

/// The slots of a word: none in an empty table.
fn places(hash: u64, slots: usize) -> impl Iterator<Item = usize> + Clone {
    let probes = if slots == 0 { 0 } else { PROBES };
    (0..probes).map(move |probe| (hash as usize + probe) & (slots - 1))
}
