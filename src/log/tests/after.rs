//! What children make of backups: here each child copies, in the place of a command.

use super::faulty::Faulty;
use super::*;
use crate::config::{AfterRotate, Fsync};
use crate::env::os::OsFile;
use crate::limits::AFTER_ROTATE_ATTEMPTS;
use std::os::unix::fs::symlink;

fn packing(mode: RotateMode) -> Place {
    let mut place = Place::in_memory(mode);
    place.spec.after_rotate =
        Some(AfterRotate { command: vec!["copy".into()], suffix: ".zst".into() });
    place
}

/// Does what the child is to do; its calls are not ours to fail.
fn do_work<F: Files<File = OsFile>>(log: &Log<F>) {
    if let Some(Work::Pack { input, output, bytes, .. }) = log.work() {
        let env = &mut OsFiles::default();
        let mut all = vec![0; bytes as usize];
        assert_eq!(env.read_at(input, 0, &mut all).unwrap(), all.len());
        assert_eq!(env.write(output, &all, 0).unwrap(), all.len());
    }
}

/// Does all the work that there is, as the reactor does.
fn pack_all(log: &mut Log<OsFiles>, now: Moment) {
    let env = &mut OsFiles::default();
    while log.begin_work(env, now).unwrap() {
        do_work(log);
        while log.end_work(env, Ok(()), now) {}
        turn(log, env, now);
    }
}

fn rotate(log: &mut Log<OsFiles>, bytes: &[u8]) {
    log.append(&mut OsFiles::default(), bytes, usize::MAX, secs(1));
    log.rotate(&mut OsFiles::default(), secs(1));
    turn(log, &mut OsFiles::default(), secs(1));
}

#[test]
fn each_backup_is_packed_the_oldest_first_with_its_mode_and_time() {
    use std::os::unix::fs::PermissionsExt;
    for mode in MODES {
        let mut place = packing(mode);
        place.spec.file_mode = 0o604;
        let mut log = place.open();
        assert!(!log.begin_work(&mut OsFiles::default(), secs(1)).unwrap(), "no backup yet");
        for n in 0..3 {
            rotate(&mut log, format!("{n}\n").as_bytes());
        }
        let time = |name: &str| fs::metadata(place.path(name)).unwrap().modified().unwrap();
        let before = time("app.log.3");
        assert!(log.begin_work(&mut OsFiles::default(), secs(1)).unwrap());
        assert!(!log.begin_work(&mut OsFiles::default(), secs(1)).unwrap(), "one at a time");
        do_work(&log);
        assert!(!log.end_work(&mut OsFiles::default(), Ok(()), secs(1)));
        assert_eq!(place.names(), ["app.log", "app.log.1", "app.log.2", "app.log.3.zst"]);
        assert_eq!(time("app.log.3.zst"), before);
        let meta = fs::metadata(place.path("app.log.3.zst")).unwrap();
        assert_eq!(meta.permissions().mode() & 0o777, 0o604);
        pack_all(&mut log, secs(1));
        assert_eq!(place.names(), ["app.log", "app.log.1.zst", "app.log.2.zst", "app.log.3.zst"]);
        assert_eq!(place.bytes(), b"0\n1\n2\n");
        assert_eq!((log.counters().packed, log.counters().after_rotate_failures), (3, 0));
        assert!(log.after().is_none() && !log.wants_work() && log.deadline().is_none());
    }
}

#[test]
fn a_backup_that_was_shifted_meanwhile_is_replaced_under_its_new_number() {
    let place = packing(RotateMode::Rename);
    let mut log = place.open();
    rotate(&mut log, b"one\n");
    assert!(log.begin_work(&mut OsFiles::default(), secs(1)).unwrap());
    do_work(&log);
    rotate(&mut log, b"two\n");
    rotate(&mut log, b"three\n");
    log.end_work(&mut OsFiles::default(), Ok(()), secs(1));
    assert_eq!(place.names(), ["app.log", "app.log.1", "app.log.2", "app.log.3.zst"]);
    assert_eq!(place.bytes(), b"one\ntwo\nthree\n");
}

