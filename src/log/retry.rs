//! When to try again what failed, and when to speak of it.
//!
//! Owns one back-off and the memory of what was logged.
//! **Invariant:** pure; an ongoing failure is spoken of once in [`LOG_QUIET`], its end at most
//! once, and only if its beginning was.

use crate::env::Moment;
use crate::limits::{LOG_QUIET, LOG_RETRY_MAX, LOG_RETRY_MIN};
use std::time::Duration;

/// One thing that may fail for a while.
#[derive(Debug, Default)]
pub(super) struct Retry {
    /// When it is to be tried again; `None`: it isn't waiting.
    due: Option<Moment>,
    /// The last wait; zero after a success.
    wait: Duration,
    /// Until when nothing more is logged.
    quiet_until: Moment,
    /// The failure was logged, its end was not.
    told: bool,
}

impl Retry {
    /// It failed. Returns whether that is to be logged.
    pub fn fail(&mut self, now: Moment) -> bool {
        self.wait = (self.wait * 2).clamp(LOG_RETRY_MIN, LOG_RETRY_MAX);
        self.due = Some(now + self.wait);
        if now < self.quiet_until {
            return false;
        }
        self.quiet_until = now + LOG_QUIET;
        self.told = true;
        true
    }

    /// It is under way again, not yet through: no wait, but the next one is as long as it was.
    pub fn resume(&mut self) {
        self.due = None;
    }

    /// It succeeded. Returns whether the recovery is to be logged.
    pub fn succeed(&mut self) -> bool {
        self.due = None;
        self.wait = Duration::ZERO;
        std::mem::take(&mut self.told)
    }

    /// Whether a failure was logged whose end was not.
    pub fn is_told(&self) -> bool {
        self.told
    }

    /// It does not wait, and nothing is to be remembered of an earlier failure.
    pub fn is_over(&self, now: Moment) -> bool {
        self.due.is_none() && self.wait.is_zero() && !self.told && self.quiet_until <= now
    }

    /// When it is to be tried again, if it failed.
    pub fn due(&self) -> Option<Moment> {
        self.due
    }

    /// Whether it failed and its wait is over.
    pub fn is_due(&self, now: Moment) -> bool {
        self.due.is_some_and(|due| due <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_to_its_bound_and_begins_anew_after_a_success() {
        let mut retry = Retry::default();
        let mut now = Duration::from_secs(7);
        let mut waits = Vec::new();
        for _ in 0..8 {
            retry.fail(now);
            let due = retry.due().unwrap();
            waits.push((due - now).as_millis());
            assert!(!retry.is_due(now) && retry.is_due(due));
            now = due;
            retry.resume();
            assert_eq!(retry.due(), None);
        }
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        retry.succeed();
        retry.fail(now);
        assert_eq!(retry.due(), Some(now + LOG_RETRY_MIN));
    }

    #[test]
    fn a_failure_is_told_once_in_a_while_and_its_end_once() {
        let mut retry = Retry::default();
        let now = Duration::from_secs(7);
        assert!(retry.fail(now));
        assert!(!retry.fail(now + LOG_QUIET / 2));
        assert!(retry.succeed());
        assert!(!retry.succeed());
        // A flapping disk is no reason to speak more often, nor of an end without a beginning.
        assert!(!retry.fail(now + LOG_QUIET / 2));
        assert!(!retry.succeed());
        assert!(retry.fail(now + LOG_QUIET));
    }
}
