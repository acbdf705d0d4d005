//! The offset of the next byte: how many came before it, whatever happened meanwhile.

use super::faulty::Faulty;
use super::*;
use crate::limits::{EVENTS_BYTES, EVENTS_PENDING_MAX, MARK_INTERVAL};

fn count(place: &Place, is: impl Fn(&What) -> bool) -> usize {
    place.records().iter().filter(|record| is(&record.what)).count()
}

fn unknowns(place: &Place) -> usize {
    count(place, |what| matches!(what, What::Unknown { .. }))
}

/// The generations that are recorded as complete: number, first and last offset.
fn complete(place: &Place) -> Vec<(u64, u64, u64)> {
    let records = place.records().into_iter();
    let whole = records.filter_map(|record| match record.what {
        What::Rotated(whole) | What::Moved(whole) => {
            Some((whole.generation, whole.start, whole.end))
        }
        _ => None,
    });
    whole.collect()
}

/// What the records must say of the files that are there.
fn expected(place: &Place) -> Vec<(u64, u64, u64)> {
    let mut generations = place.generations();
    generations.pop();
    let mut at = 0;
    let numbered = (1..).zip(generations);
    numbered
        .map(|(number, bytes)| {
            let start = at;
            at += bytes.len() as u64;
            (number, start, at)
        })
        .collect()
}

#[test]
fn the_offset_goes_on_over_rotations_and_restarts() {
    for mode in MODES {
        let place = Place::new(mode);
        let (bytes, mut env, mut done) = (stream(20_000), OsFiles::default(), 0);
        for (n, chunk) in bytes.chunks(500).enumerate() {
            let mut log = place.open();
            assert_eq!(log.offset(), done as u64);
            log.append(&mut env, chunk, usize::MAX, secs(1));
            while log.step(&mut env, secs(1)) {}
            done += chunk.len();
            if n % 3 == 0 {
                log.close(&mut env, secs(1));
            }
        }
        assert_eq!(complete(&place), expected(&place));
        assert_eq!(unknowns(&place), 0);
    }
}

/// Appends until the n-th call, after which nothing happens any more.
fn crashes(place: &Place, n: u64, bytes: &[u8]) -> Option<usize> {
    let mut env = Faulty::new(n..u64::MAX, 5);
    let mut log = Log::open(&mut env, &place.spec, 0, secs(1)).ok()?;
    for chunk in bytes.chunks(300) {
        log.append(&mut env, chunk, usize::MAX, secs(1));
        while log.step(&mut env, secs(1)) {}
    }
    (env.calls >= n).then_some(env.written)
}

#[test]
fn after_a_crash_at_any_call_the_offset_is_what_was_written() {
    let bytes = stream(5000);
    let same = b"0123456789abcdef0123456789abcde\n".repeat(150);
    for mode in MODES {
        for bytes in [&bytes, &same] {
            let mut reached = 0;
            for n in 1..=250 {
                let place = Place::in_memory(mode);
                let Some(written) = crashes(&place, n, bytes) else { continue };
                reached += 1;
                let what = format!("{mode:?}, stopped at call {n}");
                let mut env = OsFiles::default();
                let mut log = place.open();
                assert_eq!(log.offset(), written as u64, "{what}");
                log.append(&mut env, &bytes[written..], usize::MAX, secs(1));
                while log.step(&mut env, secs(1)) {}
                assert_eq!(log.offset(), bytes.len() as u64, "{what}");
                assert_eq!(complete(&place), expected(&place), "{what}: {:?}", place.records());
                assert_eq!(unknowns(&place), 0, "{what}");
            }
            assert!(reached > 100, "{reached} calls");
        }
    }
}

