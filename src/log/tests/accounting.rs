//! What is in no file is recorded, with its place: the files and the losses are all that came.

use super::faulty::Faulty;
use super::*;
use crate::config::Overflow;

const OVERFLOWS: [Overflow; 2] = [Overflow::Oldest, Overflow::Newest];

/// What the files must have if `bytes` came: all but what is recorded as lost.
fn without_losses(place: &Place, bytes: &[u8]) -> (Vec<u8>, u64) {
    let (mut left, mut at, mut total) = (Vec::new(), 0, 0);
    for record in place.records() {
        if let What::Lost(loss) = record.what {
            let end = usize::try_from(record.offset).unwrap();
            let start = end - usize::try_from(loss.bytes).unwrap();
            assert!(start >= at, "losses overlap: {start} {at}");
            left.extend_from_slice(&bytes[at..start]);
            (at, total) = (end, total + loss.bytes);
        }
    }
    left.extend_from_slice(&bytes[at..]);
    (left, total)
}

/// Every generation that is complete is recorded with its place and its size, without a gap.
fn assert_generations_add_up(place: &Place, what: &str) {
    let mut sizes: Vec<u64> = place.generations().iter().map(|g| g.len() as u64).collect();
    sizes.pop();
    let (mut at, mut number) = (0, 0);
    let mut recorded = Vec::new();
    for record in place.records() {
        assert!(record.size <= record.offset, "{what}: {record:?}");
        if let What::Rotated(whole) = record.what {
            number += 1;
            assert_eq!((whole.generation, whole.start), (number, at), "{what}");
            at = whole.end;
            recorded.push(whole.bytes);
        }
    }
    assert_eq!(recorded, sizes, "{what}");
}

/// Appends `bytes` while calls fail, then until all is well.
fn run(log: &mut Log<Faulty>, env: &mut Faulty, bytes: &[u8], chunk: usize) {
    let mut now = print(log, env, bytes, chunk);
    env.failing = 0..0;
    for _ in 0..20 {
        now += Duration::from_secs(6);
        turn(log, env, now);
    }
    assert_eq!((log.held_bytes(), log.deadline()), (0, None), "{:?}", log.stage());
}

/// One run in which the calls `only` fail from the n-th on, `count` of them.
fn accounts(place: &Place, only: &'static str, n: u64, count: u64, bytes: &[u8]) -> u64 {
    let mut env = Faulty::new(0..0, 28);
    let mut log = Log::open(&mut env, &place.spec, 0, secs(1)).unwrap();
    let first = env.calls + n;
    (env.only, env.failing) = (only, first..first + count);
    run(&mut log, &mut env, bytes, 300);
    let what = format!("{:?} {:?} {only} {n}+{count}", place.spec.mode, place.spec.on_overflow);
    let (left, lost) = without_losses(place, bytes);
    assert_same(&place.bytes(), &left, &what);
    assert_eq!(log.counters().lost_bytes, lost, "{what}");
    assert_eq!(log.offset(), bytes.len() as u64, "{what}");
    assert_eq!(log.counters().written_bytes + lost, bytes.len() as u64, "{what}");
    assert_generations_add_up(place, &what);
    lost
}

#[test]
fn a_write_that_fails_at_any_call_loses_no_more_than_is_recorded() {
    let bytes = stream(9000);
    for mode in MODES {
        for on_overflow in OVERFLOWS {
            let mut lossy = 0;
            for n in 1..=200 {
                let mut place = Place::in_memory(mode);
                (place.spec.hold_bytes, place.spec.on_overflow) = (700, on_overflow);
                lossy += u32::from(accounts(&place, "write", n, 12, &bytes) > 0);
            }
            assert!(lossy > 50, "{mode:?}: {lossy} runs lost something");
        }
    }
}

#[test]
fn any_call_may_fail_for_long_and_what_is_lost_is_recorded() {
    let bytes = stream(9000);
    for mode in MODES {
        for n in 1..=200 {
            let mut place = Place::in_memory(mode);
            place.spec.hold_bytes = 500;
            place.spec.on_overflow = OVERFLOWS[n as usize % 2];
            accounts(&place, "", n, 40, &bytes);
        }
    }
}

#[test]
fn every_step_of_a_rotation_may_fail_for_ever_and_what_is_lost_is_recorded() {
    let bytes = stream(12_000);
    for mode in MODES {
        for call in ["rename", "open", "stat_at", "copy", "truncate", "unlink", "lock", "set_mode"]
        {
            for n in [1, 7, 30] {
                let mut place = Place::in_memory(mode);
                place.spec.hold_bytes = 800;
                place.spec.on_overflow = OVERFLOWS[n as usize % 2];
                accounts(&place, call, n, u64::MAX / 2, &bytes);
            }
        }
    }
}
