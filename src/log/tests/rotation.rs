//! Rotation where nothing goes wrong.

use super::faulty::Faulty;
use super::*;
use crate::limits::ROTATION_SLICE;
use proptest::prelude::*;

#[test]
fn an_append_is_one_write() {
    let mut place = Place::new(RotateMode::Rename);
    place.spec.max_bytes = 1 << 20;
    let mut env = Faulty::new(0..0, 0);
    let mut log = Log::open(&mut env, &place.spec, 0, secs(1)).unwrap();
    // The first one of a second notes the time.
    log.append(&mut env, b"x", usize::MAX, secs(1));
    let before = env.calls;
    // One byte: the faulty world cuts longer writes in halves.
    for _ in 0..100 {
        log.append(&mut env, b"x", usize::MAX, secs(1));
    }
    assert_eq!(env.calls - before, 100);
    assert_eq!(
        (log.deadline(), log.unrest.as_ref().map_or(0, |unrest| unrest.held.bytes.capacity())),
        (None, 0)
    );
    assert_eq!(log.counters().written_bytes, 101);
    // The look at the names of the log and of its events is two calls more, once in an interval.
    log.mark_at = secs(100).into();
    for _ in 0..100 {
        log.append(&mut env, b"x", usize::MAX, secs(1) + place.spec.check_interval);
    }
    assert_eq!(env.calls - before, 202);
}

#[test]
fn a_log_at_rest_has_152_bytes_and_its_path() {
    assert_eq!(size_of::<Log<OsFiles>>(), 152);
    let place = Place::new(RotateMode::Rename);
    let (mut env, mut log) = (OsFiles::default(), place.open());
    log.append(&mut env, b"one\n", usize::MAX, secs(1));
    log.rotate(&mut env, secs(1));
    log.append(&mut env, b"two\n", usize::MAX, secs(9));
    turn(&mut log, &mut env, secs(9));
    assert!(log.unrest.is_none() && log.extra.is_none());
}

#[test]
fn a_rotation_by_request_leaves_an_empty_log_alone() {
    for mode in MODES {
        let place = Place::new(mode);
        let mut log = place.open();
        log.rotate(&mut OsFiles::default(), secs(1));
        assert_eq!(place.names(), ["app.log"]);
        log.append(&mut OsFiles::default(), b"one\n", usize::MAX, secs(1));
        log.rotate(&mut OsFiles::default(), secs(1));
        log.rotate(&mut OsFiles::default(), secs(1));
        log.append(&mut OsFiles::default(), b"two\n", usize::MAX, secs(1));
        assert_eq!(place.generations(), [b"one\n", b"two\n"]);
        assert_eq!(log.counters().rotations, 1);
        assert_eq!(log.counters().rotation_failures, 0);
        assert_eq!(log.deadline(), None);
    }
}

#[test]
fn only_as_many_backups_are_kept_as_were_asked_for() {
    for mode in MODES {
        for keep in 0..4 {
            let mut place = Place::new(mode);
            place.spec.keep = keep;
            let mut log = place.open();
            for n in 0..6 {
                log.append(
                    &mut OsFiles::default(),
                    format!("{n}\n").as_bytes(),
                    usize::MAX,
                    secs(1),
                );
                log.rotate(&mut OsFiles::default(), secs(1));
                turn(&mut log, &mut OsFiles::default(), secs(1));
            }
            log.append(&mut OsFiles::default(), b"6\n", usize::MAX, secs(1));
            let kept: String = (6 - keep..=6).map(|n| format!("{n}\n")).collect();
            assert_eq!(place.bytes(), kept.as_bytes(), "{mode:?} {keep}");
            assert_eq!(log.counters().rotations, 6);
            place.assert_tidy();
        }
    }
}

#[test]
fn a_gap_between_the_backups_is_filled_first() {
    let mut place = Place::new(RotateMode::Rename);
    place.spec.keep = 3;
    for k in [1, 3] {
        fs::write(place.path(&format!("app.log.{k}")), format!("{k}\n")).unwrap();
    }
    let mut log = place.open();
    log.append(&mut OsFiles::default(), b"0\n", usize::MAX, secs(1));
    log.rotate(&mut OsFiles::default(), secs(1));
    assert_eq!(place.bytes(), b"3\n1\n0\n");
}