#[test]
fn a_lost_events_file_is_written_anew_and_that_is_recorded() {
    for mode in MODES {
        let place = Place::new(mode);
        let (bytes, mut env) = (stream(5000), OsFiles::default());
        let mut log = place.open();
        log.append(&mut env, &bytes, usize::MAX, secs(1));
        while log.step(&mut env, secs(1)) {}
        let before = complete(&place);
        assert_eq!(before, expected(&place));
        fs::remove_file(place.path("app.log.events")).unwrap();
        let later = secs(1) + place.spec.check_interval;
        log.append(&mut env, b"more\n", usize::MAX, later);
        assert_eq!((unknowns(&place), log.offset()), (1, 5005));
        assert_eq!(complete(&place), before);
        // While nobody was there: the oldest byte that is left is the first that is known.
        drop(log);
        fs::remove_file(place.path("app.log.events")).unwrap();
        fs::remove_file(place.path(&format!("app.log.{}", before.len()))).unwrap();
        let log = place.open();
        let left: usize = place.generations().iter().map(Vec::len).sum();
        assert_eq!((unknowns(&place), log.offset()), (1, left as u64));
        assert_eq!(complete(&place), expected(&place));
    }
}

#[test]
fn a_torn_last_line_spoils_no_other() {
    let place = Place::new(RotateMode::Rename);
    let mut env = OsFiles::default();
    let mut log = place.open();
    log.append(&mut env, b"some bytes\n", usize::MAX, secs(1));
    drop(log);
    let whole = place.read("app.log.events");
    for torn in [1, 2, 30] {
        fs::write(place.path("app.log.events"), &whole[..whole.len() - torn]).unwrap();
        let log = place.open();
        assert_eq!((log.offset(), unknowns(&place)), (11, 0), "{torn}");
        drop(log);
        let log = place.open();
        assert_eq!((log.offset(), unknowns(&place)), (11, 0), "{torn}");
    }
}

#[test]
fn a_truncation_by_somebody_is_recorded_and_the_offset_goes_on() {
    for mode in MODES {
        let place = Place::new(mode);
        let mut env = OsFiles::default();
        let mut log = place.open();
        let truncate = || {
            let file = fs::File::options().write(true).open(&place.spec.path).unwrap();
            file.set_len(0).unwrap();
        };
        log.append(&mut env, b"0123456789", usize::MAX, secs(1));
        truncate();
        log.append(&mut env, b"abc", usize::MAX, secs(1) + place.spec.check_interval);
        assert_eq!((log.offset(), place.bytes()), (13, b"abc".to_vec()));
        // Bytes that came before it was noticed: they are the log's last ones.
        truncate();
        log.append(&mut env, b"de", usize::MAX, secs(2) + place.spec.check_interval);
        log.append(&mut env, b"f", usize::MAX, secs(9) + place.spec.check_interval);
        assert_eq!((log.offset(), log.size()), (16, 3));
        log.close(&mut env, secs(9) + place.spec.check_interval);
        drop(log);
        truncate();
        let mut log = place.open();
        log.append(&mut env, b"ghij", usize::MAX, secs(1));
        // One that no append comes after is noticed at the end.
        truncate();
        log.close(&mut env, secs(1));
        drop(log);
        let log = place.open();
        assert_eq!((log.offset(), log.size()), (20, 0));
        let cut: Vec<(u64, u64, u64)> = place
            .records()
            .into_iter()
            .filter_map(|record| match record.what {
                What::Truncated { bytes, .. } => Some((record.offset, record.size, bytes)),
                _ => None,
            })
            .collect();
        assert_eq!(cut, [(10, 0, 10), (15, 2, 3), (16, 0, 3), (20, 0, 4)]);
        assert_eq!(unknowns(&place), 0);
    }
}

#[test]
fn a_log_that_somebody_moved_is_a_generation_of_its_own() {
    let place = Place::new(RotateMode::Rename);
    let mut env = OsFiles::default();
    let mut log = place.open();
    log.append(&mut env, b"0123456789", usize::MAX, secs(1));
    fs::rename(&place.spec.path, place.path("elsewhere")).unwrap();
    log.append(&mut env, b"abc", usize::MAX, secs(1) + place.spec.check_interval);
    assert_eq!((log.offset(), place.bytes()), (13, b"abc".to_vec()));
    assert_eq!(complete(&place), [(1, 0, 10)]);
    // While nobody was there nobody knows what else was appended to it.
    log.close(&mut env, secs(9));
    drop(log);
    fs::rename(&place.spec.path, place.path("elsewhere")).unwrap();
    let log = place.open();
    assert_eq!((log.offset(), unknowns(&place)), (13, 1));
}

