//! What could not be written yet, and the losses before, between and behind it.
//!
//! Owns the bytes that wait, and where among them others were dropped.
//! **Invariant:** pure; bytes and losses together are all that came, in order; no memory while
//! there are none. Losses at one place are told apart by cause, and there are few.

use super::record::{Cause, Loss};
use crate::config::Overflow;
use crate::limits::HELD_GAPS_MAX;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::time::Duration;

/// A loss, and where it lies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// So many held bytes come before it.
    pub before: usize,
    /// What was lost.
    pub loss: Loss,
}

/// What waits.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// The bytes: a ring, as the oldest may have to go at each read while the disk is full.
    pub bytes: VecDeque<u8>,
    /// The losses, in order.
    pub gaps: Vec<Gap>,
}

impl Held {
    /// Nothing waits, and nothing was lost that is yet to be noted.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.gaps.is_empty()
    }

    /// How far the log is behind what came: bytes that wait and bytes that were lost.
    pub fn span(&self) -> u64 {
        self.bytes.len() as u64 + self.lost()
    }

    /// How many bytes were lost.
    pub fn lost(&self) -> u64 {
        self.gaps.iter().map(|gap| gap.loss.bytes).sum()
    }

    /// Holds `bytes` behind what waits already, `max` bytes in all: what is too much is lost.
    pub fn push(
        &mut self,
        bytes: &[u8],
        max: usize,
        overflow: Overflow,
        cause: Cause,
        wall: Duration,
    ) {
        let excess = (self.bytes.len() + bytes.len()).saturating_sub(max);
        let kept = match overflow {
            // If the limit was lowered meanwhile, the excess may be more than what comes.
            Overflow::Newest => &bytes[..bytes.len().saturating_sub(excess)],
            Overflow::Oldest => {
                let old = excess.min(self.bytes.len());
                self.drop_oldest(old, cause, wall);
                // If that was not enough nothing waits any more: this lies before what is kept.
                let new = (excess - old).min(bytes.len());
                self.lose(new as u64, cause, wall);
                &bytes[new..]
            }
        };
        let has_room = self.bytes.try_reserve_exact(kept.len()).is_ok();
        let held = if has_room { kept.len() } else { 0 };
        self.bytes.extend(&kept[..held]);
        let behind = match overflow {
            Overflow::Newest => bytes.len() - held,
            Overflow::Oldest => kept.len() - held,
        };
        self.lose(behind as u64, cause, wall);
    }

    /// Notes that `bytes` bytes were dropped behind all that waits.
    pub fn lose(&mut self, bytes: u64, cause: Cause, wall: Duration) {
        if bytes == 0 {
            return;
        }
        let mut loss = Loss { bytes, cause, from: wall, until: wall, merged: 0 };
        let full = self.gaps.len() >= HELD_GAPS_MAX;
        if let Some(last) = self.gaps.last_mut() {
            let behind = self.bytes.len() - last.before;
            if behind == 0 && (last.loss.cause == cause || full) {
                return extend(&mut last.loss, bytes, wall);
            }
            if full {
                // No place for another: what waits behind the last one goes with it.
                self.bytes.truncate(last.before);
                loss.bytes += behind as u64;
                return extend(&mut last.loss, loss.bytes, wall);
            }
        }
        self.gaps.push(Gap { before: self.bytes.len(), loss });
    }

    /// Drops the first `count` bytes that wait; what was lost between them becomes one with them.
    fn drop_oldest(&mut self, count: usize, cause: Cause, wall: Duration) {
        if count == 0 {
            return;
        }
        self.bytes.drain(..count);
        let mut done = 0;
        let mut gaps: Vec<Gap> = Vec::new();
        let lost = |gaps: &mut Vec<Gap>, bytes: usize| match gaps.last_mut() {
            _ if bytes == 0 => {}
            Some(last) if last.loss.cause == cause => extend(&mut last.loss, bytes as u64, wall),
            _ => {
                let bytes = bytes as u64;
                let loss = Loss { bytes, cause, from: wall, until: wall, merged: 0 };
                gaps.push(Gap { before: 0, loss });
            }
        };
        let (front, rest): (Vec<Gap>, Vec<Gap>) =
            std::mem::take(&mut self.gaps).into_iter().partition(|gap| gap.before <= count);
        for gap in front {
            lost(&mut gaps, gap.before - done);
            done = gap.before;
            match gaps.last_mut() {
                Some(last) if last.loss.cause == gap.loss.cause => {
                    extend(&mut last.loss, gap.loss.bytes, gap.loss.until);
                }
                _ => gaps.push(Gap { before: 0, loss: gap.loss }),
            }
        }
        lost(&mut gaps, count - done);
        let rest = rest.into_iter().map(|gap| Gap { before: gap.before - count, ..gap });
        gaps.extend(rest);
        self.gaps = gaps;
        while self.gaps.len() > HELD_GAPS_MAX {
            // Two at the front, of different causes: the room is worth more than the difference.
            let second = self.gaps.remove(1);
            extend(&mut self.gaps[0].loss, second.loss.bytes, second.loss.until);
        }
    }

    /// The losses right before the next byte that is written.
    pub fn take_front(&mut self) -> Vec<Loss> {
        let front = self.gaps.iter().take_while(|gap| gap.before == 0).count();
        self.gaps.drain(..front).map(|gap| gap.loss).collect()
    }

    /// So many bytes wait before the next loss that has any before it.
    pub fn piece(&self, waiting: usize) -> usize {
        let next = self.gaps.iter().find(|gap| gap.before > 0);
        next.map_or(waiting, |gap| gap.before.min(waiting))
    }

    /// Of the bytes that wait, the first `count` are written.
    pub fn written(&mut self, count: usize) {
        for gap in &mut self.gaps {
            gap.before = gap.before.saturating_sub(count);
        }
    }

    /// Turns all that waits into losses.
    pub fn give_up(&mut self, cause: Cause, wall: Duration) {
        self.drop_oldest(self.bytes.len(), cause, wall);
        self.bytes = VecDeque::new();
    }
}

