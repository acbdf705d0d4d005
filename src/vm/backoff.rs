//! How long to wait before the next try.
//!
//! Owns a count of tries and a seeded generator for the jitter.
//! **Invariant:** a wait lies between half of its step and the whole of it, and steps double up to
//! the bound.

use std::time::Duration;

/// xorshift64: jitter needs no more, and a seed makes a run repeatable.
#[derive(Clone, Debug)]
pub(crate) struct Jitter(u64);

impl Jitter {
    /// A generator; any seed will do.
    pub(crate) fn new(seed: u64) -> Self {
        // Spread over all bits (the multiplier is Knuth's for 64): seeds may be alike.
        Jitter(seed.wrapping_mul(6_364_136_223_846_793_005).rotate_left(32) | 1)
    }

    /// The next number.
    pub(crate) fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A wait between half of `step` and the whole of it.
    pub(crate) fn within(&mut self, step: Duration) -> Duration {
        let half = step / 2;
        let span = half.as_nanos() as u64 + 1;
        half + Duration::from_nanos(self.roll() % span)
    }
}

/// The step number `tries`, from 0: `min` doubled that often, at most `max`.
pub(super) fn step(tries: u8, min: Duration, max: Duration) -> Duration {
    min.checked_mul(1u32.checked_shl(tries.into()).unwrap_or(u32::MAX)).unwrap_or(max).min(max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_double_up_to_the_bound_and_jitter_keeps_within_half_of_each() {
        let (min, max) = (Duration::from_millis(1), Duration::from_secs(1));
        let mut jitter = Jitter::new(7);
        for tries in 0..100 {
            let step = step(tries, min, max);
            assert!(step >= min && step <= max);
            assert!(tries > 9 || step == min * 2u32.pow(tries.into()), "{tries}: {step:?}");
            let wait = jitter.within(step);
            assert!(wait >= step / 2 && wait <= step, "{wait:?} of {step:?}");
        }
    }
}