/// A log that is not rotated in the test.
fn one_generation() -> (Place, Log<OsFiles>) {
    let mut place = Place::new(RotateMode::Rename);
    place.spec.max_bytes = 1 << 20;
    let log = place.open();
    (place, log)
}

#[test]
fn the_time_is_noted_once_a_second_while_bytes_flow() {
    let (place, mut log) = one_generation();
    let mut env = OsFiles::default();
    let marks = || count(&place, |what| *what == What::Mark);
    for n in 0..40 {
        log.append(&mut env, &[b'x'; 256], usize::MAX, secs(1) + MARK_INTERVAL / 4 * n);
    }
    assert_eq!(marks(), 10);
    assert_eq!(log.deadline(), None);
}

#[test]
fn the_time_of_few_bytes_is_noted_every_ten_seconds_and_after_silence() {
    let (place, mut log) = one_generation();
    let mut env = OsFiles::default();
    let marks = || count(&place, |what| *what == What::Mark);
    for n in 0..40 {
        log.append(&mut env, b"x", usize::MAX, secs(1) + MARK_INTERVAL * n);
    }
    assert_eq!(marks(), 4);
    log.append(&mut env, b"x", usize::MAX, secs(1000));
    assert_eq!(marks(), 5);
    log.append(&mut env, b"x", usize::MAX, secs(1001));
    assert_eq!(marks(), 5);
}

#[test]
fn the_events_file_is_bounded_and_keeps_what_the_generations_need() {
    let mut place = Place::in_memory(RotateMode::Rename);
    place.spec.keep = 3;
    let mut env = OsFiles::default();
    let mut log = place.open();
    let (mut now, mut longest) = (secs(1), 0);
    for n in 0..4000u32 {
        now += MARK_INTERVAL;
        log.append(&mut env, b"0123456789abcdef\n", usize::MAX, now);
        log.note(&mut env, What::Disconnected { cause: format!("{n}") }, now);
        if n % 5 == 0 {
            log.lose(&mut env, 10, record::Cause::RateLimit, now);
        }
        longest = longest.max(fs::metadata(place.path("app.log.events")).unwrap().len());
    }
    assert!(longest <= EVENTS_BYTES + 3 * 512 + 400, "{longest}");
    assert!(longest > EVENTS_BYTES / 2, "{longest}");
    while log.step(&mut env, now) {}
    assert_eq!(log.offset(), 4000 * 17 + 800 * 10);
    // The generations that are there have their ends, and what was lost in them.
    let ends = complete(&place);
    let sizes: Vec<u64> = place.generations().iter().map(|g| g.len() as u64).collect();
    for (at, (number, start, end)) in ends.iter().rev().take(3).rev().enumerate() {
        let lost: u64 = place
            .records()
            .iter()
            .filter(|record| (start + 1..=*end).contains(&record.offset))
            .map(|record| if let What::Lost(loss) = &record.what { loss.bytes } else { 0 })
            .sum();
        assert_eq!(end - start - lost, sizes[at], "generation {number}");
    }
    assert_eq!(unknowns(&place), 0);
}

#[test]
fn events_that_cannot_be_written_wait_and_hold_nothing_up() {
    let mut place = Place::new(RotateMode::Rename);
    place.spec.keep = 3;
    fs::create_dir(place.path("app.log.events")).unwrap();
    let (mut env, bytes) = (OsFiles::default(), stream(9000));
    let mut log = place.open();
    let mut now = secs(1);
    for chunk in bytes.chunks(100) {
        log.append(&mut env, chunk, usize::MAX, now);
        now += MARK_INTERVAL;
        turn(&mut log, &mut env, now);
    }
    assert_same(&place.bytes(), &bytes[bytes.len() - place.bytes().len()..], "the log goes on");
    assert_eq!(log.counters().rotations, 9);
    assert!(log.deadline().is_some_and(|due| due > now));
    fs::remove_dir(place.path("app.log.events")).unwrap();
    turn(&mut log, &mut env, now + secs(10));
    assert_eq!(log.deadline(), None);
    assert_eq!(log.offset(), 9000);
    let rotated = complete(&place);
    assert_eq!((rotated.len(), rotated[8].2 + log.size()), (9, 9000));
}