#[test]
fn a_backup_that_was_dropped_meanwhile_takes_what_was_made_of_it_along() {
    let mut place = packing(RotateMode::Rename);
    place.spec.keep = 1;
    let mut log = place.open();
    rotate(&mut log, b"one\n");
    assert!(log.begin_work(&mut OsFiles::default(), secs(1)).unwrap());
    do_work(&log);
    rotate(&mut log, b"two\n");
    log.end_work(&mut OsFiles::default(), Ok(()), secs(1));
    assert_eq!(place.names(), ["app.log", "app.log.1"]);
    assert_eq!((place.bytes(), log.counters().packed), (b"two\n".to_vec(), 0));
    assert!(log.wants_work(), "the new one is to be packed yet");
}

#[test]
fn a_failure_keeps_the_backup_and_is_retried_a_few_times_until_the_next_rotation() {
    let place = packing(RotateMode::Rename);
    let mut log = place.open();
    let mut now = secs(1);
    for round in 1..=2u64 {
        rotate(&mut log, b"one\n");
        for _ in 0..AFTER_ROTATE_ATTEMPTS {
            while !log.wants_work() {
                now = log.deadline().expect("it is retried");
                log.on_timer(&mut OsFiles::default(), now);
            }
            assert!(log.begin_work(&mut OsFiles::default(), now).unwrap());
            assert!(place.path("app.log.packing").exists());
            log.end_work(&mut OsFiles::default(), Err("so it is".into()), now);
            assert!(!place.path("app.log.packing").exists());
        }
        assert_eq!((log.wants_work(), log.deadline()), (false, None));
        let failures = u64::from(AFTER_ROTATE_ATTEMPTS) * round;
        assert_eq!(log.counters().after_rotate_failures, failures);
    }
    assert_eq!(place.names(), ["app.log", "app.log.1", "app.log.2"]);
    rotate(&mut log, b"one\n");
    pack_all(&mut log, now);
    assert_eq!(place.bytes(), b"one\n".repeat(3));
    assert_eq!((log.counters().packed, log.deadline()), (3, None));
    assert!(log.after().is_none(), "nothing is remembered");
}

#[test]
fn a_command_that_wrote_nothing_has_failed_and_so_has_one_whose_output_was_moved() {
    for moved in [false, true] {
        let place = packing(RotateMode::Rename);
        let mut log = place.open();
        rotate(&mut log, b"one\n");
        assert!(log.begin_work(&mut OsFiles::default(), secs(1)).unwrap());
        if moved {
            do_work(&log);
            fs::rename(place.path("app.log.packing"), place.path("elsewhere")).unwrap();
            fs::write(place.path("app.log.packing"), b"planted").unwrap();
        }
        log.end_work(&mut OsFiles::default(), Ok(()), secs(1));
        assert_eq!(place.read("app.log.1"), b"one\n");
        assert!(!place.path("app.log.1.zst").exists());
        assert_eq!(log.counters().after_rotate_failures, 1);
    }
}

#[test]
fn what_is_no_backup_of_ours_is_left_alone_and_holds_up_no_other() {
    let place = packing(RotateMode::Rename);
    fs::write(place.path("shadow"), b"secret").unwrap();
    fs::write(place.path("app.log.1"), b"one\n").unwrap();
    symlink("shadow", place.path("app.log.2")).unwrap();
    fs::hard_link(place.path("shadow"), place.path("app.log.3")).unwrap();
    fs::create_dir(place.path("app.log.4")).unwrap();
    let made = std::process::Command::new("mkfifo").arg(place.path("app.log.5")).status();
    assert!(made.unwrap().success());
    let mut log = place.open();
    pack_all(&mut log, secs(1));
    let names = place.names();
    assert!(names.contains(&"app.log.1.zst".to_owned()), "{names:?}");
    assert_eq!(names.iter().filter(|name| name.ends_with(".zst")).count(), 1, "{names:?}");
    assert_eq!((place.read("shadow"), log.counters().after_rotate_failures), (b"secret".into(), 0));
}

