//! Whatever call fails, no byte is lost, doubled or moved.

use super::faulty::Faulty;
use super::*;

const ENOSPC: i32 = 28;
const EACCES: i32 = 13;
const EMFILE: i32 = 24;
const EIO: i32 = 5;

/// Appends `bytes` in chunks of changing length, with the turns that come between, until nothing
/// is held and no rotation is under way.
fn run(log: &mut Log<Faulty>, env: &mut Faulty, bytes: &[u8], chunk: usize) {
    let mut now = print(log, env, bytes, chunk);
    for _ in 0..100 {
        now += Duration::from_secs(1);
        turn(log, env, now);
    }
    assert_eq!((log.held_bytes(), log.deadline()), (0, None), "{:?}", log.stage());
}

/// One run with `count` failing calls from the n-th on; `false`: the n-th call never came.
fn survives(place: &Place, n: u64, count: u64, errno: i32, bytes: &[u8], chunk: usize) -> bool {
    let mut env = Faulty::new(0..0, errno);
    // In 50 ms the hold is full: then a failed write is no fault that is to be survived.
    env.sound_writes = chunk > 10_000;
    let mut log = Log::open(&mut env, &place.spec, 0, secs(1)).unwrap();
    let first = env.calls + n;
    env.failing = first..first + count;
    run(&mut log, &mut env, bytes, chunk);
    let what = format!("{:?}, {count} calls from {n} on: {:?}", place.spec.mode, env.failed);
    assert_same(&place.bytes(), bytes, &what);
    let counters = log.counters();
    assert_eq!(counters.lost_bytes, 0, "{what}");
    assert_eq!(counters.written_bytes, bytes.len() as u64, "{what}");
    assert_eq!((counters.reopened, counters.truncated_outside), (0, 0), "{what}");
    assert_eq!(counters.rotations, place.generations().len() as u64 - 1, "{what}");
    place.assert_tidy();
    env.calls >= first
}

#[test]
fn any_single_call_may_fail() {
    let bytes = stream(6000);
    for mode in MODES {
        let mut reached = 0;
        for n in 1..=200 {
            let errno = [ENOSPC, EACCES, EMFILE, EIO][n as usize % 4];
            reached += u32::from(survives(&Place::in_memory(mode), n, 1, errno, &bytes, 700));
        }
        assert!(reached > 100, "{reached} calls");
    }
}

#[test]
fn any_calls_in_a_row_may_fail() {
    let bytes = stream(6000);
    for mode in MODES {
        for n in 1..=120 {
            survives(&Place::in_memory(mode), n, 2 + n % 9, ENOSPC, &bytes, 300);
        }
    }
}

#[test]
fn any_call_may_fail_while_few_backups_are_kept() {
    let bytes = stream(9000);
    for mode in MODES {
        for n in 1..=200 {
            let mut place = Place::in_memory(mode);
            place.spec.keep = 2;
            let mut env = Faulty::new(0..0, ENOSPC);
            let mut log = Log::open(&mut env, &place.spec, 0, secs(1)).unwrap();
            env.failing = env.calls + n..env.calls + n + 1 + n % 3;
            run(&mut log, &mut env, &bytes, 300);
            let kept = place.bytes();
            let what = format!("{mode:?}, call {n}: {:?}", env.failed);
            assert_same(&kept, &bytes[bytes.len() - kept.len()..], &what);
            assert_eq!(place.generations().len(), 3, "{what}");
            assert!(kept.len() > 2000, "{what}");
            place.assert_tidy();
        }
    }
}

#[test]
fn any_call_may_fail_of_a_copy_that_takes_several_turns() {
    let slice = usize::try_from(crate::limits::ROTATION_SLICE).unwrap();
    let bytes = stream(slice * 5);
    let mut reached = 0;
    for n in 1..=200 {
        let mut place = Place::in_memory(RotateMode::CopyTruncate);
        place.spec.max_bytes = slice as u64 * 5 / 2;
        reached += u32::from(survives(&place, n, 1, EIO, &bytes, 60_000));
    }
    assert!(reached > 40, "{reached} calls");
}
