//! Rules of the map that are seldom met, each by itself.

mod any;
mod files;

use super::*;
use crate::log::record::{Cause, Loss};

fn at(second: u64, offset: u64, size: u64, what: What) -> Record {
    Record { time: Duration::from_secs(second), offset, size, what }
}

fn lost(bytes: u64) -> What {
    let time = Duration::from_secs(1);
    What::Lost(Loss { bytes, cause: Cause::WriteFailed, from: time, until: time, merged: 0 })
}

fn rotated(generation: u64, start: u64, end: u64, inode: u64, next_inode: u64) -> What {
    let bytes = end - start;
    What::Rotated(Ended { generation, start, end, bytes, inode, next_inode, newest: None })
}

fn adopted(start: u64, inode: u64) -> What {
    What::Adopted { generation: 1, start, inode, newest: None }
}

fn backup(number: u32, inode: u64, size: u64) -> Backup {
    let name = format!("app.log.{number}");
    Backup { number, name, packed: false, file: Stood { inode, size } }
}

fn found(log: Option<(u64, u64)>, backups: Vec<Backup>) -> Found {
    let log = log.map(|(inode, size)| Stood { inode, size });
    Found { name: "app.log".into(), log, backups }
}

/// Offset, length, and where it is: inode and position, or why not.
type Told = (u64, u64, Result<(u64, u64), Absent>);

fn told(map: &Map) -> Vec<Told> {
    let items = map.items(0, u64::MAX, 100).into_iter();
    items
        .map(|item| {
            let place = match item.span.held {
                Held::File(position) => Ok((item.inode.unwrap_or(0), position)),
                Held::Gap(why) => Err(why),
            };
            (item.span.offset, item.span.len, place)
        })
        .collect()
}

#[test]
fn without_events_the_oldest_plain_backup_begins_at_0() {
    let packed = Backup { packed: true, name: "app.log.3.gz".into(), ..backup(3, 9, 5) };
    let found = found(Some((1, 10)), vec![backup(1, 2, 20), backup(2, 3, 30), packed]);
    let map = Map::new(&[], &found);
    assert_eq!(told(&map), [(0, 30, Ok((3, 0))), (30, 20, Ok((2, 0))), (50, 10, Ok((1, 0)))]);
    assert_eq!((map.is_known(), map.len(), map.oldest_offset()), (false, 60, 0));
}

#[test]
fn before_what_is_unknown_nothing_is_told() {
    let unknown = What::Unknown { generation: 5, start: 100, inode: 1, why: String::new() };
    let map = Map::new(&[at(1, 130, 30, unknown)], &found(Some((1, 40)), vec![backup(1, 2, 20)]));
    assert_eq!(told(&map), [(0, 100, Err(Absent::Unknown)), (100, 40, Ok((1, 0)))]);
    assert_eq!((map.is_known(), map.oldest_offset(), map.len()), (true, 100, 140));
}

#[test]
fn what_was_known_before_an_unknown_stays_known() {
    let records = [
        at(1, 0, 0, adopted(0, 7)),
        at(2, 50, 0, rotated(1, 0, 50, 7, 8)),
        at(3, 90, 40, What::Mark),
        at(4, 95, 5, What::Unknown { generation: 3, start: 90, inode: 9, why: String::new() }),
    ];
    let map = Map::new(&records, &found(Some((9, 5)), vec![backup(1, 7, 50)]));
    let gone = Err(Absent::Unknown);
    assert_eq!(told(&map), [(0, 50, Ok((7, 0))), (50, 40, gone), (90, 5, Ok((9, 0)))]);
}

#[test]
fn a_log_that_is_shorter_than_its_last_record_was_cut() {
    let records = [at(1, 0, 0, adopted(0, 7)), at(2, 100, 100, What::Mark)];
    let map = Map::new(&records, &found(Some((7, 30)), vec![]));
    assert_eq!(told(&map), [(0, 100, Err(Absent::Truncated)), (100, 30, Ok((7, 0)))]);
}