#[test]
fn events_that_were_dropped_for_want_of_room_are_told_as_unknown() {
    let mut place = Place::in_memory(RotateMode::Rename);
    place.spec.keep = 2;
    fs::create_dir(place.path("app.log.events")).unwrap();
    let (mut env, bytes) = (OsFiles::default(), stream(150_000));
    let mut log = place.open();
    for chunk in bytes.chunks(1000) {
        log.append(&mut env, chunk, usize::MAX, secs(1));
        while log.step(&mut env, secs(1)) {}
    }
    assert!(log.counters().rotations > 120);
    fs::remove_dir(place.path("app.log.events")).unwrap();
    turn(&mut log, &mut env, secs(20));
    assert_eq!((log.deadline(), unknowns(&place)), (None, 1));
    assert_eq!(log.offset(), 150_000);
    drop(log);
    let log = place.open();
    assert_eq!((log.offset(), unknowns(&place)), (150_000, 1));
}

#[test]
fn events_that_never_can_be_written_take_no_more_memory_than_their_bound() {
    let mut place = Place::in_memory(RotateMode::Rename);
    place.spec.hold_bytes = 0;
    let mut env = Faulty::new(0..u64::MAX, 28);
    env.only = "write_beside";
    let mut log = Log::open(&mut env, &place.spec, 0, secs(1)).unwrap();
    let mut now = secs(1);
    for n in 0..3000 {
        now += secs(6);
        log.append(&mut env, b"0123456789abcdef\n", usize::MAX, now);
        log.lose(&mut env, 10, record::Cause::RateLimit, now);
        turn(&mut log, &mut env, now + MARK_INTERVAL);
        assert!(log.unrest().unsaid.pending.len() <= EVENTS_PENDING_MAX * 2, "after {n}");
    }
    env.failing = 0..0;
    turn(&mut log, &mut env, now + secs(9));
    turn(&mut log, &mut env, now + secs(20));
    assert_eq!((log.deadline(), unknowns(&place)), (None, 1));
    assert_eq!(log.offset(), 3000 * 27);
}

#[test]
fn the_events_file_is_bounded_over_any_number_of_restarts() {
    let mut place = Place::in_memory(RotateMode::Rename);
    (place.spec.keep, place.spec.max_bytes) = (3, 1 << 20);
    let mut env = OsFiles::default();
    for _ in 0..100 {
        let mut log = place.open();
        for n in 0..40 {
            log.append(&mut env, b"x", usize::MAX, secs(1) + MARK_INTERVAL * n);
        }
        log.close(&mut env, secs(60));
    }
    let size = fs::metadata(place.path("app.log.events")).unwrap().len();
    assert!(size <= EVENTS_BYTES + 3 * 512 + 400, "{size}");
    assert_eq!((place.open().offset(), unknowns(&place)), (4000, 0));
}

#[test]
fn a_line_that_was_cut_by_a_full_disk_is_whole_for_a_successor() {
    let place = Place::in_memory(RotateMode::Rename);
    for cut in 1..200 {
        let mut env = Faulty::new(0..0, 28);
        let mut log = Log::open(&mut env, &place.spec, 0, secs(1)).unwrap();
        let before = place.records().len();
        // Each write takes a half of what it gets; then there is no room.
        env.only = "write_beside";
        env.failing = env.calls + 1 + cut % 5..u64::MAX;
        log.note(&mut env, What::Disconnected { cause: "x".repeat(cut as usize) }, secs(1));
        let saved = log.save(|_| 11, |_| 10);
        let dir = env.open_dir(place.spec.path.parent().unwrap(), None, 0o750).unwrap();
        let files = OpenLog { dir, file: log.file, copy: None };
        env.failing = 0..0;
        let log = Log::take_over(&mut env, saved, files, 0, secs(9)).unwrap();
        drop(log);
        // The line, and the successor's own.
        assert_eq!(place.records().len(), before + 2, "{cut}");
    }
}

