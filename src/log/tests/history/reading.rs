//! What is read, and what is not.

use super::*;
use crate::config::AfterRotate;
use crate::limits::{
    EVENTS_PENDING_MAX, HISTORY_EVENTS_MAX, HISTORY_HOLES_MAX, HISTORY_PARTS_MAX, HISTORY_READ_MAX,
};
use crate::log::tests::faulty::Faulty;

fn opened(place: &Place) -> History<OsFiles> {
    History::open(&mut OsFiles::default(), &place.spec).unwrap()
}

#[test]
fn one_read_brings_a_bounded_part() {
    let place = Place::new(RotateMode::Rename);
    let len = HISTORY_READ_MAX + 100;
    fs::write(place.path("app.log"), vec![b'x'; len as usize]).unwrap();
    let mut history = opened(&place);
    assert_eq!((history.is_known(), history.len()), (false, len));
    let pieces = history.read_at(&mut OsFiles::default(), 0, u64::MAX).unwrap();
    assert_eq!(pieces.last().map(Piece::end), Some(HISTORY_READ_MAX));
    let pieces = history.read_at(&mut OsFiles::default(), HISTORY_READ_MAX, u64::MAX).unwrap();
    assert_eq!(pieces.last().map(Piece::end), Some(len));
}

#[test]
fn a_link_and_a_file_with_two_names_are_not_read() {
    let place = Place::new(RotateMode::Rename);
    fs::write(place.path("secret"), b"secret").unwrap();
    fs::write(place.path("app.log"), b"log").unwrap();
    for how in [std::os::unix::fs::symlink::<PathBuf, PathBuf>, fs::hard_link] {
        fs::remove_file(place.path("app.log.1")).ok();
        how(place.path("secret"), place.path("app.log.1")).unwrap();
        let mut history = opened(&place);
        let pieces = history.read_at(&mut OsFiles::default(), 0, 100).unwrap();
        assert_eq!(cells_of(0, &pieces), b"log".map(Cell::Byte));
        // Nor if it comes in a backup's place after the map was made.
        fs::remove_file(place.path("app.log.1")).unwrap();
        fs::write(place.path("app.log.1"), b"backup").unwrap();
        let mut history = opened(&place);
        assert_eq!(history.len(), 9);
        fs::remove_file(place.path("app.log.1")).unwrap();
        how(place.path("secret"), place.path("app.log.1")).unwrap();
        let read = history.read_at(&mut OsFiles::default(), 0, 6);
        assert!(read.is_err() || !format!("{read:?}").contains("115, 101, 99"), "{read:?}");
        // Nor in the place of the events.
        how(place.path("secret"), place.path("app.log.events")).unwrap();
        let opened = History::open(&mut OsFiles::default(), &place.spec);
        assert!(opened.is_err(), "{opened:?}");
        fs::remove_file(place.path("app.log.events")).unwrap();
    }
}

#[test]
fn a_reader_makes_no_directory_and_takes_no_lock() {
    let place = Place::new(RotateMode::Rename);
    let absent = place.path("nowhere/app.log");
    assert!(History::open(&mut OsFiles::default(), &LogSpec::new(&absent)).is_err());
    assert!(!place.path("nowhere").exists());
    let history = opened(&place);
    assert!(!place.path("app.log").exists() && history.is_empty());
    let mut log = place.open();
    log.append(&mut OsFiles::default(), b"some\n", usize::MAX, secs(1));
    assert_eq!(opened(&place).len(), 5);
}

#[test]
fn a_suffix_of_ones_own_is_found_as_told() {
    let place = Place::new(RotateMode::Rename);
    let env = &mut OsFiles::default();
    let mut log = place.open();
    log.append(env, b"some\n", usize::MAX, secs(1));
    log.rotate(env, secs(1));
    fs::rename(place.path("app.log.1"), place.path("app.log.1.own")).unwrap();
    for (suffix, why) in
        [(Some(".own"), Absent::Packed("app.log.1.own".into())), (None, Absent::Removed)]
    {
        let after_rotate = suffix.map(|suffix: &str| AfterRotate {
            command: vec!["pack".into()],
            suffix: suffix.into(),
        });
        let spec = LogSpec { after_rotate, ..place.spec.clone() };
        let mut history = History::open(env, &spec).unwrap();
        let missing = Part::Missing(Missing { bytes: 5, why });
        assert_eq!(history.read_at(env, 0, 5).unwrap(), [Piece { offset: 0, part: missing }]);
    }
}