fn extend(loss: &mut Loss, bytes: u64, until: Duration) {
    loss.bytes += bytes;
    loss.until = loss.until.max(until);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// All that came, each byte with what became of it.
    #[derive(Default)]
    struct Model {
        /// Not yet written: the byte, or `None` once it is lost.
        line: Vec<Option<u8>>,
    }

    fn waiting(held: &Held) -> Vec<Option<u8>> {
        let bytes: Vec<u8> = held.bytes.iter().copied().collect();
        let mut line = Vec::new();
        let mut at = 0;
        for gap in &held.gaps {
            line.extend(bytes[at..gap.before].iter().map(|byte| Some(*byte)));
            line.extend((0..gap.loss.bytes).map(|_| None));
            at = gap.before;
        }
        line.extend(bytes[at..].iter().map(|byte| Some(*byte)));
        line
    }

    #[derive(Clone, Debug)]
    enum Op {
        Push(Vec<u8>, bool),
        Lose(u64, bool),
        Write(usize),
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            4 => (proptest::collection::vec(any::<u8>(), 0..40), any::<bool>())
                .prop_map(|(bytes, oldest)| Op::Push(bytes, oldest)),
            1 => (1..20u64, any::<bool>()).prop_map(|(bytes, rate)| Op::Lose(bytes, rate)),
            2 => (0..50usize).prop_map(Op::Write),
        ]
    }

    proptest! {
        #[test]
        fn what_waits_and_what_is_lost_is_all_that_came(
            ops in proptest::collection::vec(op(), 1..80),
            max in 0..64usize,
        ) {
            let wall = Duration::from_secs(1);
            let (mut held, mut model) = (Held::default(), Model::default());
            for op in ops {
                match op {
                    Op::Push(bytes, oldest) => {
                        let overflow = if oldest { Overflow::Oldest } else { Overflow::Newest };
                        held.push(&bytes, max, overflow, Cause::WriteFailed, wall);
                        model.line.extend(bytes.iter().map(|byte| Some(*byte)));
                    }
                    Op::Lose(bytes, rate) => {
                        let cause = if rate { Cause::RateLimit } else { Cause::HostRateLimit };
                        held.lose(bytes, cause, wall);
                        model.line.extend((0..bytes).map(|_| None));
                    }
                    Op::Write(count) => {
                        let count = held.piece(held.bytes.len()).min(count);
                        if count == 0 {
                            continue;
                        }
                        let lost: u64 = held.take_front().iter().map(|loss| loss.bytes).sum();
                        let gone: Vec<_> = model.line.drain(..lost as usize).collect();
                        prop_assert!(gone.iter().all(Option::is_none));
                        for byte in held.bytes.drain(..count) {
                            prop_assert_eq!(model.line.remove(0), Some(byte));
                        }
                        held.written(count);
                    }
                }
                let waits = waiting(&held);
                prop_assert_eq!(waits.len(), model.line.len());
                for (waits, came) in waits.iter().zip(&mut model.line) {
                    match waits {
                        Some(byte) => prop_assert_eq!(Some(*byte), *came),
                        None => *came = None,
                    }
                }
                prop_assert!(held.bytes.len() <= max && held.gaps.len() <= HELD_GAPS_MAX);
            }
        }
    }

    #[test]
    fn the_oldest_or_the_newest_bytes_are_dropped() {
        let wall = Duration::from_secs(1);
        let mut held = Held::default();
        held.push(b"abcdef", 8, Overflow::Oldest, Cause::WriteFailed, wall);
        held.push(b"ghij", 8, Overflow::Oldest, Cause::WriteFailed, wall);
        assert_eq!((held.bytes == b"cdefghij", held.span()), (true, 10));
        assert_eq!(held.gaps.len(), 1);
        assert_eq!((held.gaps[0].before, held.gaps[0].loss.bytes), (0, 2));
        held.push(b"kl", 8, Overflow::Newest, Cause::WriteFailed, wall);
        assert_eq!((held.bytes == b"cdefghij", held.span()), (true, 12));
        assert_eq!((held.gaps[1].before, held.gaps[1].loss.bytes), (8, 2));
    }

    #[test]
    fn losses_at_one_place_are_told_apart_by_cause() {
        let (wall, mut held) = (Duration::from_secs(1), Held::default());
        for cause in [Cause::RateLimit, Cause::RateLimit, Cause::HostRateLimit, Cause::RateLimit] {
            held.lose(3, cause, wall);
        }
        let told = held.take_front().into_iter().map(|loss| (loss.bytes, loss.cause));
        let apart = [(6, Cause::RateLimit), (3, Cause::HostRateLimit), (3, Cause::RateLimit)];
        assert_eq!(told.collect::<Vec<_>>(), apart);
    }
}
