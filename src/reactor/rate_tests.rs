//! The promises of the limits, over any load.

use super::*;
use proptest::prelude::*;

fn at(nanos: u64) -> Moment {
    Duration::from_nanos(nanos)
}

/// Pauses in nanoseconds: none, a turn's, a second's, and very long ones.
fn pauses() -> impl Strategy<Value = u64> {
    prop_oneof![
        2 => Just(0u64),
        6 => 1..2_000_000u64,
        3 => 0..3 * SECOND,
        1 => (0..u64::MAX / 1000).prop_map(|n| n / 16),
    ]
}

fn rates() -> impl Strategy<Value = Rate> {
    let rate = prop_oneof![128..5000u64, 128..=1u64 << 40];
    (rate, proptest::option::of(0..=1u64 << 40)).prop_map(|(rate, burst)| Rate::new(rate, burst))
}

/// The most that `rate`, divided among `vms`, brings in so many nanoseconds.
fn brings(rate: u64, vms: u64, nanos: u64) -> u64 {
    let exact = u128::from(rate) * u128::from(nanos) / (u128::from(vms) * u128::from(SECOND));
    u64::try_from(exact).unwrap_or(u64::MAX / 4).min(u64::MAX / 4)
}

/// One piece of output: after a pause, by one of the VMs, of so many bytes.
type Print = (u64, usize, u64);

fn loads(vms: usize) -> impl Strategy<Value = Vec<Print>> {
    let bytes = prop_oneof![1..300u64, 1..=65_536u64];
    proptest::collection::vec((pauses(), 0..vms, bytes), 1..120)
}

/// What a VM that prints no more than `rate / vms`, a second's worth of it at once, may print now.
fn conforming(past: &[(u64, u64)], rate: u64, vms: u64, now: u64) -> u64 {
    let most = (rate / vms).max(1);
    let mut sum = 0;
    let mut room = most;
    for &(then, bytes) in past.iter().rev() {
        sum += bytes;
        room = room.min((most + brings(rate, vms, now - then)).saturating_sub(sum));
    }
    room
}