#[test]
fn a_backup_that_is_still_written_is_not_packed() {
    let place = packing(RotateMode::Rename);
    fs::write(place.path("app.log.1"), b"zero\n").unwrap();
    let mut env = Faulty::new(0..0, 24);
    let mut log = Log::open(&mut env, &place.spec, 0, secs(1)).unwrap();
    log.append(&mut env, b"one\n", usize::MAX, secs(1));
    // The log is `.1` already, but no new one can be opened.
    (env.only, env.failing) = ("lock", 0..u64::MAX);
    log.rotate(&mut env, secs(1));
    while log.begin_work(&mut env, secs(1)).unwrap() {
        do_work(&log);
        log.end_work(&mut env, Ok(()), secs(1));
    }
    assert_eq!(place.names(), ["app.log", "app.log.1", "app.log.2.zst"]);
    log.append(&mut env, b"two\n", usize::MAX, secs(1));
    assert_eq!(place.read("app.log.1"), b"one\ntwo\n");
    env.failing = 0..0;
    log.rotate(&mut env, secs(1));
    assert!(log.begin_work(&mut env, secs(1)).unwrap());
    do_work(&log);
    log.end_work(&mut env, Ok(()), secs(1));
    log.append(&mut env, b"three\n", usize::MAX, secs(1));
    assert_eq!(place.bytes(), b"zero\none\ntwo\nthree\n");
    assert_eq!(place.names(), ["app.log", "app.log.1.zst", "app.log.2.zst"]);
}

/// The backup `one` is packed, and from then on nothing can be removed.
fn packed_and_not_removed(mode: RotateMode, errno: i32) -> (Place, Faulty, Log<Faulty>) {
    let place = packing(mode);
    let mut env = Faulty::new(0..0, errno);
    let mut log = Log::open(&mut env, &place.spec, 0, secs(1)).unwrap();
    log.append(&mut env, b"one\n", usize::MAX, secs(1));
    log.rotate(&mut env, secs(1));
    turn(&mut log, &mut env, secs(1));
    assert!(log.begin_work(&mut env, secs(1)).unwrap());
    do_work(&log);
    (env.only, env.failing) = ("unlink", 0..u64::MAX);
    log.end_work(&mut env, Ok(()), secs(1));
    (place, env, log)
}

#[test]
fn a_backup_that_could_not_be_removed_once_it_was_packed_is_never_shifted_beside_that() {
    for mode in MODES {
        let (place, mut env, mut log) = packed_and_not_removed(mode, 13);
        assert_eq!(place.names(), ["app.log", "app.log.1", "app.log.1.zst"]);
        log.append(&mut env, b"two\n", usize::MAX, secs(1));
        log.rotate(&mut env, secs(1));
        assert_eq!(place.names(), ["app.log", "app.log.1", "app.log.1.zst"], "not yet");
        env.failing = 0..0;
        log.rotate(&mut env, secs(1));
        assert_eq!(place.names(), ["app.log", "app.log.1", "app.log.2.zst"]);
        assert_eq!(place.bytes(), b"one\ntwo\n");
    }
}

#[test]
fn a_backup_that_no_start_can_remove_once_it_was_packed_is_no_rotation_that_nobody_noted() {
    for mode in MODES {
        let (place, mut env, log) = packed_and_not_removed(mode, 5);
        drop(log);
        for _ in 0..2 {
            // The first is of a copy that may be half done: no log is opened beside that.
            env.skip = 1;
            drop(Log::open(&mut env, &place.spec, 0, secs(1)).unwrap());
            assert_eq!(place.names(), ["app.log", "app.log.1", "app.log.1.zst"]);
        }
        let records = place.records();
        let rotated = records.iter().filter(|record| matches!(record.what, What::Rotated(_)));
        assert_eq!(rotated.count(), 1, "{mode:?}: {records:?}");
        assert_eq!(records.last().map(|record| record.offset), Some(4), "{mode:?}");
    }
}

#[test]
fn want_of_descriptors_is_no_failure_and_leaves_nothing() {
    // The backup can't be opened, or the file for what it becomes can't be made.
    for fail_from in [1, 2] {
        let place = packing(RotateMode::Rename);
        fs::write(place.path("app.log.1"), b"one\n").unwrap();
        let mut env = Faulty::new(0..0, 24);
        let mut log = Log::open(&mut env, &place.spec, 0, secs(1)).unwrap();
        (env.only, env.skip) = ("open", fail_from - 1);
        env.failing = 0..u64::MAX;
        assert!(log.begin_work(&mut env, secs(1)).is_err());
        assert!(log.wants_work() && !place.path("app.log.packing").exists());
        assert_eq!((log.counters().after_rotate_failures, log.deadline()), (0, None));
        env.failing = 0..0;
        assert!(log.begin_work(&mut env, secs(1)).unwrap());
    }
}

