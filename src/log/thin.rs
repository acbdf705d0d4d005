//! Which lines of an events file are worth their room.
//!
//! Owns the order in which they go: lines of generations that are gone, marks, connections, and
//! at last losses, which become one for each generation.
//! **Invariant:** pure; what is left tells where every generation that is kept begins and ends, and
//! how many bytes were lost in it.

use super::record::{Loss, Record, What};

/// Lines at the end that stay as they are.
const FRESH: usize = 64;

/// A record, and the room that it takes.
struct Line {
    bytes: u64,
    record: Record,
}

impl Line {
    fn of(record: Record) -> Line {
        Line { bytes: record.encode().len() as u64, record }
    }
}

/// Thins `records` out until they take at most `bytes_max` bytes. `keep`: of so many generations
/// that we rotated there may be a file.
pub(super) fn thin(records: Vec<Record>, keep: usize, bytes_max: u64) -> Vec<Record> {
    let mut lines: Vec<Line> = without_gone(records, keep).into_iter().map(Line::of).collect();
    let mut every = 2;
    while size(&lines) > bytes_max && old(&lines).any(|line| line.record.what == What::Mark) {
        let (mut at, mut marks) = (0, 0);
        let fresh = lines.len().saturating_sub(FRESH);
        lines.retain(|line| {
            at += 1;
            if line.record.what != What::Mark || at > fresh {
                return true;
            }
            marks += 1;
            marks % every == 0
        });
        // The last round takes all that are left.
        every = if every >= 64 { u64::MAX } else { every * 2 };
    }
    let passing = |what: &What| {
        matches!(
            what,
            What::Connected { .. }
                | What::Disconnected { .. }
                | What::Displaced
                | What::Attached { .. }
                | What::Detached { .. }
                | What::Released
        )
    };
    for drop in [passing, |what: &What| matches!(what, What::Boot | What::UpstreamLossPossible)] {
        while size(&lines) > bytes_max {
            let Some(at) = old(&lines).position(|line| drop(&line.record.what)) else { break };
            // All of the oldest half of them: one by one would take too long.
            let last = lines.len().saturating_sub(FRESH).div_ceil(2).max(at + 1);
            let mut at = 0;
            lines.retain(|line| {
                at += 1;
                at > last || !drop(&line.record.what)
            });
        }
    }
    if size(&lines) > bytes_max {
        lines = with_losses_merged(lines);
    }
    // Somebody else rotates, and who knows what he keeps.
    while size(&lines) > bytes_max && lines.len() > FRESH {
        lines = without_oldest(lines);
    }
    lines.into_iter().map(|line| line.record).collect()
}

fn size(lines: &[Line]) -> u64 {
    lines.iter().map(|line| line.bytes).sum()
}

fn old(lines: &[Line]) -> impl Iterator<Item = &Line> {
    lines[..lines.len().saturating_sub(FRESH)].iter()
}

/// Without what concerns generations that no file is left of. The end of the last of those is kept:
/// there begins the oldest.
fn without_gone(records: Vec<Record>, keep: usize) -> Vec<Record> {
    let rotated = |record: &Record| matches!(record.what, What::Rotated(_));
    let mut ends = (0..records.len()).rev().filter(|at| rotated(&records[*at]));
    let first = ends.nth(keep).unwrap_or(0);
    records.into_iter().skip(first).collect()
}

/// Without the oldest half. What is left begins with an end of a generation, if there is one.
fn without_oldest(mut lines: Vec<Line>) -> Vec<Line> {
    let half = lines.len() / 2;
    let ends = |line: &Line| matches!(line.record.what, What::Rotated(_) | What::Moved(_));
    let first = lines[..=half].iter().rposition(ends).filter(|at| *at > 0).unwrap_or(half);
    lines.split_off(first)
}

/// Losses of one generation that follow each other become one.
fn with_losses_merged(lines: Vec<Line>) -> Vec<Line> {
    let mut kept: Vec<Line> = Vec::with_capacity(lines.len());
    for line in lines {
        match kept.last_mut().and_then(|last| merged(&last.record, &line.record)) {
            Some(one) => {
                kept.pop();
                kept.push(Line::of(one));
            }
            None => kept.push(line),
        }
    }
    kept
}

