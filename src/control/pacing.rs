//! How far input may be ahead of a guest that takes none.
//!
//! Cloud Hypervisor queues what a guest does not read, and v53 dies once more than 256 KiB are
//! queued. It tells nobody how much is: what the guest prints is the only sign that it lives, as
//! most of it is an echo.
//!
//! Owns the counter of one connection between VMM and guest.
//! **Invariant:** pure. No more than [`limits::INPUT_AHEAD_FORCED_MAX`] are sent beyond what was
//! printed since, whoever sends it; and no byte is sent alone that came with others.

use crate::limits;

/// What was sent to a VMM, and not answered by as much output since.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ahead(u64);

impl Ahead {
    /// As a predecessor has left it.
    pub fn of(bytes: u64) -> Ahead {
        Ahead(bytes)
    }

    /// So many bytes.
    pub fn bytes(self) -> u64 {
        self.0
    }

    /// So many were sent.
    pub fn on_sent(&mut self, bytes: usize) {
        self.0 = self.0.saturating_add(bytes as u64);
    }

    /// So many were printed.
    pub fn on_printed(&mut self, bytes: usize) {
        self.0 = self.0.saturating_sub(bytes as u64);
    }

    /// How many more may be sent.
    pub fn room(self, forced: bool) -> u64 {
        let most = match forced {
            true => limits::INPUT_AHEAD_FORCED_MAX,
            false => limits::INPUT_AHEAD_MAX,
        };
        most.saturating_sub(self.0)
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

    #[test]
    fn what_is_printed_makes_room_and_force_has_more_of_it() {
        let mut ahead = Ahead::default();
        assert_eq!(ahead.room(false), 128 * 1024);
        ahead.on_sent(128 * 1024);
        assert_eq!(ahead.room(false), 0);
        assert!(ahead.room(true) > 64 * 1024);
        ahead.on_printed(10);
        assert_eq!((ahead.bytes(), ahead.room(false)), (128 * 1024 - 10, 10));
        ahead.on_sent(usize::MAX);
        assert_eq!(ahead.room(true), 0);
        ahead.on_printed(usize::MAX);
        ahead.on_printed(1);
        assert_eq!(ahead, Ahead::default());
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
