//! A disk that takes nothing.

use super::faulty::Faulty;
use super::*;
use crate::config::Overflow;
use crate::limits::{HOLD_BYTES, LOG_RETRY_MAX};

fn failing(only: &'static str) -> Faulty {
    let mut env = Faulty::new(0..u64::MAX, 28);
    env.only = only;
    env
}

#[test]
fn what_cannot_be_written_is_held_to_the_bound_and_the_rest_is_counted() {
    let mut place = Place::new(RotateMode::Rename);
    place.spec.max_bytes = 1 << 20;
    place.spec.on_overflow = Overflow::Newest;
    let mut env = failing("write");
    let mut log = Log::open(&mut env, &place.spec, 0, secs(1)).unwrap();
    let bytes = stream(HOLD_BYTES);
    log.append(&mut env, &bytes[..HOLD_BYTES - 1], usize::MAX, secs(1));
    assert_eq!(log.held_bytes(), HOLD_BYTES - 1);
    log.append(&mut env, &bytes[HOLD_BYTES - 1..], usize::MAX, secs(1));
    assert_eq!((log.held_bytes(), log.counters().lost_bytes), (HOLD_BYTES, 0));
    log.append(&mut env, b"lost\n", usize::MAX, secs(1));
    assert_eq!((log.held_bytes(), log.counters().lost_bytes), (HOLD_BYTES, 5));
    assert_eq!(log.counters().lost_rotation_failed, 0);
    // An append between does not try: the deadline does.
    assert_eq!(log.counters().write_failures, 1);
    let due = log.deadline().unwrap();
    log.on_timer(&mut env, due);
    assert_eq!(log.counters().write_failures, 2);
    env.failing = 0..0;
    let due = log.deadline().unwrap();
    assert!(due <= secs(1) + LOG_RETRY_MAX);
    log.on_timer(&mut env, due);
    log.append(&mut env, b"after\n", usize::MAX, due);
    assert_same(&place.bytes(), &[&bytes[..], b"after\n"].concat(), "held first");
    assert_eq!((log.held_bytes(), log.deadline()), (0, None));
    assert_eq!(log.unrest.as_ref().map_or(0, |unrest| unrest.held.bytes.capacity()), 0);
}

#[test]
fn an_interrupted_write_goes_on() {
    let place = Place::new(RotateMode::Rename);
    let mut env = Faulty::new(0..0, 4);
    let mut log = Log::open(&mut env, &place.spec, 0, secs(1)).unwrap();
    env.failing = env.calls + 1..env.calls + 4;
    log.append(&mut env, b"bytes\n", usize::MAX, secs(1));
    assert_eq!((place.bytes(), env.failed.len()), (b"bytes\n".to_vec(), 3));
    assert_eq!(log.counters().write_failures, 0);
}

#[test]
fn while_rotation_fails_the_log_grows_to_twice_its_size_and_no_further() {
    for (mode, call) in
        [(RotateMode::Rename, "rename"), (RotateMode::Rename, "lock"), (MODES[1], "copy")]
    {
        let mut place = Place::new(mode);
        place.spec.on_overflow = Overflow::Newest;
        let mut env = failing(call);
        env.failing = 0..0;
        let mut log = Log::open(&mut env, &place.spec, 0, secs(1)).unwrap();
        env.failing = 0..u64::MAX;
        let bytes = stream(3000 + HOLD_BYTES);
        let mut now = secs(1);
        for chunk in bytes.chunks(100) {
            log.append(&mut env, chunk, usize::MAX, now);
            now += Duration::from_millis(100);
            turn(&mut log, &mut env, now);
        }
        let lost = bytes.len() - 2048 - HOLD_BYTES;
        assert_eq!((log.size(), log.held_bytes()), (2048, HOLD_BYTES), "{call}");
        assert_eq!(log.counters().lost_bytes, lost as u64, "{call}");
        assert_eq!(log.counters().lost_rotation_failed, lost as u64, "{call}");
        env.failing = 0..0;
        now += LOG_RETRY_MAX;
        turn(&mut log, &mut env, now);
        turn(&mut log, &mut env, now + LOG_RETRY_MAX);
        assert_same(&place.bytes(), &bytes[..bytes.len() - lost], call);
        assert_eq!((log.held_bytes(), log.deadline()), (0, None), "{call}");
    }
}

