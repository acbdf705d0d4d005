//! Which lines of an events file are worth their room.
//!
//! Owns the order in which they go: lines of generations that are gone, marks, connections, and
//! at last losses, which become one for each generation.
//! **Invariant:** pure; what is left tells where every generation that is kept begins and ends, and
//! how many bytes were lost in it.

use super::record::{Loss, Record, What};

/// Lines at the end that stay as they are.
const FRESH: usize = 64;

/// Thins `records` out until they take at most `bytes_max` bytes. `keep`: of so many generations
/// that we rotated there may be a file.
pub(super) fn thin(records: Vec<Record>, keep: usize, bytes_max: u64) -> Vec<Record> {
    let mut records = without_gone(records, keep);
    let mut every = 2;
    while size(&records) > bytes_max && old(&records).any(|record| record.what == What::Mark) {
        let (mut at, mut marks) = (0, 0);
        let fresh = records.len().saturating_sub(FRESH);
        records.retain(|record| {
            at += 1;
            if record.what != What::Mark || at > fresh {
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
            What::Connected { .. } | What::Disconnected { .. } | What::Displaced | What::Released
        )
    };
    for drop in [passing, |what: &What| matches!(what, What::Boot | What::UpstreamLossPossible)] {
        while size(&records) > bytes_max {
            let Some(at) = old(&records).position(|record| drop(&record.what)) else { break };
            // All of the oldest half of them: one by one would take too long.
            let last = records.len().saturating_sub(FRESH).div_ceil(2).max(at + 1);
            let mut at = 0;
            records.retain(|record| {
                at += 1;
                at > last || !drop(&record.what)
            });
        }
    }
    if size(&records) > bytes_max {
        records = with_losses_merged(records);
    }
    // Somebody else rotates, and who knows what he keeps.
    while size(&records) > bytes_max && records.len() > FRESH {
        records = without_oldest(records);
    }
    records
}

fn size(records: &[Record]) -> u64 {
    records.iter().map(|record| record.encode().len() as u64).sum()
}

fn old(records: &[Record]) -> impl Iterator<Item = &Record> {
    records[..records.len().saturating_sub(FRESH)].iter()
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
fn without_oldest(mut records: Vec<Record>) -> Vec<Record> {
    let half = records.len() / 2;
    let ends = |record: &Record| matches!(record.what, What::Rotated(_) | What::Moved(_));
    let first = records[..=half].iter().rposition(ends).filter(|at| *at > 0).unwrap_or(half);
    records.split_off(first)
}

/// Losses of one generation that follow each other become one.
fn with_losses_merged(records: Vec<Record>) -> Vec<Record> {
    let mut kept: Vec<Record> = Vec::with_capacity(records.len());
    for record in records {
        let (What::Lost(later), Some(last)) = (&record.what, kept.last_mut()) else {
            kept.push(record);
            continue;
        };
        let What::Lost(earlier) = &last.what else {
            kept.push(record);
            continue;
        };
        let one = Loss {
            bytes: earlier.bytes + later.bytes,
            cause: later.cause,
            from: earlier.from,
            until: later.until,
            merged: earlier.merged.max(1) + later.merged.max(1),
        };
        *last = Record { what: What::Lost(one), ..record };
    }
    kept
}