#[test]
fn what_is_read_while_another_rotates_is_never_at_a_wrong_offset() {
    for mode in MODES {
        let mut place = Place::in_memory(mode);
        place.spec.keep = 3;
        let bytes = stream(400_000);
        let mut log = place.open();
        log.append(&mut OsFiles::default(), &bytes[..100], usize::MAX, secs(1));
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let mut env = OsFiles::default();
                for chunk in bytes[100..].chunks(97) {
                    log.append(&mut env, chunk, usize::MAX, secs(1));
                    while log.step(&mut env, secs(1)) {}
                }
            });
            let env = &mut OsFiles::default();
            let mut read = 0;
            let mut done = false;
            while !done {
                // Once more after its end, however soon that is.
                done = writer.is_finished();
                // Too many rotations in the time of a look are an error, and nothing else.
                let Ok(mut history) = History::open(env, &place.spec) else { continue };
                let from = history.len().saturating_sub(1500);
                let Ok(pieces) = history.read_at(env, from, 2000) else { continue };
                for piece in pieces {
                    if let Part::Bytes(got) = piece.part {
                        let at = piece.offset as usize;
                        assert_same(&got, &bytes[at..at + got.len()], &format!("{mode:?} {at}"));
                        read += got.len();
                    }
                }
            }
            assert!(read > 0);
        });
    }
}

#[test]
fn rotations_at_any_call_of_a_reader_move_no_byte() {
    let bytes = stream(7000);
    for mode in MODES {
        let mut reached = 0;
        for n in 1..=100 {
            let mut place = Place::in_memory(mode);
            place.spec.keep = 2;
            let mut log = place.open();
            let env = &mut OsFiles::default();
            log.append(env, &bytes[..2500], usize::MAX, secs(1));
            turn(&mut log, env, secs(1));
            let rest = bytes[2500..].to_vec();
            let mut env = Faulty::new(0..0, 0);
            let rotate = move || {
                let env = &mut OsFiles::default();
                log.append(env, &rest, usize::MAX, secs(1));
                turn(&mut log, env, secs(1));
            };
            env.meanwhile = Some((n, Box::new(rotate)));
            let mut history = History::open(&mut env, &place.spec).unwrap();
            // More rotations than backups are kept: what it was opened on is gone by then.
            assert!([2500, 7000].contains(&history.len()), "{mode:?}, at call {n}");
            let pieces = history.read_at(&mut env, 0, 7000).unwrap();
            reached += u32::from(env.meanwhile.is_none());
            let gone = opened(&place).oldest_offset();
            let what = format!("{mode:?}, at call {n}");
            assert!(pieces.last().unwrap().end() >= 2500, "{what}");
            for piece in pieces {
                let (from, to) = (piece.offset as usize, piece.end() as usize);
                match piece.part {
                    Part::Bytes(got) => assert_same(&got, &bytes[from..to], &what),
                    Part::Missing(missing) => {
                        assert_eq!(missing.why, Absent::Removed, "{what}");
                        assert!(to as u64 <= gone, "{what}: {from} to {to} is there");
                    }
                }
            }
        }
        assert!((20..100).contains(&reached), "{reached} calls");
    }
}

#[test]
fn another_file_in_a_backups_place_is_not_read_for_it() {
    let place = Place::new(RotateMode::Rename);
    let env = &mut OsFiles::default();
    let mut log = place.open();
    log.append(env, b"backup\n", usize::MAX, secs(1));
    log.rotate(env, secs(1));
    log.append(env, b"log\n", usize::MAX, secs(1));
    let mut history = opened(&place);
    // No line tells of this.
    fs::write(place.path("other"), b"strange\n").unwrap();
    fs::set_permissions(
        place.path("other"),
        fs::metadata(place.path("app.log.1")).unwrap().permissions(),
    )
    .unwrap();
    fs::rename(place.path("app.log.1"), place.path("kept")).unwrap();
    fs::rename(place.path("other"), place.path("app.log.1")).unwrap();
    let pieces = history.read_at(env, 0, 7).unwrap();
    assert_eq!(cells_of(0, &pieces), vec![Cell::Removed; 7]);
    // Nor where there is none.
    let mut history = opened(&place);
    fs::remove_file(place.path("app.log.1")).unwrap();
    let pieces = history.read_at(env, 0, 11).unwrap();
    assert_eq!(cells_of(7, &pieces[1..]), b"log\n".map(Cell::Byte));
}