#[test]
fn the_oldest_is_shrunk_slice_by_slice() {
    let mut place = Place::new(RotateMode::Rename);
    place.spec.keep = 1;
    let mut log = place.open();
    let file = fs::File::create(place.path("app.log.1")).unwrap();
    file.set_len(ROTATION_SLICE * 5 / 2).unwrap();
    log.append(&mut OsFiles::default(), b"x\n", usize::MAX, secs(1));
    log.rotate(&mut OsFiles::default(), secs(1));
    let size = || fs::metadata(place.path("app.log.dropped")).map(|meta| meta.len()).ok();
    assert_eq!(size(), Some(ROTATION_SLICE * 5 / 2));
    assert!(log.has_work() && log.step(&mut OsFiles::default(), secs(1)));
    assert_eq!(size(), Some(ROTATION_SLICE * 3 / 2));
    assert!(log.step(&mut OsFiles::default(), secs(1)));
    assert_eq!(size(), Some(ROTATION_SLICE / 2));
    assert!(!log.step(&mut OsFiles::default(), secs(1)));
    assert_eq!((size(), log.deadline()), (None, None));
    assert!(!log.has_work());
}

#[test]
fn a_dropped_file_that_somebody_has_linked_is_not_shrunk() {
    let mut place = Place::new(RotateMode::Rename);
    place.spec.keep = 0;
    place.spec.max_bytes = 1 << 30;
    let mut log = place.open();
    let bytes = stream(usize::try_from(ROTATION_SLICE * 2).unwrap());
    log.append(&mut OsFiles::default(), &bytes, usize::MAX, secs(1));
    fs::hard_link(place.path("app.log"), place.path("mine")).unwrap();
    log.rotate(&mut OsFiles::default(), secs(1));
    turn(&mut log, &mut OsFiles::default(), secs(1));
    assert_eq!(place.names(), ["app.log", "mine"]);
    assert_same(&place.read("mine"), &bytes, "the link");
}

#[test]
fn what_is_no_longer_kept_and_what_was_being_dropped_goes_at_the_opening() {
    let mut place = Place::new(RotateMode::Rename);
    for name in ["1", "2", "3", "4", "7", "07", "7.zst", "9.txt", "dropped"] {
        fs::write(place.path(&format!("app.log.{name}")), name).unwrap();
    }
    place.spec.keep = 2;
    let mut log = place.open();
    turn(&mut log, &mut OsFiles::default(), secs(1));
    assert_eq!(place.names(), ["app.log", "app.log.07", "app.log.1", "app.log.2", "app.log.9.txt"]);
    assert_eq!(log.deadline(), None);
}

#[test]
fn the_backup_by_which_the_excess_is_noticed_goes_last() {
    let mut place = Place::new(RotateMode::Rename);
    for k in 1..10 {
        fs::write(place.path(&format!("app.log.{k}")), "x").unwrap();
    }
    place.spec.keep = 2;
    for left in (2..9).rev() {
        let mut log = place.open();
        assert!(log.step(&mut OsFiles::default(), secs(1)));
        // It stops here: a successor sees what is left.
        let names = place.names();
        let kept = (1..=left).filter(|k| names.contains(&format!("app.log.{k}"))).count();
        assert_eq!(kept, left, "{names:?}");
        assert!(!names.contains(&format!("app.log.{}", left + 1)));
    }
}

#[test]
fn a_drop_that_fails_is_tried_again() {
    let mut place = Place::new(RotateMode::Rename);
    place.spec.keep = 0;
    let mut env = Faulty::new(0..0, 13);
    let mut log = Log::open(&mut env, &place.spec, 0, secs(1)).unwrap();
    log.append(&mut env, b"x\n", usize::MAX, secs(1));
    (env.only, env.failing) = ("unlink", 0..u64::MAX);
    log.rotate(&mut env, secs(1));
    assert!(log.has_work() && !log.step(&mut env, secs(1)));
    let due = log.deadline().unwrap();
    log.on_timer(&mut env, due);
    assert!(!log.has_work() && log.deadline().unwrap() > due);
    env.failing = 0..0;
    log.on_timer(&mut env, secs(9));
    assert_eq!((place.names(), log.deadline()), (vec!["app.log".to_owned()], None));
}