#[test]
fn a_directory_that_vanished_with_its_parent_loses_nothing_that_is_not_recorded() {
    let mut place = Place::new(RotateMode::Rename);
    place.spec.path = place.path("a/logs/app.log");
    place.spec.hold_bytes = 100;
    let mut env = OsFiles::default();
    let mut log = Log::open(&mut env, &place.spec, 0, secs(1)).unwrap();
    log.append(&mut env, b"before\n", usize::MAX, secs(1));
    fs::remove_dir_all(place.path("a")).unwrap();
    let mut now = secs(10);
    for _ in 0..30 {
        log.append(&mut env, b"0123456789\n", usize::MAX, now);
        now += secs(1);
        turn(&mut log, &mut env, now);
    }
    assert_eq!((log.held_bytes(), log.counters().lost_bytes), (100, 230));
    fs::create_dir(place.path("a")).unwrap();
    turn(&mut log, &mut env, now + secs(6));
    assert_eq!((log.held_bytes(), log.offset(), log.size()), (0, 337, 100));
    let events = fs::read(place.path("a/logs/app.log.events")).unwrap();
    let lost: u64 = Record::decode_all(&events)
        .map(|record| if let What::Lost(loss) = record.what { loss.bytes } else { 0 })
        .sum();
    assert_eq!(lost, 230);
}

#[test]
fn an_events_file_for_which_there_is_no_descriptor_now_does_not_begin_the_offsets_anew() {
    for mode in MODES {
        let mut place = Place::new(mode);
        // So that the files alone do not tell the offset.
        place.spec.keep = 1;
        let mut log = place.open();
        log.append(&mut OsFiles::default(), &stream(3000), usize::MAX, secs(1));
        while log.step(&mut OsFiles::default(), secs(1)) {}
        log.close(&mut OsFiles::default(), secs(1));
        drop(log);
        let mut refused = 0;
        for call in 1..60 {
            // EMFILE.
            let mut env = Faulty::new(call..call + 1, 24);
            match Log::open(&mut env, &place.spec, 0, secs(1)) {
                Ok(log) => {
                    let what = format!("{mode:?}, {:?}: {:#?}", env.failed, place.records());
                    assert_eq!(log.offset(), 3000, "{what}");
                }
                Err(_) => refused += 1,
            }
        }
        assert!(refused > 5, "{refused} refused");
    }
}

#[test]
fn lines_that_cannot_be_read_are_told_as_unknown_though_no_byte_is_left() {
    let mut place = Place::new(RotateMode::Rename);
    place.spec.keep = 0;
    let mut log = place.open();
    log.append(&mut OsFiles::default(), &stream(300), usize::MAX, secs(1));
    log.rotate(&mut OsFiles::default(), secs(1));
    while log.step(&mut OsFiles::default(), secs(1)) {}
    log.close(&mut OsFiles::default(), secs(1));
    drop(log);
    assert_eq!((unknowns(&place), place.names()), (0, vec!["app.log".to_owned()]));
    // EIO, at the first read of the lines.
    let mut env = Faulty::new(1..u64::MAX, 5);
    (env.only, env.sound_writes) = ("read_at", true);
    let mut log = Log::open(&mut env, &place.spec, 0, secs(1)).unwrap();
    env.failing = 0..0;
    log.close(&mut env, secs(9));
    assert_eq!(unknowns(&place), 1);
}

#[test]
fn a_copy_that_cannot_be_placed_over_two_restarts_is_counted_once() {
    let place = Place::new(RotateMode::CopyTruncate);
    let bytes = stream(900);
    // EACCES: the copy gets its own name, and is not placed.
    let mut env = Faulty::new(1..u64::MAX, 13);
    (env.only, env.skip) = ("rename", 1);
    let mut log = Log::open(&mut env, &place.spec, 0, secs(1)).unwrap();
    log.append(&mut env, &bytes, usize::MAX, secs(1));
    log.rotate(&mut env, secs(1));
    while log.step(&mut env, secs(1)) {}
    assert_eq!(place.names(), ["app.log", "app.log.copied"]);
    log.close(&mut env, secs(1));
    drop(log);
    for _ in 0..3 {
        let error = Log::open(&mut env, &place.spec, 0, secs(1)).err().unwrap();
        assert!(matches!(error.step, Step::Rename), "{error}");
    }
    let log = place.open();
    assert_eq!((log.offset(), place.read("app.log.1")), (900, bytes));
}