/// Two losses as one; `None`: they are not both losses.
fn merged(earlier: &Record, later: &Record) -> Option<Record> {
    let (What::Lost(first), What::Lost(last)) = (&earlier.what, &later.what) else { return None };
    let one = Loss {
        bytes: first.bytes.saturating_add(last.bytes),
        cause: last.cause,
        from: first.from,
        until: last.until,
        merged: first.merged.max(1).saturating_add(last.merged.max(1)),
    };
    Some(Record { what: What::Lost(one), ..*later })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::record::{self, Cause, Generation};
    use proptest::prelude::*;
    use std::time::Duration;

    /// The room that records take.
    fn size(records: &[Record]) -> u64 {
        records.iter().map(|record| record.encode().len() as u64).sum()
    }

    /// Generations of 100 bytes, `losses` of one byte each in every one, and a mark after each.
    fn lines(generations: u64, losses: u64) -> Vec<Record> {
        let time = Duration::from_secs(1_795_523_696);
        let mut records = Vec::new();
        for generation in 1..=generations {
            let (start, end, bytes) = ((generation - 1) * 100, generation * 100, 100 - losses);
            for n in 1..=losses {
                let from = time;
                let cause = Cause::RateLimit;
                let loss = Loss { bytes: 1, cause, from, until: time, merged: 0 };
                let record = |what| Record { time, offset: start + n, size: 0, what };
                records.extend([What::Lost(loss), What::Mark].map(record));
            }
            let (inode, next_inode, newest) = (generation, generation + 1, None);
            let whole = Generation { generation, start, end, bytes, inode, next_inode, newest };
            records.push(Record { time, offset: end, size: bytes, what: What::Rotated(whole) });
        }
        records
    }

    fn lost(records: &[Record]) -> Vec<(u64, u64)> {
        let mut lost = Vec::new();
        let mut sum = 0;
        for record in records {
            match &record.what {
                What::Lost(loss) => sum += loss.bytes,
                What::Rotated(whole) => lost.push((whole.end, std::mem::take(&mut sum))),
                _ => {}
            }
        }
        lost
    }

    #[test]
    fn what_is_left_begins_where_the_oldest_that_is_kept_begins() {
        let all = lines(5, 3);
        // Each has three losses, three marks, and its end.
        assert_eq!(thin(all.clone(), 2, u64::MAX), all[3 * 7 - 1..]);
        assert_eq!(thin(all.clone(), 5, u64::MAX), all);
        assert_eq!(thin(all.clone(), 4, u64::MAX), all[6..]);
    }

    #[test]
    fn marks_go_before_losses_and_losses_become_one_for_each_generation() {
        let all = lines(20, 10);
        let without_marks: Vec<Record> =
            all.iter().filter(|record| record.what != What::Mark).cloned().collect();
        let enough = size(&all[all.len() - FRESH..]) + size(&without_marks);
        let kept = thin(all.clone(), 20, enough);
        assert!(size(&kept) <= enough && kept.len() < all.len());
        let losses = |records: &[Record]| {
            records.iter().filter(|record| matches!(record.what, What::Lost(_))).count()
        };
        assert_eq!(losses(&kept), losses(&all));
        let few = size(&without_marks) * 2 / 3;
        let kept = thin(all.clone(), 20, few);
        assert!(losses(&kept) < losses(&all));
        assert_eq!(lost(&kept), lost(&all));
    }

    proptest! {
        /// Any records become no more room than is wanted, but for the fresh ones; those that are
        /// left are some of the old ones, or losses in their place.
        #[test]
        fn any_records_are_thinned_out(
            records in proptest::collection::vec(record::tests::record(), 0..150),
            losses in proptest::collection::vec(proptest::sample::Index::arbitrary(), 0..9),
            keep in 0..9usize,
            bytes_max in 0..20_000u64,
        ) {
            let mut all = records;
            for at in losses.iter().filter(|_| !all.is_empty()).collect::<Vec<_>>() {
                // Losses in a row, which become one.
                let at = at.index(all.len());
                let copy = all[at].clone();
                all.insert(at, copy);
            }
            let kept = thin(all.clone(), keep, bytes_max);
            prop_assert!(size(&kept) <= bytes_max || kept.len() <= FRESH);
            let mut left = all.iter();
            for record in &kept {
                let is_it = |old: &&Record| {
                    let same_place = (old.time, old.offset, old.size) ==
                        (record.time, record.offset, record.size);
                    let is_loss = |what: &What| matches!(what, What::Lost(_));
                    same_place && (old.what == record.what ||
                        (is_loss(&old.what) && is_loss(&record.what)))
                };
                prop_assert!(left.any(|old| is_it(&old)), "{:?}", record);
            }
        }
    }

    #[test]
    fn losses_that_are_too_many_to_count_become_one_that_is() {
        let (from, until) = (Duration::ZERO, Duration::ZERO);
        let loss = Loss { bytes: u64::MAX, cause: Cause::Crash, from, until, merged: u64::MAX };
        let lost = Record { time: from, offset: 1, size: 0, what: What::Lost(loss) };
        let Some(Record { what: What::Lost(one), .. }) = merged(&lost, &lost) else { panic!() };
        assert_eq!((one.bytes, one.merged), (u64::MAX, u64::MAX));
    }

    #[test]
    fn where_nothing_else_is_left_the_oldest_generations_go() {
        let all = lines(400, 0);
        let kept = thin(all.clone(), 1000, size(&all) / 3);
        assert_eq!(kept, all[all.len() - kept.len()..]);
        assert!(size(&kept) <= size(&all) / 3 && kept.len() >= FRESH);
        assert!(matches!(kept[0].what, What::Rotated(_)));
    }
}