#[test]
fn a_copy_counts_once_the_log_is_shorter() {
    let place = Place::new(RotateMode::CopyTruncate);
    fs::write(place.path("app.log.copied"), b"01234").unwrap();
    for (log, whole) in [("0123456789", "0123456789"), ("01234", "01234"), ("5", "012345")] {
        fs::write(place.path("app.log"), log).unwrap();
        let pieces = opened(&place).read_at(&mut OsFiles::default(), 0, 99).unwrap();
        let want: Vec<Cell> = whole.bytes().map(Cell::Byte).collect();
        assert_eq!(cells_of(0, &pieces), want);
    }
}

#[test]
fn one_read_brings_a_bounded_number_of_parts() {
    let place = Place::in_memory(RotateMode::Rename);
    let env = &mut OsFiles::default();
    let mut log = place.open();
    for _ in 0..HISTORY_PARTS_MAX {
        log.append(env, b"x", usize::MAX, secs(1));
        log.lose(env, 1, record::Cause::RateLimit, secs(1));
    }
    log.close(env, secs(1));
    let mut history = opened(&place);
    let first = history.read_at(env, 0, u64::MAX).unwrap();
    assert_eq!(first.len(), HISTORY_PARTS_MAX);
    let from = first.last().unwrap().end();
    let rest = history.read_at(env, from, u64::MAX).unwrap();
    assert_eq!(rest.last().unwrap().end(), 2 * HISTORY_PARTS_MAX as u64);
}

#[test]
fn an_events_file_that_is_too_long_to_be_ours_is_not_read() {
    let place = Place::new(RotateMode::Rename);
    let events = fs::File::create(place.path("app.log.events")).unwrap();
    events.set_len(HISTORY_EVENTS_MAX + 1).unwrap();
    let error = History::open(&mut OsFiles::default(), &place.spec).unwrap_err();
    assert!(format!("{error:?}").contains("FileTooLarge"), "{error:?}");
}

#[test]
fn a_few_numbers_without_a_backup_do_not_end_the_search() {
    let place = Place::new(RotateMode::Rename);
    let near = HISTORY_HOLES_MAX;
    for number in [1, 1 + near, 1 + 2 * near, 2 + 3 * near] {
        fs::write(place.path(&format!("app.log.{number}")), format!("{number},")).unwrap();
    }
    let pieces = opened(&place).read_at(&mut OsFiles::default(), 0, 99).unwrap();
    let want: Vec<Cell> =
        format!("{},{},1,", 1 + 2 * near, 1 + near).bytes().map(Cell::Byte).collect();
    assert_eq!(cells_of(0, &pieces), want);
}

#[test]
fn what_came_since_it_was_opened_is_not_told() {
    let place = Place::new(RotateMode::Rename);
    fs::write(place.path("app.log"), b"before").unwrap();
    let mut history = opened(&place);
    fs::write(place.path("app.log"), b"before and after").unwrap();
    let pieces = history.read_at(&mut OsFiles::default(), 2, 99).unwrap();
    assert_eq!(cells_of(2, &pieces), b"fore".map(Cell::Byte));
    let pieces = history.read_at(&mut OsFiles::default(), 6, 99).unwrap();
    assert_eq!(cells_of(6, &pieces), b" and after".map(Cell::Byte));
}

#[test]
fn without_events_the_files_are_looked_at_after_a_read() {
    let place = Place::new(RotateMode::Rename);
    fs::write(place.path("app.log"), b"0123456789").unwrap();
    let mut history = opened(&place);
    fs::copy(place.path("app.log"), place.path("app.log.1")).unwrap();
    // The same file with other bytes.
    fs::write(place.path("app.log"), b"abcdefghijkl").unwrap();
    let pieces = history.read_at(&mut OsFiles::default(), 0, 10).unwrap();
    assert_eq!(cells_of(0, &pieces), b"0123456789".map(Cell::Byte));
}

#[test]
fn a_log_that_was_cut_since_it_was_opened_is_not_read_as_zeros() {
    let place = Place::new(RotateMode::Rename);
    let env = &mut OsFiles::default();
    let mut log = place.open();
    log.append(env, b"0123456789", usize::MAX, secs(1));
    log.close(env, secs(1));
    let mut history = opened(&place);
    fs::File::options().write(true).open(place.path("app.log")).unwrap().set_len(4).unwrap();
    let pieces = history.read_at(env, 0, 10).unwrap();
    assert_eq!(cells_of(0, &pieces), vec![Cell::Truncated; 10]);
}