proptest! {
    #[test]
    fn no_stretch_of_time_brings_more_than_rate_and_burst(limit in rates(), load in loads(1)) {
        let mut bucket = Bucket::full(limit, at(5));
        let (mut now, mut kept) = (5, Vec::new());
        for (pause, _, bytes) in load {
            now += pause;
            let taken = bucket.take(limit, bytes, at(now));
            prop_assert!(taken <= bytes);
            kept.push((now, taken));
            let mut sum = 0;
            for (then, taken) in kept.iter().rev() {
                sum += taken;
                prop_assert!(sum <= limit.burst + brings(limit.rate, 1, now - then) + 1);
            }
        }
    }

    #[test]
    fn who_stays_below_the_rate_loses_nothing(limit in rates(), load in loads(1)) {
        let limit = Rate::new(limit.rate, None);
        let mut bucket = Bucket::full(limit, at(0));
        let (mut now, mut past) = (0, Vec::new());
        for (pause, _, bytes) in load {
            now += pause;
            let bytes = bytes.min(conforming(&past, limit.rate, 1, now));
            prop_assert_eq!(bucket.take(limit, bytes, at(now)), bytes);
            past.push((now, bytes));
        }
    }

    /// Between two losses that are not of one run at least a second passes, less a nanosecond's
    /// worth.
    #[test]
    fn losses_come_in_runs(limit in rates(), load in loads(1)) {
        let mut bucket = Bucket::full(limit, at(0));
        let (mut now, mut began, mut losing) = (0, None, false);
        for (pause, _, bytes) in load {
            now += pause;
            let lost = bucket.take(limit, bytes, at(now)) < bytes;
            if lost
                && !losing
                && let Some(before) = began.replace(now)
            {
                prop_assert!(now - before >= SECOND - 1, "{} after", now - before);
            }
            losing = lost;
        }
    }

    /// The same beside others that take what is left over, as it comes.
    #[test]
    fn losses_by_the_hosts_limit_come_in_runs(
        limit in rates(),
        vms in 1..9usize,
        load in loads(8),
    ) {
        let count = vms as u64;
        let mut rest = Rest::full(limit, at(0));
        let mut shares = vec![Share::full(limit, count, at(0)); vms];
        let (mut now, mut began, mut losing) = (0, vec![None; vms], vec![false; vms]);
        for (pause, vm, bytes) in load {
            now += pause;
            let vm = vm % vms;
            let lost = shares[vm].take(&mut rest, limit, count, bytes, at(now)) < bytes;
            if lost
                && !losing[vm]
                && let Some(before) = began[vm].replace(now)
            {
                // A share is a whole number of bytes.
                let second = SECOND - SECOND * count / limit.rate - 1;
                prop_assert!(now - before >= second, "{} after", now - before);
            }
            losing[vm] = lost;
        }
    }

    #[test]
    fn who_prints_no_more_than_its_share_loses_nothing_whatever_the_others_do(
        limit in rates(),
        vms in 2..9usize,
        load in loads(8),
    ) {
        let count = vms as u64;
        let mut rest = Rest::full(limit, at(0));
        let mut shares = vec![Share::full(limit, count, at(0)); vms];
        let (mut now, mut past) = (0, vec![Vec::new(); vms]);
        for (pause, vm, bytes) in load {
            now += pause;
            let vm = vm % vms;
            // Every other VM is a quiet one.
            let quiet = vm % 2 == 0;
            let bytes = match quiet {
                true => bytes.min(conforming(&past[vm], limit.rate, count, now)),
                false => bytes,
            };
            let taken = shares[vm].take(&mut rest, limit, count, bytes, at(now));
            prop_assert!(taken <= bytes);
            if quiet {
                prop_assert_eq!(taken, bytes, "VM {} at {}", vm, now);
                past[vm].push((now, bytes));
            }
        }
    }

    #[test]
    fn all_together_are_bounded_by_the_hosts_rate(
        limit in rates(),
        vms in 1..9usize,
        load in loads(8),
    ) {
        let count = vms as u64;
        let mut rest = Rest::full(limit, at(0));
        let mut shares = vec![Share::full(limit, count, at(0)); vms];
        let (mut now, mut kept) = (0, Vec::new());
        for (pause, vm, bytes) in load {
            now += pause;
            kept.push((now, shares[vm % vms].take(&mut rest, limit, count, bytes, at(now))));
            let mut sum = 0;
            for (then, taken) in kept.iter().rev() {
                sum += taken;
                let most = brings(limit.rate, 1, now - then) + limit.rate + limit.burst;
                prop_assert!(sum <= most + count + 1, "{sum} of {most}");
            }
        }
    }

    /// Other limits, or another number of VMs, at any moment: never more than the most generous.
    #[test]
    fn limits_may_change_at_any_moment(
        limits in proptest::collection::vec((rates(), 1..9u64), 1..120),
        load in loads(1),
    ) {
        let first = limits[0].0;
        let rate = limits.iter().map(|(limit, _)| limit.rate).max().unwrap_or(0);
        let burst = limits.iter().map(|(limit, _)| limit.burst).max().unwrap_or(0);
        let (mut bucket, mut rest) = (Bucket::full(first, at(0)), Rest::full(first, at(0)));
        let mut share = Share::full(first, 1, at(0));
        let (mut now, mut own, mut common) = (0, 0, 0);
        for ((pause, _, bytes), (limit, vms)) in load.into_iter().zip(limits) {
            now += pause;
            own += bucket.take(limit, bytes, at(now));
            common += share.take(&mut rest, limit, vms, bytes, at(now));
            let most = burst + brings(rate, 1, now) + 1;
            prop_assert!(own <= most && common <= most + rate + 1);
        }
    }
}

