//! Which file is taken for which generation, and which for none.

use super::*;

fn packed(number: u32, inode: u64, size: u64) -> Backup {
    let name = format!("app.log.{number}.gz");
    Backup { packed: true, name, ..backup(number, inode, size) }
}

fn moved(generation: u64, start: u64, end: u64, inode: u64, next_inode: u64) -> What {
    let What::Rotated(ended) = rotated(generation, start, end, inode, next_inode) else {
        unreachable!()
    };
    What::Moved(ended)
}

fn unknown(generation: u64, start: u64, inode: u64) -> What {
    What::Unknown { generation, start, inode, why: String::new() }
}

fn told_of(records: &[Record], log: (u64, u64), backups: Vec<Backup>) -> Vec<Told> {
    told(&Map::new(records, &found(Some(log), backups)))
}

#[test]
fn what_had_the_logs_inode_before_is_gone() {
    // The third generation has the first one's inode and size, and is a backup without a line.
    let records = [
        at(1, 0, 0, adopted(0, 7)),
        at(2, 50, 0, rotated(1, 0, 50, 7, 8)),
        at(3, 100, 0, rotated(2, 50, 100, 8, 7)),
    ];
    assert_eq!(
        told_of(&records, (9, 0), vec![backup(1, 7, 50)]),
        [(0, 50, Err(Absent::Removed)), (50, 50, Err(Absent::Removed)), (100, 50, Ok((7, 0)))]
    );
}

#[test]
fn the_newest_backup_is_not_older_than_the_others() {
    // A copy without a line has the first one's inode and size.
    let records = [
        at(1, 0, 0, adopted(0, 5)),
        at(2, 50, 0, rotated(1, 0, 50, 7, 5)),
        at(3, 100, 0, rotated(2, 50, 100, 8, 5)),
        at(4, 130, 30, What::Mark),
    ];
    assert_eq!(
        told_of(&records, (5, 3), vec![backup(1, 7, 50), backup(2, 8, 50)]),
        [
            (0, 50, Err(Absent::Removed)),
            (50, 50, Ok((8, 0))),
            (100, 50, Ok((7, 0))),
            (150, 3, Ok((5, 0)))
        ]
    );
}

#[test]
fn a_packed_backup_is_not_older_than_those_of_higher_numbers() {
    let records = [
        at(1, 0, 0, adopted(0, 7)),
        at(2, 50, 0, rotated(1, 0, 50, 7, 8)),
        at(3, 50, 0, What::Packed { generation: 1, inode: 9, packed_bytes: 6 }),
        at(4, 100, 0, rotated(2, 50, 100, 8, 10)),
        at(5, 150, 0, rotated(3, 100, 150, 10, 11)),
    ];
    assert_eq!(
        told_of(&records, (11, 0), vec![packed(1, 9, 6), backup(2, 8, 50)]),
        [
            (0, 50, Err(Absent::Removed)),
            (50, 50, Ok((8, 0))),
            (100, 50, Err(Absent::Packed("app.log.1.gz".into())))
        ]
    );
}

#[test]
fn a_generation_that_was_moved_away_is_no_packed_backup() {
    let records = [
        at(1, 0, 0, adopted(0, 7)),
        at(2, 50, 0, rotated(1, 0, 50, 7, 8)),
        at(3, 100, 0, moved(2, 50, 100, 8, 9)),
    ];
    assert_eq!(
        told_of(&records, (9, 5), vec![packed(1, 20, 6)]),
        [(0, 50, Err(Absent::Removed)), (50, 50, Err(Absent::Moved)), (100, 5, Ok((9, 0)))]
    );
}

#[test]
fn a_generation_whose_end_was_not_recorded_may_be_longer() {
    let records =
        [at(1, 0, 0, adopted(0, 7)), at(2, 50, 50, What::Mark), at(3, 60, 0, unknown(2, 60, 8))];
    for (size, first) in [(55, Ok((7, 0))), (50, Ok((7, 0))), (49, Err(Absent::Unknown))] {
        assert_eq!(
            told_of(&records, (8, 5), vec![backup(1, 7, size)]),
            [(0, 50, first), (50, 10, Err(Absent::Unknown)), (60, 5, Ok((8, 0)))]
        );
    }
}

#[test]
fn what_is_newer_than_all_that_is_recorded_has_numbers_in_a_row() {
    let records = [
        at(1, 0, 0, adopted(0, 5)),
        at(2, 50, 0, rotated(1, 0, 50, 7, 5)),
        at(3, 90, 40, What::Mark),
    ];
    let stranger = backup(3, 30, 60);
    assert_eq!(
        told_of(&records, (5, 3), vec![backup(1, 12, 45), stranger, backup(4, 7, 50)]),
        [(0, 50, Ok((7, 0))), (50, 45, Ok((12, 0))), (95, 3, Ok((5, 0)))]
    );
}

#[test]
fn a_copy_of_a_log_that_was_not_cut_or_that_lacks_bytes_is_no_generation() {
    let records = [at(1, 0, 0, adopted(0, 7)), at(2, 40, 40, What::Mark)];
    for size in [50, 60] {
        let copy = vec![backup(1, 8, size)];
        assert_eq!(told_of(&records, (7, 60), copy), [(0, 60, Ok((7, 0)))]);
    }
    assert_eq!(
        told_of(&records, (7, 3), vec![backup(1, 8, 39)]),
        [(0, 40, Err(Absent::Truncated)), (40, 3, Ok((7, 0)))]
    );
    assert_eq!(
        told_of(&records, (7, 3), vec![backup(1, 8, 40)]),
        [(0, 40, Ok((8, 0))), (40, 3, Ok((7, 0)))]
    );
}