#[test]
fn a_packed_backup_that_went_by_a_rotation_without_a_line_is_not_told() {
    for keep in [1, 2] {
        let mut subject = Writer::new(keep, false);
        for op in [Op::Append(10), Op::Rotate { copy: false, late: 0 }] {
            subject.apply(&op);
        }
        subject.apply(&Op::Pack { which: 0, noted: false });
        subject.apply(&Op::Append(5));
        let spec = LogSpec::new(subject.log());
        let mut old = History::open(&mut OsFiles::default(), &spec).unwrap();
        check_read(&mut old, subject.cells(), (0, 15), "packed");
        subject.apply(&Op::Crash { copy: false, torn: 0 });
        check_read(&mut old, subject.cells(), (0, 15), "gone, or shifted");
    }
}

/// A log whose events file takes nothing from now on; what was printed has its lines.
fn log_without_lines(place: &Place, printed: &[u8]) -> (Log<Faulty>, Faulty) {
    let mut env = Faulty::new(0..0, 28);
    let mut log = Log::open(&mut env, &place.spec, 0, secs(1)).unwrap();
    log.append(&mut env, printed, usize::MAX, secs(1));
    (env.only, env.failing) = ("write_beside", 0..u64::MAX);
    (log, env)
}

#[test]
fn a_rotation_whose_line_waits_is_told_by_who_knows_the_line() {
    let place = Place::new(RotateMode::CopyTruncate);
    let (mut log, mut env) = log_without_lines(&place, b"0123456789");
    let mut history = opened(&place);
    log.rotate(&mut env, secs(1));
    while log.step(&mut env, secs(1)) {}
    log.append(&mut env, b"abcdefghijkl", usize::MAX, secs(1));
    history.know(&mut OsFiles::default(), log.unwritten_lines(&mut env)).unwrap();
    let pieces = history.read_at(&mut OsFiles::default(), 0, 99).unwrap();
    assert_eq!(cells_of(0, &pieces), b"0123456789abcdefghijkl".map(Cell::Byte));
}

#[test]
fn a_loss_whose_line_waits_is_told_by_who_knows_the_line() {
    let place = Place::new(RotateMode::Rename);
    let (mut log, mut env) = log_without_lines(&place, b"before");
    log.lose(&mut env, 3, record::Cause::RateLimit, secs(1));
    log.append(&mut env, b"after", usize::MAX, secs(1));
    let mut history = opened(&place);
    let unwritten = log.unwritten_lines(&mut env);
    history.know(&mut OsFiles::default(), unwritten).unwrap();
    assert_is_lost(&mut history);
    // Written since: told once, also to who has not heard of that.
    env.failing = 0..0;
    let due = log.deadline().unwrap();
    log.on_timer(&mut env, due);
    assert_is_lost(&mut history);
    let unwritten = log.unwritten_lines(&mut env);
    assert!(unwritten.is_empty());
    history.know(&mut OsFiles::default(), unwritten).unwrap();
    assert_is_lost(&mut history);
    assert_eq!((history.len(), log.offset()), (14, 14));
}

/// Of 14 bytes three are lost, behind the first six.
fn assert_is_lost(history: &mut History<OsFiles>) {
    let pieces = history.read_at(&mut OsFiles::default(), 6, 99).unwrap();
    let Part::Missing(missing) = &pieces[0].part else { panic!("{pieces:?}") };
    assert_eq!((missing.bytes, missing.why.word()), (3, "rate_limit"));
    assert_eq!(cells_of(9, &pieces[1..]), b"after".map(Cell::Byte));
}

#[test]
fn lines_that_were_dropped_are_told_as_unknown_by_who_knows_it() {
    let place = Place::new(RotateMode::Rename);
    let (mut log, mut env) = log_without_lines(&place, b"before");
    while log.unwritten_lines(&mut env).len() < 2 * EVENTS_PENDING_MAX {
        log.lose(&mut env, 3, record::Cause::RateLimit, secs(1));
        log.append(&mut env, b"x", usize::MAX, secs(1));
    }
    let said = log.unwritten_lines(&mut env);
    let is_unknown = |record: Record| matches!(record.what, What::Unknown { .. });
    assert!(Record::decode_all(&said).any(is_unknown));
    let mut history = opened(&place);
    history.know(&mut OsFiles::default(), said).unwrap();
    assert_eq!(history.len(), log.offset());
}
