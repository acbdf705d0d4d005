//! How long bytes are left to gather after a turn that moved some.
//!
//! Owns what the last busy turns tell of how fast the fastest VM prints.
//! **Invariant:** pure. A pause ends before that VM's socket is half full, if it prints on as it
//! did, and within [`Config::coalesce`](crate::config::Config::coalesce) in any case; after silence
//! there is none.
//!
//! CH sends one byte per message, and its socket holds 278. Woken for each, we and the guest's vCPU
//! pay for each: the longer the pause, the fewer the wake-ups. But a socket that fills up holds the
//! guest back (v52) or sends its output by way of the ring, which dies with its VM (v53); so the
//! pause follows the fullest socket.

use crate::env::Moment;
use std::time::Duration;

/// From turn to turn.
#[derive(Debug, Default)]
pub(super) struct Coalescing {
    /// The most that one read of this turn brought, in bytes.
    fullest: usize,
    /// When the last turn that moved bytes began.
    busy_at: Option<Moment>,
    /// The last turn, if it moved bytes.
    last: Option<Busy>,
}

#[derive(Debug)]
struct Busy {
    began: Moment,
    fullest: usize,
    /// How long the bytes had had to gather, at most.
    gathered: Option<Duration>,
}

impl Coalescing {
    /// A read has brought `n` bytes, with those that the budget cut off before.
    pub fn on_read(&mut self, n: usize) {
        self.fullest = self.fullest.max(n);
    }

    /// The turn that began at `began` is over.
    pub fn end_turn(&mut self, began: Moment) {
        let fullest = std::mem::take(&mut self.fullest);
        self.last = (fullest > 0).then(|| {
            let before = self.busy_at.replace(began);
            let gathered = before.map(|before| began.saturating_sub(before));
            Busy { began, fullest, gathered }
        });
    }

    /// Until when the loop sleeps before its next wait, once; a socket holds `full` messages.
    pub fn take_pause(&mut self, longest: Duration, full: usize) -> Option<Moment> {
        let Busy { began, fullest, gathered } = self.last.take()?;
        let pause = pause(fullest, gathered, longest, full);
        (!pause.is_zero()).then(|| began + pause)
    }
}

/// The pause after a turn whose fullest read brought `fullest` bytes, which had come since the busy
/// turn before, `gathered` ago at most.
fn pause(fullest: usize, gathered: Option<Duration>, longest: Duration, full: usize) -> Duration {
    if fullest >= full {
        // More may have waited for room; and who sends in larger pieces, all that he can, is only
        // kept from it.
        return Duration::ZERO;
    }
    let Some(gathered) = gathered else { return longest };
    let half = (full / 2) as u128;
    let until_half = gathered.as_nanos().saturating_mul(half) / fullest as u128;
    u64::try_from(until_half).map_or(longest, |nanos| longest.min(Duration::from_nanos(nanos)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FULL: usize = 278;

    fn us(n: u64) -> Duration {
        Duration::from_micros(n)
    }

    #[test]
    fn slow_printers_get_the_longest_pause_and_fast_ones_what_fills_half_a_socket() {
        for (bytes, gathered, expected) in [
            (1, None, 500),
            (FULL - 1, None, 500),
            (81, Some(1_000_000), 500),
            (81, Some(500), 500),
            (139, Some(500), 500),
            (200, Some(500), 347),
            (277, Some(500), 250),
            (139, Some(100), 100),
            (278, Some(500), 0),
            (65_536, Some(500), 0),
        ] {
            let pause = pause(bytes, gathered.map(us), us(500), FULL);
            assert_eq!(pause.as_micros(), expected, "{bytes} bytes in {gathered:?} us");
        }
    }

    #[test]
    fn only_a_turn_that_moved_bytes_is_followed_by_a_pause_and_by_one() {
        let mut coalescing = Coalescing::default();
        let mut pause_after = |read, began| {
            coalescing.on_read(read);
            coalescing.end_turn(us(began));
            [us(500), us(500)].map(|longest| coalescing.take_pause(longest, FULL))
        };
        assert_eq!(pause_after(0, 10), [None, None]);
        assert_eq!(pause_after(3, 20), [Some(us(520)), None]);
        assert_eq!(pause_after(139, 420), [Some(us(820)), None]);
        assert_eq!(pause_after(0, 900), [None, None]);
        assert_eq!(pause_after(FULL, 910), [None, None]);
        coalescing.on_read(3);
        coalescing.end_turn(us(950));
        assert_eq!(coalescing.take_pause(Duration::ZERO, FULL), None, "it is turned off");
    }

    proptest! {
        #[test]
        fn a_vm_that_prints_on_as_it_did_never_fills_more_than_half_its_socket(
            bytes in 1..FULL, gathered in 1..10_000_000_000u64, longest in 0..10_000u64,
        ) {
            let gathered = Duration::from_nanos(gathered);
            let pause = pause(bytes, Some(gathered), us(longest), FULL);
            prop_assert!(pause <= us(longest));
            let then = bytes as u128 * pause.as_nanos() / gathered.as_nanos();
            prop_assert!(then <= FULL as u128 / 2, "{} bytes", then);
        }
    }
}