/// What is kept of a flood in 100 reads a second for so many seconds.
fn flood(limit: Rate, bytes: u64, seconds: u64) -> (u64, u64) {
    let mut bucket = Bucket::full(limit, at(0));
    let (mut kept, mut runs, mut losing) = (0, 0, false);
    for n in 0..seconds * 100 {
        let taken = bucket.take(limit, bytes, at(n * SECOND / 100));
        kept += taken;
        runs += u64::from(taken < bytes && !losing);
        losing = taken < bytes;
    }
    (kept, runs)
}

#[test]
fn a_flood_gets_the_whole_rate_in_one_run_of_loss_a_second() {
    let (kept, runs) = flood(Rate::new(10_000, None), 5_000, 100);
    assert!((990_000..=1_010_000).contains(&kept), "{kept}");
    assert!((95..=100).contains(&runs), "{runs}");
}

#[test]
fn a_burst_below_a_seconds_worth_is_taken_for_one() {
    let (kept, runs) = flood(Rate::new(10_000, Some(100)), 5_000, 100);
    assert!((990_000..=1_010_000).contains(&kept), "{kept}");
    assert!((95..=100).contains(&runs), "{runs}");
}

#[test]
fn what_was_left_of_a_small_share_is_no_bytes_of_a_greater_one() {
    let limit = Rate::new(128, None);
    let mut rest = Rest::full(limit, at(0));
    let mut share = Share::full(limit, 1000, at(0));
    assert_eq!(share.take(&mut rest, limit, 1000, 129, at(0)), 128);
    // Of a thousandth of it not a byte has come in five seconds.
    assert_eq!(share.take(&mut rest, limit, 1000, 0, at(5 * SECOND)), 0);
    share.dropping = false;
    rest = Rest::full(limit, at(5 * SECOND));
    rest.0.level = 0;
    assert!(share.take(&mut rest, limit, 1, 1000, at(5 * SECOND)) <= 1);
}

#[test]
fn no_byte_is_won_or_lost_by_rounding_in_a_thousand_years() {
    // 129 bytes a second in steps of 7 ns: each brings less than a millionth of a byte.
    let limit = Rate::new(129, Some(1 << 40));
    let mut bucket = Bucket::full(limit, at(0));
    assert_eq!(bucket.take(limit, 1 << 40, at(0)), 1 << 40);
    let mut now = 0;
    for _ in 0..1_000_000 {
        now += 7;
        assert_eq!(bucket.take(limit, 0, at(now)), 0);
    }
    bucket.dropping = false;
    let long = Duration::from_nanos(now) + Duration::from_secs(1000);
    assert_eq!(bucket.take(limit, u64::MAX, long), 129 * 1000);
    let late = Duration::from_secs(1000 * 365 * 86_400);
    bucket.dropping = false;
    assert_eq!(bucket.take(limit, u64::MAX, late), 1 << 40, "no more than the burst");
}

#[test]
fn one_noisy_vm_among_idle_ones_gets_what_they_leave() {
    let limit = Rate::new(100_000, None);
    let mut rest = Rest::full(limit, at(0));
    let mut share = Share::full(limit, 50, at(0));
    let mut kept = 0;
    for n in 0..60 * 100 {
        kept += share.take(&mut rest, limit, 50, 65_536, at(n * SECOND / 100));
    }
    assert!((5_900_000..=6_100_000).contains(&kept), "{kept}");
}

#[test]
fn two_noisy_vms_get_their_shares_at_least() {
    let limit = Rate::new(100_000, None);
    let mut rest = Rest::full(limit, at(0));
    let mut shares = [Share::full(limit, 4, at(0)); 2];
    let mut kept = [0, 0];
    for n in 0..60 * 100 {
        for (share, kept) in shares.iter_mut().zip(&mut kept) {
            *kept += share.take(&mut rest, limit, 4, 3_000, at(n * SECOND / 100));
        }
    }
    assert!(kept.iter().all(|kept| *kept >= 60 * 25_000), "{kept:?}");
    assert!(kept.iter().sum::<u64>() >= 5_900_000, "{kept:?}");
}