#[test]
fn what_is_not_wanted_any_more_is_known_as_stale_and_leaves_nothing() {
    let mut place = packing(RotateMode::Rename);
    let mut log = place.open();
    rotate(&mut log, b"one\n");
    assert!(log.begin_work(&mut OsFiles::default(), secs(1)).unwrap());
    assert!(!log.is_work_stale());
    place.spec.after_rotate = None;
    log.reconfigure(&mut OsFiles::default(), &place.spec, secs(1)).unwrap();
    assert!(log.is_work_stale());
    log.give_up_work(&mut OsFiles::default());
    assert_eq!(
        (place.names(), log.wants_work()),
        (vec!["app.log".into(), "app.log.1".into()], false)
    );
    // And what a new configuration wants is done to backups that are there.
    place.spec.after_rotate =
        Some(AfterRotate { command: vec!["copy".into()], suffix: ".own".into() });
    log.reconfigure(&mut OsFiles::default(), &place.spec, secs(1)).unwrap();
    pack_all(&mut log, secs(1));
    assert_eq!(place.names(), ["app.log", "app.log.1.own"]);
}

#[test]
fn a_closed_log_leaves_no_half_packed_file_and_a_successor_packs_what_is_there() {
    let place = packing(RotateMode::Rename);
    let mut log = place.open();
    rotate(&mut log, b"one\n");
    assert!(log.begin_work(&mut OsFiles::default(), secs(1)).unwrap());
    do_work(&log);
    log.close(&mut OsFiles::default(), secs(1));
    drop(log);
    assert_eq!(place.names(), ["app.log", "app.log.1"]);
    let mut log = place.open();
    pack_all(&mut log, secs(1));
    assert_eq!(place.names(), ["app.log", "app.log.1.zst"]);
}

#[test]
fn generations_are_brought_to_the_disk_the_oldest_first_and_eight_at_once() {
    let mut place = packing(RotateMode::Rename);
    place.spec.after_rotate = None;
    place.spec.fsync = Fsync::Rotation;
    fs::write(place.path("app.log.events"), b"{}\n").unwrap();
    let mut log = place.open();
    for n in 0..10 {
        rotate(&mut log, format!("{n}\n").as_bytes());
    }
    let mut seen = Vec::new();
    let env = &mut OsFiles::default();
    while log.begin_work(env, secs(1)).unwrap() {
        let Some(Work::Sync { files, .. }) = log.work() else { panic!("a sync") };
        let mut bytes = Vec::new();
        for file in files {
            let mut piece = [0; 8];
            let read = env.read_at(file, 0, &mut piece).unwrap();
            bytes.push(String::from_utf8_lossy(&piece[..read]).lines().next().unwrap().to_owned());
        }
        seen.push(bytes.join(" "));
        log.end_work(env, Ok(()), secs(1));
    }
    assert_eq!(seen, ["0 1 2 3 4 5 6 7 {}", "8 9 {}"]);
    assert_eq!((log.counters().syncs, log.deadline()), (2, None));
    assert!(log.after().is_none());
    // What failed is not asked again: the kernel tells it once.
    rotate(&mut log, b"10\n");
    assert!(log.begin_work(env, secs(1)).unwrap());
    log.end_work(env, Err("Input/output error".into()), secs(1));
    assert_eq!((log.counters().sync_failures, log.wants_work()), (1, false));
    assert_eq!(log.deadline(), None);
}

#[test]
fn with_both_a_backup_stays_until_what_replaces_it_is_on_the_disk() {
    let mut place = packing(RotateMode::Rename);
    place.spec.fsync = Fsync::Rotation;
    let mut log = place.open();
    rotate(&mut log, b"one\n");
    let env = &mut OsFiles::default();
    let mut steps = Vec::new();
    while log.begin_work(env, secs(1)).unwrap() {
        loop {
            do_work(&log);
            let step = if matches!(log.work(), Some(Work::Sync { .. })) { "sync" } else { "pack" };
            steps.push(step);
            assert!(place.path("app.log.1").exists() && !place.path("app.log.1.zst").exists());
            if !log.end_work(env, Ok(()), secs(1)) {
                break;
            }
        }
    }
    assert_eq!(steps, ["sync", "pack", "sync"]);
    assert_eq!(place.names(), ["app.log", "app.log.1.zst"]);
    // Not on the disk: then it is no replacement.
    rotate(&mut log, b"two\n");
    for outcome in [Ok(()), Ok(()), Err("no".to_owned())] {
        if log.work().is_none() {
            assert!(log.begin_work(env, secs(1)).unwrap());
        }
        do_work(&log);
        log.end_work(env, outcome, secs(1));
    }
    assert_eq!(place.names(), ["app.log", "app.log.1", "app.log.2.zst"]);
}

