//! Waiting for a condition, with a deadline instead of a guess.
//!
//! **Invariant:** how long a wait took decides nothing; only the deadline can fail a test.

use std::thread;
use std::time::{Duration, Instant};

/// How long a test waits for anything before it fails: far more than a busy machine needs.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// How long it waits for the next bytes of a loop that turns, or of a program that runs.
pub const READ_PATIENCE: Duration = Duration::from_secs(45);

const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Returns once `condition` holds; panics with `what` after `patience`.
pub fn wait_until(patience: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    wait_for(patience, what, || condition().then_some(()));
}

/// Returns what `probe` finds; panics with `what` when it found nothing within `patience`.
pub fn wait_for<T>(patience: Duration, what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {patience:?} in vain for {what}");
        thread::sleep(POLL_INTERVAL);
    }
}
