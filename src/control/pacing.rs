//! How far input may be ahead of a guest that takes none.
//!
//! Cloud Hypervisor queues what a guest does not read, and v53 dies once more than 256 KiB are
//! queued. It tells nobody how much is: that the guest reads shows in its echo alone.
//!
//! Owns what was sent to one queue and is not proved to be read.
//! **Invariant:** pure. No more than [`limits::INPUT_UNPROVED_MAX`] are sent beyond what was proved
//! to be read, whoever sends it and whatever is printed; and no byte is sent alone that came with
//! others.

use super::echo::Echo;
use crate::limits;

/// What was sent to a VMM, and may be in its queue.
#[derive(Debug, Default)]
pub struct Ahead {
    echo: Echo,
    /// Of what is unproved, so much is taken for read, as as much was printed.
    loose: u64,
}

impl Ahead {
    /// As a predecessor has left it: its bytes are not known.
    pub fn of(unproved: u64, loose: u64) -> Ahead {
        Ahead { echo: Echo::of(unproved), loose: loose.min(unproved).min(limits::INPUT_LOOSE_MAX) }
    }

    /// So many bytes may wait for the guest.
    pub fn unproved(&self) -> u64 {
        self.echo.unproved()
    }

    /// So many of them are taken for read all the same.
    pub fn loose(&self) -> u64 {
        self.loose
    }

    /// How many bytes are held to be found in what is printed.
    pub fn known(&self) -> usize {
        self.echo.known()
    }

    /// These were sent.
    pub fn on_sent(&mut self, bytes: &[u8]) {
        self.echo.on_sent(bytes);
    }

    /// These were printed.
    pub fn on_printed(&mut self, bytes: &[u8]) {
        if self.unproved() == 0 {
            return;
        }
        let proved = self.echo.on_printed(bytes);
        let others = (bytes.len() as u64).saturating_sub(proved);
        let most = limits::INPUT_LOOSE_MAX.min(self.unproved());
        self.loose = self.loose.saturating_add(others).min(most);
    }

    /// Keeps the numbers alone.
    pub fn forget_bytes(&mut self) {
        self.echo.forget();
    }

    /// How many more may be sent, where they come in pieces of this length.
    pub fn room(&self, forced: bool, piece: usize) -> u64 {
        let most = match forced {
            true if piece <= limits::INPUT_BY_HAND_PIECE => limits::INPUT_AHEAD_FORCED_MAX,
            true => limits::INPUT_AHEAD_FORCED_MAX - limits::INPUT_BY_HAND,
            false => limits::INPUT_AHEAD_MAX,
        };
        most.saturating_sub(self.unproved() - self.loose)
    }
}

/// How many of `typed` bytes are sent at once, where `more` says whether others may follow that the
/// client sent together with them. Cloud Hypervisor turns a `\n` that it reads alone into `\r`: so
/// two are kept back, or all of three, and no piece has one byte.
pub fn piece(typed: usize, more: bool) -> usize {
    match more {
        true if typed < 4 => 0,
        true => typed - 2,
        false => typed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIECE: usize = limits::INPUT_PIECE_BYTES;

    fn text(length: usize) -> Vec<u8> {
        crate::control::echo::tests::text(1, length)
    }

    /// Sends as much as may be.
    fn send_all(ahead: &mut Ahead, forced: bool, piece: usize) {
        while ahead.room(forced, piece) >= piece as u64 {
            ahead.on_sent(&text(piece));
        }
    }

    #[test]
    fn what_is_echoed_makes_room() {
        let mut ahead = Ahead::default();
        let typed = text(128 * 1024);
        ahead.on_sent(&typed);
        assert_eq!(ahead.room(false, PIECE), 0);
        ahead.on_printed(&typed[..10_000]);
        assert_eq!((ahead.unproved(), ahead.loose()), (118 * 1024 + 240, 0));
        assert_eq!(ahead.room(false, PIECE), 10_000);
        ahead.on_printed(&typed[10_000..]);
        assert_eq!((ahead.unproved(), ahead.room(false, PIECE)), (0, 128 * 1024));
    }

    #[test]
    fn whatever_else_is_printed_makes_room_for_64_kib_in_all() {
        let mut ahead = Ahead::default();
        ahead.on_sent(&text(128 * 1024));
        ahead.on_printed(&[b'.'; 10]);
        assert_eq!((ahead.unproved(), ahead.room(false, PIECE)), (128 * 1024, 10));
        for _ in 0..100 {
            ahead.on_printed(&[b'.'; 10_000]);
            send_all(&mut ahead, false, 1);
        }
        assert_eq!(ahead.unproved(), 192 * 1024);
        assert_eq!(ahead.room(false, 1), 0);
    }

    #[test]
    fn force_goes_further_and_leaves_some_to_who_types_by_hand() {
        let mut ahead = Ahead::default();
        ahead.on_sent(&text(PIECE));
        ahead.on_printed(&[b'.'; 100_000]);
        assert_eq!(ahead.loose(), PIECE as u64, "nothing is taken for read that was not sent");
        for piece in [PIECE, 1] {
            for _ in 0..100 {
                ahead.on_printed(&[b'.'; 100_000]);
                send_all(&mut ahead, true, piece);
            }
            let by_hand = if piece == 1 { 0 } else { limits::INPUT_BY_HAND };
            assert_eq!(ahead.unproved(), limits::INPUT_UNPROVED_MAX - by_hand);
        }
        // A line by hand that is echoed clears all.
        let line = b"echo the quick brown fox jumps over the lazy dog, and again\n";
        let mut ahead = Ahead::of(limits::INPUT_UNPROVED_MAX - 4096, limits::INPUT_LOOSE_MAX);
        assert!(ahead.room(true, PIECE) < PIECE as u64);
        ahead.on_sent(line);
        ahead.on_printed(&line[..]);
        assert_eq!((ahead.unproved(), ahead.loose()), (0, 0));
    }

    #[test]
    fn an_heir_takes_over_what_is_unproved() {
        let ahead = Ahead::of(200 * 1024, 70 * 1024);
        assert_eq!((ahead.unproved(), ahead.loose(), ahead.known()), (200 * 1024, 64 * 1024, 0));
        assert_eq!(Ahead::of(10, 20).loose(), 10);
    }

    #[test]
    fn no_piece_of_what_came_together_is_one_byte() {
        for typed in 2..=limits::INPUT_PIECE_BYTES {
            let (first, mut pieces) = (piece(typed, true), Vec::new());
            pieces.extend((first > 0).then_some(first));
            pieces.push(piece(typed - first, false));
            assert_eq!(pieces.iter().sum::<usize>(), typed);
            assert!(pieces.iter().all(|piece| *piece > 1), "{typed}: {pieces:?}");
        }
        assert_eq!(piece(1, false), 1);
    }
}
