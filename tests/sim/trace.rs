//! What happened, line by line, for whoever replays a seed.
//!
//! **Invariant:** without a reader nothing is formatted; the fingerprint of a run is the same with
//! and without one.

use std::fmt::Write;
use std::time::Duration;

/// How much of it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    Nothing,
    All,
}

#[derive(Debug)]
pub struct Trace {
    keep: Keep,
    text: String,
    /// A number that two runs share only if the same things happened at the same moments.
    pub fingerprint: u64,
}

impl Trace {
    pub fn new(keep: Keep) -> Trace {
        Trace { keep, text: String::new(), fingerprint: 0xcbf2_9ce4_8422_2325 }
    }

    pub fn add(&mut self, now: Duration, line: impl FnOnce() -> String) {
        self.fingerprint = (self.fingerprint ^ now.as_nanos() as u64).wrapping_mul(0x100_0000_01b3);
        if self.keep == Keep::All {
            let _ = writeln!(self.text, "{:>14.6} {}", now.as_secs_f64(), line());
        }
    }

    pub fn text(&self) -> &str {
        &self.text
    }
}
