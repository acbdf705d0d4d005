//! The beginnings of the last boots, whatever call fails: and the log is none the worse for it.

use super::boot::heads;
use super::faulty::Faulty;
use super::*;
use crate::limits::BOOTS_KEPT;
use std::os::unix::fs::{PermissionsExt, symlink};

const ENOSPC: i32 = 28;
const EIO: i32 = 5;
const KEEP: usize = 100;

/// A log with room for all, and heads.
fn place() -> Place {
    let mut place = Place::in_memory(RotateMode::Rename);
    place.spec.max_bytes = 1 << 20;
    place.spec.keep_boot_head = KEEP;
    place
}

/// What boot `n` prints: of changing length, none of it after the eighth, and lines as ours.
fn output(n: usize) -> Vec<u8> {
    let forged = format!("{{\"boot\":{n},\"time\":\"2026-11-24T12:34:56.789Z\",\"offset\":0}}\n");
    let text = format!("boot {n}\n{}{forged}", "x\n".repeat(n * 7 % 50));
    text.into_bytes()
}

/// What is kept of it.
fn head(n: usize) -> Vec<u8> {
    let mut bytes = output(n);
    bytes.truncate(KEEP);
    bytes
}

/// One boot: its output in small pieces, a second apart.
fn boot<F: Files>(log: &mut Log<F>, env: &mut F, n: usize, now: &mut Moment) {
    log.begin_boot(env);
    for piece in output(n).chunks(23) {
        *now += Duration::from_secs(1);
        say(log, env, piece, *now);
    }
}

fn say<F: Files>(log: &mut Log<F>, env: &mut F, piece: &[u8], now: Moment) {
    if log.has_head() {
        log.keep_head(env, piece, now);
    }
    log.append(env, piece, usize::MAX, now);
    turn(log, env, now);
}

/// What the file has, boot by boot.
fn kept(place: &Place) -> Vec<(u64, u64, Vec<u8>)> {
    let file = fs::read(place.path("app.log.boot")).unwrap_or_default();
    heads(&file).iter().map(|head| (head.boot, head.offset, head.bytes.to_vec())).collect()
}

/// Boots as the file should have them: their numbers, offsets and beginnings.
fn expected(numbers: std::ops::RangeInclusive<usize>) -> Vec<(u64, u64, Vec<u8>)> {
    let offset = |n| (1..n).map(|n| output(n).len() as u64).sum();
    numbers.map(|n| (n as u64, offset(n), head(n))).collect()
}

#[test]
fn the_beginnings_of_the_last_eight_boots_are_kept_and_no_more() {
    let place = place();
    let mut env = OsFiles::default();
    let (mut log, mut now) = (place.open(), secs(1));
    for n in 1..=20 {
        boot(&mut log, &mut env, n, &mut now);
        let first = (n + 1).saturating_sub(BOOTS_KEPT).max(1);
        assert_eq!(kept(&place), expected(first..=n), "after boot {n}");
        assert_eq!(log.has_head(), output(n).len() < KEEP, "it is closed once it is full");
    }
    assert_eq!(place.names(), ["app.log", "app.log.boot"]);
    assert_same(&place.bytes(), &(1..=20).flat_map(output).collect::<Vec<u8>>(), "the log");
    assert_eq!(log.counters().lost_boot_head, 0);
}

#[test]
fn the_file_has_the_logs_mode_and_group() {
    let mut place = place();
    place.spec.file_mode = 0o604;
    let (mut log, mut now) = (place.open(), secs(1));
    boot(&mut log, &mut OsFiles::default(), 1, &mut now);
    let meta = fs::metadata(place.path("app.log.boot")).unwrap();
    assert_eq!(meta.permissions().mode() & 0o777, 0o604);
    assert_eq!(Some(meta.gid().to_string()), place.spec.group);
}

#[test]
fn nothing_is_kept_by_default() {
    let mut place = place();
    place.spec.keep_boot_head = 0;
    let (mut log, mut now) = (place.open(), secs(1));
    boot(&mut log, &mut OsFiles::default(), 1, &mut now);
    assert!(!log.has_head());
    assert_eq!(place.names(), ["app.log"]);
}