#[test]
fn a_backup_that_is_shorter_than_its_last_record_as_the_log_is_not_read() {
    let records = [at(1, 0, 0, adopted(0, 7)), at(2, 100, 100, What::Mark)];
    let map = Map::new(&records, &found(Some((8, 5)), vec![backup(1, 7, 30)]));
    assert_eq!(told(&map), [(0, 100, Err(Absent::Moved)), (100, 5, Ok((8, 0)))]);
    let map = Map::new(&records, &found(Some((8, 5)), vec![backup(1, 7, 110)]));
    assert_eq!(told(&map), [(0, 110, Ok((7, 0))), (110, 5, Ok((8, 0)))]);
}

#[test]
fn bytes_of_somebody_else_have_no_offset() {
    let records =
        [at(1, 0, 0, adopted(0, 7)), at(2, 100, 100, What::Mark), at(3, 110, 150, What::Mark)];
    let map = Map::new(&records, &found(Some((7, 150)), vec![]));
    assert_eq!(told(&map), [(0, 100, Ok((7, 0))), (100, 10, Ok((7, 140)))]);
}

#[test]
fn a_log_that_was_moved_away_is_told_to_be() {
    let records = [at(1, 0, 0, adopted(0, 7)), at(2, 100, 100, What::Mark)];
    let moved = || (0, 100, Err(Absent::Moved));
    assert_eq!(told(&Map::new(&records, &found(None, vec![]))), [moved()]);
    let map = Map::new(&records, &found(Some((8, 5)), vec![]));
    assert_eq!(told(&map), [moved(), (100, 5, Ok((8, 0)))]);
}

#[test]
fn a_backup_that_has_another_size_is_another_file() {
    let records = [at(1, 0, 0, adopted(0, 7)), at(2, 50, 0, rotated(1, 0, 50, 7, 8))];
    for size in [49, 51] {
        let map = Map::new(&records, &found(Some((8, 0)), vec![backup(3, 7, size)]));
        assert_eq!(told(&map), [(0, 50, Err(Absent::Removed))]);
    }
    // Whatever its number is.
    let map = Map::new(&records, &found(Some((8, 0)), vec![backup(3, 7, 50)]));
    assert_eq!(told(&map), [(0, 50, Ok((7, 0)))]);
}

#[test]
fn an_inode_that_was_given_anew_is_the_newer_generation() {
    let records = [
        at(1, 0, 0, adopted(0, 7)),
        at(2, 50, 0, rotated(1, 0, 50, 7, 8)),
        at(3, 100, 0, rotated(2, 50, 100, 8, 7)),
        at(4, 150, 0, rotated(3, 100, 150, 7, 9)),
    ];
    let map = Map::new(&records, &found(Some((9, 0)), vec![backup(1, 7, 50)]));
    assert_eq!(map.oldest_offset(), 100);
    // Its record is missing: what is known of the old one is no reason to take it for that.
    let backups = vec![backup(1, 7, 50), backup(2, 8, 50)];
    let map = Map::new(&records[..3], &found(Some((9, 0)), backups));
    assert_eq!(map.items(50, 100, 9)[1].inode, Some(7));
    assert_eq!((map.oldest_offset(), map.len()), (50, 150));
}

#[test]
fn several_rotations_may_be_without_a_record() {
    let records = [at(1, 0, 0, adopted(0, 7)), at(2, 40, 40, What::Mark)];
    let map = Map::new(&records, &found(Some((9, 5)), vec![backup(1, 8, 20), backup(2, 7, 60)]));
    assert_eq!(told(&map), [(0, 60, Ok((7, 0))), (60, 20, Ok((8, 0))), (80, 5, Ok((9, 0)))]);
    let backups = vec![backup(1, 7, 60)];
    let map = Map::new(&records, &found(Some((9, 5)), backups));
    assert_eq!(told(&map), [(0, 60, Ok((7, 0))), (60, 5, Ok((9, 0)))]);
}