/// Prints, rotates and packs until the n-th call, and from then on nothing works any more; then a
/// successor packs the rest. `false`: the n-th call never came.
fn survives_a_crash(place: &Place, n: u64) -> bool {
    let bytes = stream(4000);
    let mut env = Faulty::new(n..u64::MAX, 5);
    let opened = Log::open(&mut env, &place.spec, 0, secs(1));
    let mut written = 0;
    if let Ok(mut log) = opened {
        let mut packing = false;
        for (at, chunk) in bytes.chunks(250).enumerate() {
            let before = env.written;
            log.append(&mut env, chunk, usize::MAX, secs(1));
            written += env.written - before;
            while log.step(&mut env, secs(1)) {}
            // A child is begun, and heard of some appends later.
            if packing && at % 3 == 0 {
                do_work(&log);
                log.end_work(&mut env, Ok(()), secs(1));
                packing = false;
            } else if !packing {
                packing = log.begin_work(&mut env, secs(1)).unwrap_or(false);
            }
        }
    }
    let what = format!("{:?}, call {n}: {:?}", place.spec.mode, env.failed.first());
    let crashed = env.calls >= n;
    let mut log = Log::open(&mut OsFiles::default(), &place.spec, 0, secs(1)).expect(&what);
    turn(&mut log, &mut OsFiles::default(), secs(1));
    place.assert_tidy();
    log.append(&mut OsFiles::default(), &bytes[written..], usize::MAX, secs(1));
    turn(&mut log, &mut OsFiles::default(), secs(1));
    pack_all(&mut log, secs(1));
    assert_same(&place.bytes(), &bytes, &what);
    place.assert_tidy();
    let raw = place.names().iter().filter(|name| !name.ends_with(".zst")).count();
    assert_eq!(raw, 1, "{what}: {:?}", place.names());
    crashed
}

#[test]
fn a_crash_at_any_call_leaves_each_generation_once_and_all_are_packed_in_the_end() {
    for mode in MODES {
        for both in [false, true] {
            let reached = (1..=400).filter(|&n| {
                let mut place = packing(mode);
                if both {
                    place.spec.fsync = Fsync::Rotation;
                }
                survives_a_crash(&place, n)
            });
            let reached = reached.count();
            assert!(reached > 150, "{reached} calls");
        }
    }
}

#[test]
fn any_call_may_fail_and_each_generation_is_there_once() {
    for mode in MODES {
        let mut packed = 0;
        for n in 1..=300 {
            let place = packing(mode);
            let bytes = stream(4000);
            let mut env = Faulty::new(0..0, [28, 13, 5][n as usize % 3]);
            let mut log = Log::open(&mut env, &place.spec, 0, secs(1)).unwrap();
            env.failing = env.calls + n..env.calls + n + 1 + n % 2;
            let mut now = secs(1);
            for chunk in bytes.chunks(300) {
                log.append(&mut env, chunk, usize::MAX, now);
                now += Duration::from_millis(50);
                turn(&mut log, &mut env, now);
                if log.begin_work(&mut env, now).unwrap() {
                    do_work(&log);
                    log.end_work(&mut env, Ok(()), now);
                }
            }
            for _ in 0..20 {
                now += secs(5);
                turn(&mut log, &mut env, now);
                while log.begin_work(&mut env, now).unwrap() {
                    do_work(&log);
                    log.end_work(&mut env, Ok(()), now);
                }
            }
            let what = format!("{mode:?}, call {n}: {:?}", env.failed);
            assert_eq!((log.held_bytes(), log.deadline()), (0, None), "{what}");
            assert_same(&place.bytes(), &bytes, &what);
            place.assert_tidy();
            packed += log.counters().packed;
        }
        assert!(packed > 300 * 3, "{packed}");
    }
}
