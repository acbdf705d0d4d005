//! Wherever it stops, a successor goes on: nothing is lost, doubled or moved.

use super::faulty::Faulty;
use super::*;

/// Appends until the n-th call, after which nothing happens any more; then a successor appends
/// the rest. `false`: the n-th call never came.
fn survives(place: &Place, n: u64, bytes: &[u8], chunk: usize) -> bool {
    // From the n-th call on all fail, so that nothing changes: what a crash leaves.
    let mut env = Faulty::new(n..u64::MAX, 5);
    env.sound_writes = chunk > 10_000;
    let opened = Log::open(&mut env, &place.spec, 0, secs(1));
    if let Ok(mut log) = opened {
        for chunk in bytes.chunks(chunk) {
            log.append(&mut env, chunk, usize::MAX, secs(1));
            while log.step(&mut env, secs(1)) {}
        }
    }
    let crashed = env.calls >= n;
    let what = format!("{:?}, stopped at call {n}: {:?}", place.spec.mode, env.failed.first());
    let rest = &bytes[env.written..];
    env.failing = 0..0;
    let mut log = Log::open(&mut env, &place.spec, 0, secs(1)).expect(&what);
    while log.step(&mut env, secs(1)) {}
    place.assert_tidy();
    for chunk in rest.chunks(chunk) {
        log.append(&mut env, chunk, usize::MAX, secs(1));
        while log.step(&mut env, secs(1)) {}
    }
    let kept = place.bytes();
    let from = if place.spec.keep >= 1000 { 0 } else { bytes.len() - kept.len() };
    assert_same(&kept, &bytes[from..], &what);
    // While a long copy is under way the rest of a chunk goes on into the log, and once more
    // while the successor begins it afresh.
    let slack = if env.sound_writes { chunk as u64 * 2 } else { 0 };
    let size_max = place.spec.max_bytes + slack;
    assert!(place.generations().iter().all(|g| g.len() as u64 <= size_max), "{what}");
    place.assert_tidy();
    crashed
}

#[test]
fn a_crash_at_any_call_loses_and_doubles_nothing() {
    let bytes = stream(6000);
    // A guest that prints the same for ever: the generations are equal.
    let same = b"0123456789abcdef0123456789abcde\n".repeat(200);
    for mode in MODES {
        for bytes in [&bytes, &same] {
            let reached =
                (1..=200).filter(|&n| survives(&Place::in_memory(mode), n, bytes, 500)).count();
            assert!(reached > 100, "{reached} calls");
        }
    }
}

#[test]
fn a_crash_at_any_call_of_a_copy_that_takes_several_turns_doubles_nothing() {
    let slice = usize::try_from(crate::limits::ROTATION_SLICE).unwrap();
    let bytes = stream(slice * 4);
    let mut reached = 0;
    for n in 1..=100 {
        let mut place = Place::in_memory(RotateMode::CopyTruncate);
        place.spec.max_bytes = slice as u64 * 5 / 2;
        reached += u32::from(survives(&place, n, &bytes, 60_000));
    }
    assert!(reached > 40, "{reached} calls");
}

#[test]
fn a_crash_at_any_call_keeps_no_more_than_is_to_be_kept() {
    let bytes = stream(9000);
    for mode in MODES {
        for n in 1..=200 {
            let mut place = Place::in_memory(mode);
            place.spec.keep = 2;
            survives(&place, n, &bytes, 500);
            assert_eq!(place.generations().len(), 3);
        }
    }
}

#[test]
fn a_crash_after_failed_calls_doubles_nothing_though_all_lines_are_the_same() {
    let bytes = b"0123456789abcdef0123456789abcde\n".repeat(200);
    // Renames fail for a while, so that bytes are appended between the steps of a rotation.
    for only in ["rename", "truncate", "stat_at", "unlink", "open"] {
        for n in 1..=200 {
            let place = Place::in_memory(RotateMode::CopyTruncate);
            let mut env = Faulty::new(0..0, 13);
            let mut log = Log::open(&mut env, &place.spec, 0, secs(1)).unwrap();
            env.only = only;
            env.failing = n..u64::MAX;
            let mut written = 0;
            for chunk in bytes.chunks(100) {
                log.append(&mut env, chunk, usize::MAX, secs(1));
                written += chunk.len();
            }
            let on_disk = env.written;
            assert!(on_disk <= written);
            drop(log);
            env.failing = 0..0;
            let mut log = Log::open(&mut env, &place.spec, 0, secs(1)).unwrap();
            log.append(&mut env, &bytes[on_disk..], usize::MAX, secs(1));
            assert_same(&place.bytes(), &bytes, &format!("{only} from call {n} on"));
            place.assert_tidy();
        }
    }
}

#[test]
fn a_copy_whose_bytes_the_log_still_has_is_not_doubled() {
    let place = Place::in_memory(RotateMode::CopyTruncate);
    /// The log, the complete copy, the generations after a successor has come.
    type Case<'a> = (&'a [u8], &'a [u8], &'a [&'a [u8]]);
    let cases: [Case<'_>; 6] = [
        (b"one\ntwo\n", b"one\ntwo\n", &[b"one\ntwo\n", b""]),
        (b"one\ntwo\nthree\n", b"one\ntwo\n", &[b"one\ntwo\nthree\n"]),
        (b"", b"one\ntwo\n", &[b"one\ntwo\n", b""]),
        (b"one\n", b"one\ntwo\n", &[b"one\ntwo\n", b"one\n"]),
        (b"three\nfour\nfive\n", b"one\ntwo\n", &[b"one\ntwo\n", b"three\nfour\nfive\n"]),
        (b"one\n", b"", &[b"one\n"]),
    ];
    for (log, copy, generations) in cases {
        fs::write(place.path("app.log"), log).unwrap();
        fs::write(place.path("app.log.copied"), copy).unwrap();
        fs::write(place.path("app.log.copying"), b"not complete").unwrap();
        let log = place.open();
        assert_eq!(place.generations(), generations);
        assert_eq!(log.size(), generations.last().unwrap().len() as u64);
        place.assert_tidy();
        fs::remove_file(place.path("app.log.1")).ok();
    }
}