#[test]
fn a_time_leads_to_an_offset_and_back() {
    let records = [
        at(10, 0, 0, adopted(0, 7)),
        at(20, 100, 100, What::Mark),
        at(30, 150, 100, lost(50)),
        at(30, 160, 110, What::Mark),
    ];
    let map = Map::new(&records, &found(Some((7, 110)), vec![]));
    let offset = |second| map.offset_at(Duration::from_secs(second));
    assert_eq!(
        [9, 10, 19, 20, 30, 99].map(offset),
        [None, Some(0), Some(0), Some(100), Some(160), Some(160)]
    );
    let time = |offset| map.time_at(offset).map(|time| time.as_secs());
    assert_eq!(
        [0, 99, 100, 155, 160].map(time),
        [Some(10), Some(10), Some(20), Some(30), Some(30)]
    );
}

#[test]
fn between_two_generations_is_a_hole_where_a_line_is_missing() {
    let records = [
        at(1, 50, 0, adopted(50, 7)),
        at(2, 100, 0, rotated(1, 50, 100, 7, 8)),
        at(3, 170, 0, rotated(3, 140, 170, 9, 10)),
    ];
    let backups = vec![backup(1, 9, 30), backup(3, 7, 50)];
    assert_eq!(
        told(&Map::new(&records, &found(Some((10, 0)), backups))),
        [
            (0, 50, Err(Absent::Removed)),
            (50, 50, Ok((7, 0))),
            (100, 40, Err(Absent::Unknown)),
            (140, 30, Ok((9, 0)))
        ]
    );
}

fn loss_of(bytes: u64) -> Absent {
    let What::Lost(loss) = lost(bytes) else { unreachable!() };
    Absent::Lost(loss)
}

#[test]
fn the_first_record_may_be_a_loss() {
    let map = Map::new(&[at(1, 150, 60, lost(50))], &found(Some((7, 70)), vec![]));
    let removed = (0, 40, Err(Absent::Removed));
    let loss = (100, 50, Err(loss_of(50)));
    assert_eq!(told(&map), [removed, (40, 60, Ok((7, 0))), loss, (150, 10, Ok((7, 60)))]);
}

#[test]
fn a_first_generation_begins_where_its_end_says_and_its_losses_stay() {
    // The losses before the first line are no longer told.
    let What::Rotated(all) = rotated(4, 100, 170, 7, 8) else { unreachable!() };
    let end = What::Rotated(Ended { bytes: 55, ..all });
    let records = [at(1, 150, 40, What::Mark), at(2, 165, 50, lost(5)), at(3, 170, 0, end)];
    // Nobody asks any more what is unknown of one that is gone.
    let map = Map::new(&records, &found(Some((8, 0)), vec![]));
    let removed = told(&map).into_iter().filter(|(_, _, held)| *held == Err(Absent::Removed));
    assert_eq!(removed.map(|(_, len, _)| len).sum::<u64>(), 165);
    assert_eq!(
        told(&Map::new(&records, &found(Some((8, 0)), vec![backup(1, 7, 55)]))),
        [
            (0, 100, Err(Absent::Removed)),
            (100, 10, Err(Absent::Unknown)),
            (110, 50, Ok((7, 0))),
            (160, 5, Err(loss_of(5))),
            (165, 5, Ok((7, 50)))
        ]
    );
}

#[test]
fn a_line_about_an_end_tells_of_the_log_after_it_or_before_it() {
    let end = rotated(1, 0, 50, 7, 8);
    let files = found(Some((8, 60)), vec![backup(1, 7, 50)]);
    let whole = [(0, 50, Ok((7, 0))), (50, 60, Ok((8, 0)))];
    // What it says of the old one is not the size of the new one.
    let map = Map::new(&[at(1, 0, 0, adopted(0, 7)), at(2, 50, 50, end.clone())], &files);
    assert_eq!(told(&map), whole);
    // What it says of the new one counts.
    let map = Map::new(&[at(1, 0, 0, adopted(0, 7)), at(2, 60, 10, end)], &files);
    assert_eq!(told(&map), whole);
    assert_eq!(map.offset_at(Duration::from_secs(2)), Some(60));
}

