//! Medians and percentiles.
//!
//! Owns nothing.

use serde::Serialize;
use std::time::Duration;

/// The middle of some values, or of the two in the middle their mean. `None`: there are none.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

/// The least value that at least `percent` of the sorted values don't exceed.
fn percentile(sorted: &[Duration], percent: f64) -> Duration {
    let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

/// How long things took.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// How many were measured.
    pub count: usize,
    /// Half took at most so long, in milliseconds.
    pub p50_ms: f64,
    /// 99 of 100 took at most so long.
    pub p99_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

impl Spread {
    /// Of these times, in any order. `None`: there are none.
    pub fn of(mut times: Vec<Duration>) -> Option<Spread> {
        times.sort_unstable();
        let max = times.last()?;
        let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
        Some(Spread {
            count: times.len(),
            p50_ms: milliseconds(percentile(&times, 50.0)),
            p99_ms: milliseconds(percentile(&times, 99.0)),
            max_ms: milliseconds(*max),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle_whatever_the_order() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[9.0, 1.0, 2.0, 4.0]), Some(3.0));
    }

    #[test]
    fn a_percentile_is_a_value_that_was_measured() {
        let times: Vec<_> = (1..=200).rev().map(Duration::from_millis).collect();
        let spread = Spread::of(times).expect("some");
        assert_eq!(spread, Spread { count: 200, p50_ms: 100.0, p99_ms: 198.0, max_ms: 200.0 });
    }

    #[test]
    fn one_value_is_every_percentile() {
        let spread = Spread::of(vec![Duration::from_millis(7)]).expect("some");
        assert_eq!(spread, Spread { count: 1, p50_ms: 7.0, p99_ms: 7.0, max_ms: 7.0 });
        assert_eq!(Spread::of(Vec::new()), None);
    }
}
