//! The bytes of a file, of which those that were never written take no space.
//!
//! **Invariant:** runs neither overlap nor touch, and none reaches beyond the size.

use std::collections::BTreeMap;

/// A file's contents.
#[derive(Default)]
pub struct Contents {
    size: u64,
    allocated: u64,
    /// What was written, each run by where it begins.
    runs: BTreeMap<u64, Vec<u8>>,
}

impl Contents {
    /// Where the file ends.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// How many bytes it takes of the disk.
    pub fn allocated(&self) -> u64 {
        self.allocated
    }

    /// How many of `len` bytes can be written from `at` on if `room` more can be taken.
    pub fn that_fit(&self, at: u64, len: u64, room: u64) -> u64 {
        let (end, mut from, mut room) = (at + len, at, room);
        while from < end {
            if let Some((start, run)) = self.runs.range(..=from).next_back()
                && start + run.len() as u64 > from
            {
                from = start + run.len() as u64;
                continue;
            }
            let hole_end = self.runs.range(from..).next().map_or(end, |(start, _)| *start).min(end);
            if hole_end - from > room {
                return from + room - at;
            }
            room -= hole_end - from;
            from = hole_end;
        }
        len
    }

    /// Puts bytes at a place; returns how many more of the disk it takes now.
    pub fn write(&mut self, at: u64, bytes: &[u8]) -> u64 {
        if bytes.is_empty() {
            return 0;
        }
        let before = self.allocated;
        let end = at + bytes.len() as u64;
        let touched = self.runs.range(..=at).next_back();
        let start = match touched {
            Some((start, run)) if start + run.len() as u64 >= at => *start,
            _ => at,
        };
        // Those that begin within the bytes, or right behind them.
        let covered: Vec<u64> =
            self.runs.range(at..=end).map(|(key, _)| *key).filter(|key| *key != start).collect();
        let mut behind = Vec::new();
        for key in covered {
            let run = self.runs.remove(&key).unwrap_or_default();
            self.allocated -= run.len() as u64;
            let hidden = usize::try_from(end - key).expect("of one write").min(run.len());
            behind = run[hidden..].to_vec();
        }
        let run = self.runs.entry(start).or_default();
        self.allocated -= run.len() as u64;
        let offset = usize::try_from(at - start).expect("within a run");
        if run.len() < offset + bytes.len() {
            run.resize(offset + bytes.len(), 0);
        }
        run[offset..offset + bytes.len()].copy_from_slice(bytes);
        run.extend_from_slice(&behind);
        self.allocated += run.len() as u64;
        self.size = self.size.max(end);
        self.allocated - before
    }

    /// Reads from a place; 0 at the end.
    pub fn read(&self, at: u64, into: &mut [u8]) -> usize {
        let left = usize::try_from(self.size.saturating_sub(at)).unwrap_or(usize::MAX);
        let count = left.min(into.len());
        let into = &mut into[..count];
        into.fill(0);
        let end = at + count as u64;
        let first = self.runs.range(..=at).next_back().map_or(at, |(start, _)| *start);
        for (start, run) in self.runs.range(first..end.max(first)) {
            let (from, to) = (at.max(*start), end.min(start + run.len() as u64));
            if from < to {
                let place = |of: u64, base: u64| usize::try_from(of - base).expect("in memory");
                into[place(from, at)..place(to, at)]
                    .copy_from_slice(&run[place(from, *start)..place(to, *start)]);
            }
        }
        count
    }

    /// Cuts or extends; returns how many bytes of the disk are free again.
    pub fn truncate(&mut self, len: u64) -> u64 {
        let mut freed: u64 =
            self.runs.split_off(&len).into_values().map(|run| run.len() as u64).sum();
        if let Some((start, run)) = self.runs.iter_mut().next_back() {
            let kept = usize::try_from(len - start).unwrap_or(usize::MAX).min(run.len());
            freed += (run.len() - kept) as u64;
            run.truncate(kept);
        }
        self.allocated -= freed;
        self.size = len;
        freed
    }

    /// All of it.
    pub fn whole(&self) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(self.size).expect("what fits memory")];
        self.read(0, &mut bytes);
        bytes
    }
}