#[test]
fn a_copy_by_somebody_who_cut_the_log_before_is_not_ours() {
    let cut = What::Truncated { bytes: 70, newest: None };
    let records = [at(1, 0, 0, adopted(0, 7)), at(2, 10, 10, What::Mark), at(3, 100, 30, cut)];
    let gone = || Err(Absent::Truncated);
    assert_eq!(
        told_of(&records, (7, 3), vec![backup(1, 8, 35)]),
        [(0, 70, gone()), (70, 30, gone()), (100, 3, Ok((7, 0)))]
    );
}

#[test]
fn a_backup_that_may_be_older_is_not_taken_for_the_last_one() {
    let told_of = |size, log, copy| {
        told_of(&[at(1, 100 + size, size, unknown(5, 100, 1))], (1, log), vec![copy])
    };
    let before = || (0, 100, Err(Absent::Unknown));
    // The log is longer than when it was seen last: it was not cut.
    assert_eq!(told_of(5, 10, backup(1, 2, 20)), [before(), (100, 10, Ok((1, 0)))]);
    // It is shorter, or the copy has no number yet: then the copy is new.
    let copied = [before(), (100, 35, Ok((2, 0))), (135, 10, Ok((1, 0)))];
    assert_eq!(told_of(30, 10, backup(1, 2, 35)), copied);
    assert_eq!(told_of(5, 10, backup(0, 2, 35)), copied);
}

#[test]
fn a_plain_backup_is_read_while_a_command_makes_another_of_it() {
    let records = [at(1, 0, 0, adopted(0, 7)), at(2, 50, 0, rotated(1, 0, 50, 7, 8))];
    let both = vec![backup(1, 7, 50), packed(1, 20, 6)];
    assert_eq!(told_of(&records, (8, 5), both), [(0, 50, Ok((7, 0))), (50, 5, Ok((8, 0)))]);
}

#[test]
fn a_backup_that_a_line_names_as_the_newest_is_no_copy_of_the_log() {
    let gone = |offset, len, why| (offset, len, Err(why));
    let first = What::Adopted { generation: 1, start: 0, inode: 7, newest: Some(8) };
    assert_eq!(
        told_of(&[at(1, 0, 0, first), at(2, 40, 40, What::Mark)], (7, 3), vec![backup(1, 8, 60)]),
        [gone(0, 40, Absent::Truncated), (40, 3, Ok((7, 0)))]
    );
    // It was ours, and somebody cut it.
    let records = [
        at(1, 0, 0, adopted(0, 5)),
        at(2, 50, 0, rotated(1, 0, 50, 7, 5)),
        at(3, 60, 10, What::Mark),
    ];
    assert_eq!(
        told_of(&records, (5, 3), vec![backup(1, 7, 49)]),
        [gone(0, 50, Absent::Removed), gone(50, 10, Absent::Truncated), (60, 3, Ok((5, 0)))]
    );
    let What::Moved(ended) = moved(1, 0, 50, 7, 8) else { unreachable!() };
    let records = [
        at(1, 0, 0, adopted(0, 7)),
        at(2, 50, 0, What::Moved(Ended { newest: Some(20), ..ended })),
        at(3, 60, 10, What::Mark),
    ];
    assert_eq!(
        told_of(&records, (8, 3), vec![backup(1, 20, 60)]),
        [gone(0, 50, Absent::Moved), gone(50, 10, Absent::Truncated), (60, 3, Ok((8, 0)))]
    );
}

#[test]
fn a_copy_without_a_line_is_new_where_lines_would_tell_of_an_older_one() {
    let records = [at(1, 0, 0, adopted(0, 5)), at(2, 10, 10, What::Mark)];
    assert_eq!(
        told_of(&records, (5, 20), vec![backup(1, 12, 45)]),
        [(0, 45, Ok((12, 0))), (45, 20, Ok((5, 0)))]
    );
}

#[test]
fn a_backup_is_no_copy_of_a_log_that_is_another_file_now() {
    let records = [at(1, 0, 0, adopted(0, 7)), at(2, 40, 40, What::Mark)];
    assert_eq!(
        told_of(&records, (9, 5), vec![backup(1, 8, 60)]),
        [(0, 40, Err(Absent::Moved)), (40, 5, Ok((9, 0)))]
    );
}

#[test]
fn without_a_first_backup_none_is_newer_than_what_is_recorded() {
    let records = [
        at(1, 0, 0, adopted(0, 5)),
        at(2, 50, 0, rotated(1, 0, 50, 7, 5)),
        at(3, 90, 40, What::Mark),
    ];
    assert_eq!(
        told_of(&records, (5, 3), vec![backup(2, 12, 45), backup(3, 7, 50)]),
        [(0, 50, Ok((7, 0))), (50, 40, Err(Absent::Truncated)), (90, 3, Ok((5, 0)))]
    );
}

#[test]
fn of_two_packed_ones_with_the_same_inode_the_newer_is_there() {
    let packed_one = |generation| What::Packed { generation, inode: 9, packed_bytes: 6 };
    let records = [
        at(1, 0, 0, adopted(0, 7)),
        at(2, 50, 0, rotated(1, 0, 50, 7, 8)),
        at(3, 50, 0, packed_one(1)),
        at(4, 100, 0, rotated(2, 50, 100, 8, 10)),
        at(5, 100, 0, packed_one(2)),
    ];
    let packed = |number| Err(Absent::Packed(format!("app.log.{number}.gz")));
    assert_eq!(
        told_of(&records, (10, 0), vec![self::packed(1, 9, 6)]),
        [(0, 50, Err(Absent::Removed)), (50, 50, packed(1))]
    );
}