#[test]
fn what_is_unknown_of_the_same_log_takes_no_loss_away() {
    let unknown = What::Unknown { generation: 1, start: 0, inode: 7, why: String::new() };
    let records =
        [at(1, 0, 0, adopted(0, 7)), at(2, 50, 45, lost(5)), at(3, 60, 55, unknown.clone())];
    let map = Map::new(&records, &found(Some((7, 55)), vec![]));
    assert_eq!(told(&map), [(0, 45, Ok((7, 0))), (45, 5, Err(loss_of(5))), (50, 10, Ok((7, 45)))]);
}

#[test]
fn times_of_offsets_that_became_unknown_are_no_longer_told() {
    let unknown = What::Unknown { generation: 2, start: 50, inode: 8, why: String::new() };
    let records = [at(1, 0, 0, adopted(0, 7)), at(2, 100, 100, What::Mark), at(3, 60, 10, unknown)];
    let map = Map::new(&records, &found(Some((8, 10)), vec![]));
    assert_eq!(map.len(), 60);
    assert_eq!([2, 3].map(|at| map.offset_at(Duration::from_secs(at))), [Some(0), Some(60)]);
}

#[test]
fn a_copy_may_have_the_inode_that_a_packed_backup_had() {
    let packed = What::Packed { generation: 1, inode: 9, packed_bytes: 6 };
    let records = [
        at(1, 0, 0, adopted(0, 5)),
        at(2, 50, 0, rotated(1, 0, 50, 7, 5)),
        at(3, 60, 10, packed),
        at(4, 90, 40, What::Mark),
    ];
    let zipped = Backup { packed: true, name: "app.log.2.gz".into(), ..backup(2, 9, 6) };
    let map = Map::new(&records, &found(Some((5, 3)), vec![backup(1, 7, 50), zipped]));
    let packed = Err(Absent::Packed("app.log.2.gz".into()));
    assert_eq!(told(&map), [(0, 50, packed), (50, 50, Ok((7, 0))), (100, 3, Ok((5, 0)))]);
}

#[test]
fn what_a_cut_left_moves_to_the_front_of_the_file() {
    let records = [
        at(1, 50, 50, adopted(0, 7)),
        at(2, 55, 50, lost(5)),
        at(3, 85, 80, What::Mark),
        at(4, 85, 40, What::Truncated { bytes: 40, newest: None }),
    ];
    assert_eq!(
        told(&Map::new(&records, &found(Some((7, 40)), vec![]))),
        [
            (0, 40, Err(Absent::Truncated)),
            (40, 10, Ok((7, 0))),
            (50, 5, Err(loss_of(5))),
            (55, 30, Ok((7, 10)))
        ]
    );
}

#[test]
fn no_records_and_no_files_are_too_odd() {
    let mut seed = 1u64;
    let mut next = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    for _ in 0..20_000 {
        let mut records = Vec::new();
        for second in 0..next(8) {
            let (offset, size, inode) = (next(60), next(60), next(4));
            let what = match next(7) {
                0 => What::Mark,
                1 => lost(next(60)),
                2 => rotated(next(4), next(30), 30 + next(30), inode, next(4)),
                3 => What::Truncated { bytes: next(60), newest: None },
                4 => adopted(next(60), inode),
                5 => What::Packed { generation: next(4), inode, packed_bytes: next(9) },
                _ => What::Unknown { generation: 1, start: next(60), inode, why: String::new() },
            };
            records.push(at(second, offset, size, what));
        }
        let backups = (0..next(4) as u32).map(|number| backup(number, next(4), next(60)));
        let backups = backups.collect();
        let map = Map::new(&records, &found(Some((next(4), next(60))), backups));
        let items = map.items(0, u64::MAX, 1000);
        let ends = items.iter().map(|item| item.span.end());
        let starts = items.iter().map(|item| item.span.offset);
        assert!(items.iter().all(|item| item.span.len > 0));
        assert!(starts.skip(1).eq(ends.clone().take(items.len().saturating_sub(1))));
        assert_eq!(ends.max().unwrap_or(0), map.len(), "{records:?}");
    }
}