#[test]
fn a_boot_that_prints_nothing_pushes_no_other_out() {
    let place = place();
    let mut env = OsFiles::default();
    let (mut log, mut now) = (place.open(), secs(1));
    boot(&mut log, &mut env, 1, &mut now);
    for _ in 0..20 {
        log.begin_boot(&mut env);
    }
    assert_eq!(kept(&place), expected(1..=1));
}

#[test]
fn a_limit_that_changes_holds_for_the_head_that_grows() {
    let mut place = place();
    let mut env = OsFiles::default();
    let mut log = place.open();
    log.begin_boot(&mut env);
    say(&mut log, &mut env, b"0123456789", secs(1));
    place.spec.keep_boot_head = 15;
    log.reconfigure(&mut env, &place.spec, secs(2)).unwrap();
    say(&mut log, &mut env, b"0123456789", secs(2));
    assert!(!log.has_head());
    assert_eq!(kept(&place), [(1, 0, b"012345678901234".to_vec())]);
    log.begin_boot(&mut env);
    place.spec.keep_boot_head = 0;
    log.reconfigure(&mut env, &place.spec, secs(3)).unwrap();
    say(&mut log, &mut env, b"more", secs(3));
    assert!(!log.has_head());
    assert_eq!(kept(&place).len(), 1);
}

/// Ten boots while some calls fail. `false`: the n-th call never came.
fn survives(n: u64, count: u64, sound_writes: bool) -> bool {
    let place = place();
    let errno = [ENOSPC, EIO][n as usize % 2];
    let mut env = Faulty::new(0..0, errno);
    env.sound_writes = sound_writes;
    let mut log = Log::open(&mut env, &place.spec, 0, secs(1)).unwrap();
    let mut now = secs(1);
    for boots in 1..=10 {
        if boots == 3 {
            let first = env.calls + n;
            env.failing = first..first + count;
        }
        boot(&mut log, &mut env, boots, &mut now);
        // It prints on, long after its beginning.
        for _ in 0..10 {
            now += secs(1);
            say(&mut log, &mut env, b"", now);
        }
    }
    let what = format!("{count} calls from {n} on: {:?}", env.failed);
    assert_same(&place.bytes(), &(1..=10).flat_map(output).collect::<Vec<u8>>(), &what);
    assert_eq!(kept(&place), expected(3..=10), "{what}");
    let counters = log.counters();
    assert_eq!((counters.lost_bytes, counters.lost_boot_head), (0, 0), "{what}");
    assert_eq!(place.names(), ["app.log", "app.log.boot"], "{what}");
    env.calls >= env.failing.start
}

#[test]
fn any_call_may_fail_and_no_head_lacks_a_byte() {
    let mut reached = 0;
    for n in 1..=200 {
        reached += u32::from(survives(n, 1, true));
        survives(n, 2 + n % 5, true);
        survives(n, 1, false);
    }
    assert!(reached > 100, "{reached} calls");
}

#[test]
fn a_crash_at_any_call_leaves_the_boots_before_and_a_successor_goes_on() {
    for n in 1..=60 {
        let place = place();
        let mut env = Faulty::new(0..0, EIO);
        env.sound_writes = true;
        let mut log = Log::open(&mut env, &place.spec, 0, secs(1)).unwrap();
        let mut now = secs(1);
        (1..=3).for_each(|boots| boot(&mut log, &mut env, boots, &mut now));
        env.failing = env.calls + n..u64::MAX;
        (4..=6).for_each(|boots| boot(&mut log, &mut env, boots, &mut now));
        let at_crash = kept(&place);
        drop(log);
        let what = format!("call {n}: {at_crash:?}");
        let whole = expected(1..=6);
        let (last, before) = at_crash.split_last().unwrap();
        assert!(at_crash.len() >= 3 && before == &whole[..before.len()], "{what}");
        assert!(whole[before.len()].2.starts_with(&last.2), "{what}");

        let mut env = OsFiles::default();
        let mut log = place.open();
        log.begin_boot(&mut env);
        say(&mut log, &mut env, b"on it goes", secs(1));
        let after = kept(&place);
        assert_eq!(after[..after.len() - 1], at_crash, "{what}");
        assert_eq!(after[after.len() - 1].2, b"on it goes", "{what}");
        assert_eq!(place.names(), ["app.log", "app.log.boot"], "{what}");
    }
}