#[test]
fn the_close_tries_once_more_and_counts_what_is_left() {
    let place = Place::new(RotateMode::Rename);
    for works in [false, true] {
        let mut env = failing("write");
        let mut log = Log::open(&mut env, &place.spec, 0, secs(1)).unwrap();
        log.append(&mut env, b"bytes\n", usize::MAX, secs(1));
        if works {
            env.failing = 0..0;
        }
        log.close(&mut env, secs(1));
        let lost = if works { 0 } else { 6 };
        assert_eq!((log.counters().lost_bytes, log.held_bytes()), (lost, 0));
        assert_eq!((log.counters().lost_rotation_failed, log.deadline()), (0, None));
        assert_eq!(log.counters().lost_closed, lost);
    }
    assert_eq!(place.bytes(), b"bytes\n");
}

#[test]
fn a_log_lags_from_the_first_byte_that_waits_until_all_is_written() {
    let place = Place::new(RotateMode::Rename);
    let mut env = failing("write");
    let mut log = Log::open(&mut env, &place.spec, 0, secs(1)).unwrap();
    assert_eq!(log.lag(secs(9)), secs(0));
    log.append(&mut env, b"a\n", usize::MAX, secs(10));
    log.append(&mut env, b"b\n", usize::MAX, secs(15));
    assert_eq!(log.lag(secs(20)), secs(10), "since the first");
    // A successor knows since when.
    let saved = log.save(|_| 11, |_| 10);
    let saved: SavedLog = serde_json::from_str(&serde_json::to_string(&saved).unwrap()).unwrap();
    let dir = env.open_dir(place.spec.path.parent().unwrap(), None, 0o750).unwrap();
    let files = OpenLog { dir, file: log.file, copy: None };
    let mut log = Log::take_over(&mut env, saved, files, 0, secs(21)).unwrap();
    assert_eq!(log.lag(secs(22)), secs(12));
    env.failing = 0..0;
    let due = log.deadline().unwrap();
    log.on_timer(&mut env, due);
    assert_eq!((log.lag(secs(30)), log.held_bytes()), (secs(0), 0));
    env.failing = 0..u64::MAX;
    log.append(&mut env, b"c\n", usize::MAX, secs(40));
    assert_eq!(log.lag(secs(41)), secs(1), "it lags anew");
}

#[test]
fn what_a_crash_has_cost_is_counted_as_such() {
    let place = Place::new(RotateMode::Rename);
    let mut log = place.open();
    log.lose(&mut OsFiles::default(), 7, record::Cause::Crash, secs(1));
    log.lose(&mut OsFiles::default(), 2, record::Cause::RateLimit, secs(1));
    let counters = log.counters();
    assert_eq!((counters.lost_bytes, counters.lost_crash, counters.lost_rate_limit), (9, 7, 2));
    assert_eq!(counters.lost_closed, 0);
}

#[test]
fn the_close_leaves_no_copy_and_no_dropped_file() {
    let slice = usize::try_from(crate::limits::ROTATION_SLICE).unwrap();
    let mut place = Place::new(RotateMode::CopyTruncate);
    place.spec.max_bytes = slice as u64 * 3;
    let bytes = stream(slice * 2);
    let mut log = place.open();
    log.append(&mut OsFiles::default(), &bytes, usize::MAX, secs(1));
    log.rotate(&mut OsFiles::default(), secs(1));
    log.close(&mut OsFiles::default(), secs(1));
    drop(log);
    place.spec.mode = RotateMode::Rename;
    place.spec.keep = 1;
    assert_eq!(place.generations(), [&bytes[..]]);
    let mut log = place.open();
    for _ in 0..3 {
        log.append(&mut OsFiles::default(), &bytes, usize::MAX, secs(1));
        log.rotate(&mut OsFiles::default(), secs(1));
    }
    assert!(log.has_work());
    log.close(&mut OsFiles::default(), secs(1));
    assert_eq!(place.names(), ["app.log", "app.log.1"]);
}