#[test]
fn a_dropped_log_is_not_shrunk_while_it_is_written() {
    let mut place = Place::new(RotateMode::Rename);
    place.spec.keep = 0;
    let mut env = Faulty::new(0..0, 24);
    let mut log = Log::open(&mut env, &place.spec, 0, secs(1)).unwrap();
    log.append(&mut env, b"one\n", usize::MAX, secs(1));
    (env.only, env.failing) = ("stat", 0..u64::MAX);
    log.rotate(&mut env, secs(1));
    log.append(&mut env, b"two\n", usize::MAX, secs(1));
    assert!(!log.step(&mut env, secs(1)));
    assert_eq!(place.read("app.log.dropped"), b"one\ntwo\n");
    env.failing = 0..0;
    // A request does not wait for the back-off to end.
    log.rotate(&mut env, secs(1));
    turn(&mut log, &mut env, secs(1));
    assert_eq!((place.names(), log.deadline()), (vec!["app.log".to_owned()], None));
    assert_eq!(log.counters().rotations, 1);
}

#[test]
fn a_big_log_is_copied_between_the_appends() {
    let slice = usize::try_from(ROTATION_SLICE).unwrap();
    let mut place = Place::new(RotateMode::CopyTruncate);
    place.spec.max_bytes = ROTATION_SLICE * 5 / 2;
    let mut log = place.open();
    let bytes = stream(slice * 6);
    let mut steps = 0;
    for chunk in bytes.chunks(64 * 1024) {
        log.append(&mut OsFiles::default(), chunk, usize::MAX, secs(1));
        if log.has_work() {
            log.step(&mut OsFiles::default(), secs(1));
            steps += 1;
        }
    }
    turn(&mut log, &mut OsFiles::default(), secs(1));
    assert_same(&place.bytes(), &bytes, "copied in slices");
    assert_eq!(log.counters().rotations, 2);
    assert!(steps >= 4, "{steps}");
    place.assert_tidy();
}

#[test]
fn byte_by_byte_and_in_one_piece_the_generations_are_the_same() {
    let bytes = stream(10_000);
    let mut seen = Vec::new();
    for mode in MODES {
        for chunk in [1, 7, 10_000] {
            let place = Place::new(mode);
            let mut log = place.open();
            bytes
                .chunks(chunk)
                .for_each(|chunk| log.append(&mut OsFiles::default(), chunk, usize::MAX, secs(1)));
            seen.push(place.generations());
        }
    }
    assert!(seen.iter().all(|generations| *generations == seen[0]));
    let (last, backups) = seen[0].split_last().unwrap();
    assert!(backups.len() > 8 && last.len() < 1024);
    assert!(backups.iter().all(|backup| backup.ends_with(b"\n") && backup.len() >= 960));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn generations_together_are_what_was_appended(
        chunks in proptest::collection::vec((0..3000usize, 0..5u8), 1..60),
        max_bytes in MAX_BYTES_MIN..5000,
        copytruncate: bool,
    ) {
        let mut place = Place::new(MODES[usize::from(copytruncate)]);
        place.spec.max_bytes = max_bytes;
        let mut log = place.open();
        let bytes = stream(chunks.iter().map(|&(len, _)| len).sum());
        let mut rest = &bytes[..];
        let mut asked = 0;
        for (len, action) in chunks {
            log.append(&mut OsFiles::default(), &rest[..len], usize::MAX, secs(1));
            rest = &rest[len..];
            if action == 0 {
                asked += 1;
                log.rotate(&mut OsFiles::default(), secs(1));
            }
        }
        assert_same(&place.bytes(), &bytes, "all");
        let generations = place.generations();
        let (_, backups) = generations.split_last().unwrap();
        // A rotation by request cuts anywhere, one by size at a line end: no line is longer.
        let inside = backups.iter().filter(|backup| !backup.ends_with(b"\n")).count();
        prop_assert!(inside <= asked);
        prop_assert!(generations.iter().all(|g| g.len() as u64 <= max_bytes));
    }
}