#[test]
fn what_could_never_be_written_is_counted_and_its_numbers_are_left_out() {
    let place = place();
    let mut env = Faulty::new(0..0, ENOSPC);
    env.sound_writes = true;
    let mut log = Log::open(&mut env, &place.spec, 0, secs(1)).unwrap();
    let mut now = secs(1);
    boot(&mut log, &mut env, 1, &mut now);
    (env.failing, env.only) = (0..u64::MAX, "open");
    for n in 2..=9 {
        boot(&mut log, &mut env, n, &mut now);
        assert!(log.head_pending() <= KEEP as u64);
    }
    env.failing = 0..0;
    let lost = (2..=8).map(|n| head(n).len() as u64).sum::<u64>();
    assert_eq!(log.counters().lost_boot_head, lost);
    // The last one is whole after all, once its time comes.
    say(&mut log, &mut env, b"", now + secs(60));
    boot(&mut log, &mut env, 10, &mut now);
    assert_eq!(kept(&place), [expected(1..=1), expected(9..=10)].concat());
    (env.failing, env.only) = (0..u64::MAX, "write_beside");
    boot(&mut log, &mut env, 11, &mut now);
    log.close(&mut env, now);
    assert_eq!(log.counters().lost_boot_head, lost + head(11).len() as u64);
    assert_eq!(log.counters().lost_bytes, 0);
}

#[test]
fn while_its_file_fails_it_is_not_tried_at_every_append() {
    let place = place();
    let mut env = Faulty::new(0..u64::MAX, ENOSPC);
    env.only = "rename";
    let mut log = Log::open(&mut env, &place.spec, 0, secs(1)).unwrap();
    log.begin_boot(&mut env);
    for n in 0..1000 {
        let now = secs(1) + Duration::from_millis(n);
        say(&mut log, &mut env, b"x", now);
    }
    assert!((2..6).contains(&env.failed.len()), "{:?}", env.failed);
    assert_eq!(log.head_pending(), KEEP as u64);
    assert_eq!(place.names(), ["app.log"], "what was begun is removed");
}

#[test]
fn what_somebody_planted_in_its_place_is_left_alone_and_the_log_goes_on() {
    let secret = "{\"boot\":1,\"time\":\"2026-11-24T12:34:56.789Z\",\"offset\":0}\nsecret";
    for what in ["link", "hard link", "directory", "new: link", "new: hard link"] {
        let place = place();
        let other = place.path("other");
        fs::write(&other, secret).unwrap();
        let name = if what.starts_with("new") { "app.log.boot.new" } else { "app.log.boot" };
        match what {
            "link" | "new: link" => symlink(&other, place.path(name)).unwrap(),
            "directory" => fs::create_dir(place.path(name)).unwrap(),
            _ => fs::hard_link(&other, place.path(name)).unwrap(),
        }
        let (mut log, mut now) = (place.open(), secs(1));
        boot(&mut log, &mut OsFiles::default(), 1, &mut now);
        assert_same(&place.bytes(), &output(1), what);
        assert_eq!(fs::read_to_string(&other).unwrap(), secret, "{what}");
        let ours = kept(&place) == expected(1..=1);
        assert_eq!(ours, what.starts_with("new"), "{what}: {:?}", kept(&place));
        let copied = fs::read(place.path("app.log.boot.new")).unwrap_or_default();
        assert!(copied.is_empty() || what.starts_with("new"), "{what}");
    }
}

#[test]
fn what_a_predecessor_has_heard_is_told_by_the_files() {
    let place = place();
    let mut env = OsFiles::default();
    let mut log = place.open();
    assert_eq!(log.last_written(&mut env), None, "a new log has heard nothing");
    log.append(&mut env, b"a line\n", usize::MAX, secs(1));
    let now = env.wall();
    let last = log.last_written(&mut env).expect("just now");
    assert!(now.saturating_sub(last) < secs(5), "{last:?} {now:?}");
    log.rotate(&mut env, secs(2));
    assert!(log.last_written(&mut env).is_some(), "its backup has");
}
