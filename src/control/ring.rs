//! The newest bytes of a console that somebody watches, by their offsets.
//!
//! Owns at most as many bytes as it was made for, and some times.
//! **Invariant:** pure. Its bytes are in a row: a byte is told at no other offset than its own, and
//! what it has no room for are the oldest.

use std::collections::VecDeque;
use std::time::Duration;

/// Most times that are kept: those of one a second, or a KiB, for a ring of 1 MiB.
const TIMES_MAX: usize = 1024;

/// See the module.
#[derive(Debug, Default)]
pub struct Ring {
    bytes: VecDeque<u8>,
    /// The offset behind the last one.
    end: u64,
    /// When bytes came, by the offset of the first of them.
    times: VecDeque<(u64, Duration)>,
}

impl Ring {
    /// One that has nothing yet: the next byte has the offset `end`.
    pub fn new(end: u64) -> Ring {
        Ring { end, ..Ring::default() }
    }

    /// The offset of its first byte.
    pub fn start(&self) -> u64 {
        self.end - self.bytes.len() as u64
    }

    /// The offset behind its last byte.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Notes that what comes next came at this time.
    pub fn mark(&mut self, time: Duration) {
        if self.times.len() == TIMES_MAX {
            self.times.pop_front();
        }
        self.times.push_back((self.end, time));
    }

    /// Takes bytes, behind which the next one has the offset `end`, and keeps the newest `most`.
    /// Offsets that were left out leave nothing of what came before.
    pub fn push(&mut self, bytes: &[u8], end: u64, most: usize) {
        if self.end + bytes.len() as u64 != end {
            self.bytes.clear();
        }
        let kept = &bytes[bytes.len().saturating_sub(most)..];
        let excess = (self.bytes.len() + kept.len()).saturating_sub(most);
        self.bytes.drain(..excess.min(self.bytes.len()));
        self.bytes.extend(kept);
        self.end = end;
        let start = self.start();
        // The last time before the first byte is that byte's.
        while self.times.get(1).is_some_and(|(offset, _)| *offset <= start) {
            self.times.pop_front();
        }
    }

    /// Nobody watches: the next byte has the offset `end`, and none before it is kept.
    pub fn rest_at(&mut self, end: u64) {
        *self = Ring::new(end);
    }

    /// At most `most` bytes from `offset` on, of one time; empty where there is none.
    pub fn read(&self, offset: u64, most: usize) -> Vec<u8> {
        let start = self.start();
        let Some(skipped) = offset.checked_sub(start).filter(|_| offset < self.end) else {
            return Vec::new();
        };
        let later = self.times.iter().find(|(at, _)| *at > offset).map_or(self.end, |(at, _)| *at);
        let len = most.min(usize::try_from(later - offset).unwrap_or(most));
        // Below the length of what is in memory.
        self.bytes.iter().skip(skipped as usize).take(len).copied().collect()
    }

    /// When the byte at `offset` came, or shortly before; `None`: that is not known.
    pub fn time_at(&self, offset: u64) -> Option<Duration> {
        self.times.iter().rfind(|(at, _)| *at <= offset).map(|(_, time)| *time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_newest_bytes_are_kept_at_their_offsets() {
        let mut ring = Ring::new(10);
        ring.push(b"abc", 13, 4);
        assert_eq!((ring.start(), ring.end(), ring.read(11, 9)), (10, 13, b"bc".to_vec()));
        ring.push(b"defg", 17, 4);
        assert_eq!(
            (ring.start(), ring.read(13, 2), ring.read(12, 9)),
            (13, b"de".to_vec(), vec![])
        );
        ring.push(b"0123456789", 27, 4);
        assert_eq!((ring.start(), ring.read(23, 9)), (23, b"6789".to_vec()));
        assert_eq!((ring.read(27, 9), ring.read(u64::MAX, 9)), (vec![], vec![]));
        // Ten offsets were left out.
        ring.push(b"x", 38, 4);
        assert_eq!((ring.start(), ring.end()), (37, 38));
    }

    #[test]
    fn a_byte_has_the_time_before_it_and_a_read_has_one_time() {
        let (mut ring, at) = (Ring::new(0), Duration::from_secs);
        ring.push(b"a", 1, 8);
        ring.mark(at(1));
        ring.push(b"bc", 3, 8);
        ring.mark(at(2));
        ring.push(b"d", 4, 8);
        assert_eq!((ring.time_at(0), ring.read(0, 9)), (None, b"a".to_vec()));
        assert_eq!((ring.time_at(2), ring.read(1, 9)), (Some(at(1)), b"bc".to_vec()));
        assert_eq!((ring.time_at(3), ring.read(3, 9)), (Some(at(2)), b"d".to_vec()));
        for second in 0..5000 {
            ring.mark(at(second));
        }
        assert!(ring.times.len() <= TIMES_MAX);
    }

    proptest! {
        #[test]
        fn a_byte_is_never_told_at_anothers_offset(
            pushed in prop::collection::vec((0usize..40, any::<bool>()), 0..30),
            most in 1usize..64,
        ) {
            let (mut ring, mut end) = (Ring::new(0), 0);
            for (len, marks) in pushed {
                if marks {
                    ring.mark(Duration::from_secs(end));
                }
                let bytes: Vec<u8> = (0..len as u64).map(|n| (end + n) as u8).collect();
                end += len as u64;
                ring.push(&bytes, end, most);
                prop_assert!(ring.bytes.len() <= most);
                let mut at = ring.start();
                while at < end {
                    let read = ring.read(at, 7);
                    prop_assert!(!read.is_empty());
                    let is_own = |(offset, byte): (u64, &u8)| *byte == offset as u8;
                    prop_assert!((at..).zip(&read).all(is_own), "at {}: {:?}", at, read);
                    at += read.len() as u64;
                }
            }
        }
    }
}