#[test]
fn a_generation_whose_line_waits_is_known_by_its_inode_before_an_older_one() {
    let place = Place::new(RotateMode::Rename);
    let mut env = Faulty::new(0..0, 28);
    let mut log = Log::open(&mut env, &place.spec, 0, secs(1)).unwrap();
    log.append(&mut env, &stream(100), usize::MAX, secs(1));
    log.rotate(&mut env, secs(1));
    let inode = fs::metadata(place.path("app.log.1")).unwrap().ino();
    assert_eq!(log.generation_of(&mut env, inode), Some(1));
    // An inode is given anew once its file is gone; ENOSPC: the line waits.
    env.failing = 0..u64::MAX;
    let later = record::Generation { generation: 7, ..log.whole(5, inode, 1) };
    log.happened(What::Rotated(later));
    assert_eq!(log.generation_of(&mut env, inode), Some(7));
    log.say(&mut env, secs(1));
    assert_eq!(log.generation_of(&mut env, inode), Some(7));
}

#[test]
fn a_log_that_many_starts_could_not_rotate_does_not_grow_with_each() {
    let place = Place::new(RotateMode::Rename);
    // EACCES.
    let mut env = Faulty::new(0..u64::MAX, 13);
    env.only = "rename";
    for _ in 0..5 {
        let mut log = Log::open(&mut env, &place.spec, 0, secs(1)).unwrap();
        log.append(&mut env, &stream(5000), usize::MAX, secs(1));
        assert!(log.size() <= 2 * MAX_BYTES_MIN, "{}", log.size());
        log.close(&mut env, secs(1));
    }
}

#[test]
fn a_copy_that_cannot_be_looked_at_once_is_recorded_as_the_file_that_it_is() {
    let mut struck = 0;
    for call in 1..300 {
        let place = Place::in_memory(RotateMode::CopyTruncate);
        let mut env = Faulty::new(call..call + 1, 5);
        env.only = "stat_at";
        let Ok(mut log) = Log::open(&mut env, &place.spec, 0, secs(1)) else { continue };
        log.append(&mut env, &stream(900), usize::MAX, secs(1));
        log.rotate(&mut env, secs(1));
        for second in 1..9 {
            log.on_timer(&mut env, secs(second));
            while log.step(&mut env, secs(second)) {}
        }
        struck += env.failed.len();
        let inode = fs::metadata(place.path("app.log.1")).unwrap().ino();
        let inodes: Vec<u64> = place
            .records()
            .iter()
            .filter_map(|record| match &record.what {
                What::Rotated(whole) => Some(whole.inode),
                _ => None,
            })
            .collect();
        assert_eq!(inodes, [inode], "call {call}");
    }
    assert!(struck > 2, "{struck} calls failed");
}

#[test]
fn a_size_that_cannot_be_told_is_not_taken_for_none() {
    let place = Place::new(RotateMode::Rename);
    let mut env = Faulty::new(0..0, 24);
    assert_eq!(size_at(&mut env, &place.spec).unwrap(), None);
    fs::write(place.path("app.log"), b"12345").unwrap();
    assert_eq!(size_at(&mut env, &place.spec).unwrap(), Some(5));
    for call in 1..3 {
        let mut env = Faulty::new(call..call + 1, 24);
        assert!(size_at(&mut env, &place.spec).is_err(), "call {call}");
    }
}

#[test]
fn a_copy_that_a_crash_left_is_counted_though_the_clock_was_set_back() {
    let place = Place::new(RotateMode::CopyTruncate);
    let mut log = place.open();
    log.append(&mut OsFiles::default(), &stream(900), usize::MAX, secs(1));
    log.close(&mut OsFiles::default(), secs(1));
    drop(log);
    // Copied and truncated, and killed before the line.
    fs::copy(place.path("app.log"), place.path("app.log.copied")).unwrap();
    let copy = fs::File::options().write(true).open(place.path("app.log.copied")).unwrap();
    copy.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(86_400)).unwrap();
    fs::File::options().write(true).open(place.path("app.log")).unwrap().set_len(0).unwrap();
    let log = place.open();
    assert_eq!((log.offset(), complete(&place)), (900, expected(&place)));
    assert_eq!(count(&place, |what| matches!(what, What::Truncated { .. })), 0);
}