#[test]
fn what_is_held_is_written_by_the_program_that_takes_over() {
    let place = Place::new(RotateMode::Rename);
    let mut env = failing("write");
    let mut log = Log::open(&mut env, &place.spec, 0, secs(1)).unwrap();
    log.append(&mut env, b"held\n", usize::MAX, secs(1));
    let saved = log.save(|_| 11, |_| 10);
    assert_eq!((saved.file, saved.dir, saved.copy), (11, 10, None));
    let saved: SavedLog = serde_json::from_str(&serde_json::to_string(&saved).unwrap()).unwrap();
    // The successor has the same files open; the disk is still full, and then it is not.
    let open = |env: &mut Faulty, log: Log<Faulty>| OpenLog {
        dir: env.open_dir(place.spec.path.parent().unwrap(), None, 0o750).unwrap(),
        file: log.file,
        copy: None,
    };
    let files = open(&mut env, log);
    let mut log = Log::take_over(&mut env, saved, files, 0, secs(2)).unwrap();
    assert_eq!((log.held_bytes(), log.counters().lost_bytes), (5, 0));
    let due = log.deadline().unwrap();
    env.failing = 0..0;
    log.on_timer(&mut env, due);
    log.append(&mut env, b"after\n", usize::MAX, due);
    assert_same(&place.bytes(), b"held\nafter\n", "held first");
}

#[test]
fn losses_and_offsets_are_handed_to_the_program_that_takes_over() {
    let mut place = Place::new(RotateMode::Rename);
    place.spec.hold_bytes = 8;
    let mut env = failing("write");
    let mut log = Log::open(&mut env, &place.spec, 0, secs(1)).unwrap();
    log.append(&mut env, b"lost and held\n", usize::MAX, secs(1));
    assert_eq!((log.offset(), log.held_bytes(), log.unrecorded_bytes()), (14, 8, 14));
    let saved = log.save(|_| 11, |_| 10);
    let saved: SavedLog = serde_json::from_str(&serde_json::to_string(&saved).unwrap()).unwrap();
    let dir = env.open_dir(place.spec.path.parent().unwrap(), None, 0o750).unwrap();
    let files = OpenLog { dir, file: log.file, copy: None };
    let mut log = Log::take_over(&mut env, saved, files, 0, secs(2)).unwrap();
    assert_eq!((log.offset(), log.counters().lost_bytes), (14, 6));
    env.failing = 0..0;
    let due = log.deadline().unwrap();
    log.on_timer(&mut env, due);
    assert_eq!((place.bytes(), log.offset()), (b"nd held\n".to_vec(), 14));
    let lost = place.records().into_iter().filter_map(|record| match record.what {
        What::Lost(loss) => Some((record.offset, record.size, loss.bytes, loss.cause)),
        _ => None,
    });
    assert_eq!(lost.collect::<Vec<_>>(), [(6, 0, 6, record::Cause::WriteFailed)]);
}

#[test]
fn all_logs_together_hold_no_more_than_the_host_allows() {
    let place = Place::new(RotateMode::Rename);
    let mut env = failing("write");
    let mut log = Log::open(&mut env, &place.spec, 0, secs(1)).unwrap();
    log.append(&mut env, b"0123456789", 4, secs(1));
    assert_eq!((log.held_bytes(), log.counters().lost_bytes), (4, 6));
    // With nothing more to be had the newest bytes take the place of the oldest.
    log.append(&mut env, b"ab", 0, secs(1));
    assert_eq!((log.held_bytes(), log.counters().lost_bytes), (4, 8));
    env.failing = 0..0;
    let due = log.deadline().unwrap();
    log.on_timer(&mut env, due);
    assert_eq!(place.bytes(), b"89ab");
}

#[test]
fn a_loss_between_bytes_that_wait_is_recorded_where_it_lies() {
    let place = Place::new(RotateMode::Rename);
    let mut env = failing("write");
    let mut log = Log::open(&mut env, &place.spec, 0, secs(1)).unwrap();
    log.append(&mut env, b"ab", usize::MAX, secs(1));
    log.lose(&mut env, 3, record::Cause::RateLimit, secs(1));
    log.append(&mut env, b"cd", usize::MAX, secs(1));
    assert_eq!((log.held_bytes(), log.offset()), (4, 7));
    env.failing = 0..0;
    let due = log.deadline().unwrap();
    log.on_timer(&mut env, due);
    assert_eq!((place.bytes(), log.held_bytes()), (b"abcd".to_vec(), 0));
    let lost = place.records().into_iter().filter_map(|record| match record.what {
        What::Lost(loss) => Some((record.offset, record.size, loss.bytes)),
        _ => None,
    });
    assert_eq!(lost.collect::<Vec<_>>(), [(5, 2, 3)]);
}
