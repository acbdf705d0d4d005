//! A moment, or a span of time, in eight bytes: what is kept of every VM has to be small.
//!
//! Owns nothing.
//! **Invariant:** exact up to 584 years; what is longer is that long.

use std::fmt;
use std::num::NonZeroU64;
use std::time::Duration;

/// A [`Moment`](super::Moment) or a span; as `Option` it is no larger.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stamp(NonZeroU64);

impl Stamp {
    /// Its nanoseconds, and one more, so that the first moment is one too.
    pub(crate) fn bits(self) -> u64 {
        self.0.get()
    }

    /// See [`Stamp::bits`].
    pub(crate) fn from_bits(bits: u64) -> Self {
        Stamp(NonZeroU64::new(bits).unwrap_or(NonZeroU64::MIN))
    }
}

impl From<Duration> for Stamp {
    fn from(time: Duration) -> Self {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Stamp(NonZeroU64::MIN.saturating_add(nanos))
    }
}

impl From<Stamp> for Duration {
    fn from(stamp: Stamp) -> Self {
        Duration::from_nanos(stamp.bits() - 1)
    }
}

impl fmt::Debug for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Duration::from(*self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_its_time_again_in_eight_bytes() {
        assert_eq!(size_of::<Option<Stamp>>(), 8);
        let most = Duration::from_nanos(u64::MAX - 1);
        for time in [Duration::ZERO, Duration::new(7, 123_456_789), crate::limits::TIME_MAX, most] {
            assert_eq!(Duration::from(Stamp::from(time)), time);
        }
        assert_eq!(Duration::from(Stamp::from(Duration::MAX)), most);
        assert!(Stamp::from(Duration::ZERO) < Stamp::from(Duration::from_nanos(1)));
    }
}
