//! How long something took, for what runs outside the loop.
//!
//! Owns its beginning.
//! **Invariant:** monotonic; the loop's own moments come from [`crate::env::Env::now`] alone.

use std::time::{Duration, Instant};

/// Runs from its making on.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts.
    #[allow(clippy::new_without_default, reason = "a default that reads the clock surprises")]
    pub fn new() -> Stopwatch {
        Stopwatch(Instant::now())
    }

    /// The time since its start.
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}
