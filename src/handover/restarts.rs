//! When a supervised program is started again, and when it is given up.
//!
//! Owns the back-off and the count of starts that came to nothing.
//! **Invariant:** pure. A program that was up is started again for ever; one that never says that
//! it is up is given up after [`STARTS_MAX`] starts.

use crate::env::{Exit, Moment};
use std::time::Duration;

/// Starts in a row that may end before the program was up.
pub const STARTS_MAX: u32 = 10;
/// The second wait; the first is none, and each is twice the one before.
const WAIT_MIN: Duration = Duration::from_millis(10);
/// The longest wait. Consoles stand still meanwhile, so it is short for one that was up.
const WAIT_MAX_UP: Duration = Duration::from_millis(250);
/// See [`WAIT_MAX_UP`]: for one that did not come up.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// A program that lived this long begins with no wait again.
const LIVED: Duration = Duration::from_secs(10);
/// Its exit code where its command line was not understood: another start would change nothing.
const USAGE: i32 = 2;

/// What follows the end of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// It is started again at this moment.
    Restart(Moment),
    /// It is done, or has no way on: this is the exit code.
    End(u8),
}

/// One program's starts.
#[derive(Debug, Default)]
pub struct Restarts {
    started: Moment,
    ready: bool,
    ending: bool,
    in_vain: u32,
    wait: Duration,
}

impl Restarts {
    /// It was started.
    pub fn on_start(&mut self, now: Moment) {
        self.started = now;
        self.ready = false;
    }

    /// It says that it is up.
    pub fn on_ready(&mut self) {
        self.ready = true;
        self.in_vain = 0;
    }

    /// It was told to end.
    pub fn on_end_wanted(&mut self) {
        self.ending = true;
    }

    /// It has ended.
    pub fn on_exit(&mut self, exit: Exit, now: Moment) -> After {
        match exit {
            Exit::Code(0) => return After::End(0),
            Exit::Code(USAGE) => return After::End(2),
            _ if self.ending => return After::End(1),
            _ => {}
        }
        if !self.ready {
            self.in_vain += 1;
            if self.in_vain >= STARTS_MAX {
                return After::End(1);
            }
        }
        if now.saturating_sub(self.started) >= LIVED {
            self.wait = Duration::ZERO;
        }
        let longest = if self.ready { WAIT_MAX_UP } else { WAIT_MAX };
        let wait = self.wait.min(longest);
        self.wait = (wait * 2).clamp(WAIT_MIN, longest);
        After::Restart(now + wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CRASH: Exit = Exit::Signal(9);

    fn ms(n: u64) -> Moment {
        Duration::from_millis(n)
    }

    #[test]
    fn a_program_that_was_up_is_started_again_at_once_then_ever_later_for_ever() {
        let mut restarts = Restarts::default();
        let (mut now, mut waits) = (ms(0), Vec::new());
        for _ in 0..50 {
            restarts.on_start(now);
            restarts.on_ready();
            let After::Restart(at) = restarts.on_exit(CRASH, now + ms(1)) else { panic!() };
            waits.push((at - now - ms(1)).as_millis());
            now = at;
        }
        assert_eq!(waits[..5], [0, 10, 20, 40, 80]);
        assert_eq!(waits[6..], [250; 44]);
        restarts.on_start(now);
        assert_eq!(restarts.on_exit(CRASH, now + LIVED), After::Restart(now + LIVED));
    }

    #[test]
    fn one_that_never_is_up_is_given_up() {
        let mut restarts = Restarts::default();
        let starts = (1..).find(|_| restarts.on_exit(Exit::Code(1), ms(1)) == After::End(1));
        assert_eq!(starts, Some(STARTS_MAX));
        // One that is up in between begins anew.
        let mut restarts = Restarts::default();
        for start in 0..STARTS_MAX * 2 {
            restarts.on_start(ms(0));
            if start == STARTS_MAX / 2 {
                restarts.on_ready();
            }
            let after = restarts.on_exit(CRASH, ms(1));
            let given_up = start == STARTS_MAX / 2 + STARTS_MAX;
            assert_eq!(after == After::End(1), given_up, "{start}");
            if given_up {
                return;
            }
        }
    }

    proptest::proptest! {
        /// Whatever a program does: no wait is longer than the longest, and one that was up is not
        /// given up before it has failed ten times anew.
        #[test]
        fn any_life_is_followed_by_a_bounded_wait_or_an_end(
            lives in proptest::collection::vec(
                (proptest::prelude::any::<bool>(), 0..40_000u64, 1..255u8), 1..60,
            ),
        ) {
            let (mut restarts, mut now, mut in_vain) = (Restarts::default(), ms(0), 0);
            for (up, lived, code) in lives {
                restarts.on_start(now);
                if up {
                    restarts.on_ready();
                }
                in_vain = if up { 0 } else { in_vain + 1 };
                now += ms(lived);
                match restarts.on_exit(Exit::Code(code.into()), now) {
                    After::Restart(at) => {
                        let longest = if up { WAIT_MAX_UP } else { WAIT_MAX };
                        proptest::prop_assert!(at >= now && at - now <= longest);
                        proptest::prop_assert!(in_vain < STARTS_MAX && code != 2);
                        now = at;
                    }
                    After::End(ends_with) => {
                        let wanted = if code == 2 { 2 } else { 1 };
                        proptest::prop_assert_eq!(ends_with, wanted);
                        proptest::prop_assert!(code == 2 || in_vain == STARTS_MAX);
                        break;
                    }
                }
            }
        }
    }

    #[test]
    fn one_that_is_done_or_not_understood_or_told_to_end_is_not_started_again() {
        let end = |exit| Restarts::default().on_exit(exit, ms(1));
        assert_eq!((end(Exit::Code(0)), end(Exit::Code(2))), (After::End(0), After::End(2)));
        let mut restarts = Restarts::default();
        restarts.on_end_wanted();
        assert_eq!(restarts.on_exit(CRASH, ms(1)), After::End(1));
    }
}
