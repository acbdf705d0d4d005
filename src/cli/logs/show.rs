//! What is made of a log's pieces on their way to standard output.
//!
//! Owns the beginnings of lines, and what is said of bytes that are missing.
//! **Invariant:** pure. Without times and cleaning the bytes that come out are those that went in;
//! with them it makes no difference how the bytes were cut.

use super::time;
use crate::cli::terminal::clean::Cleaner;
use std::time::Duration;

/// A piece of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// What the guest printed, from this offset on, and when, if that is known.
    Bytes { offset: u64, time: Option<Duration>, bytes: Vec<u8> },
    /// Bytes that can't be had from this offset on: how many, and why.
    Missing { offset: u64, bytes: u64, why: String },
}

impl Piece {
    /// The offset behind it.
    pub fn end(&self) -> u64 {
        match self {
            Piece::Bytes { offset, bytes, .. } => offset + bytes.len() as u64,
            Piece::Missing { offset, bytes, .. } => offset.saturating_add(*bytes),
        }
    }
}

/// Makes what is printed out of what is in the log.
#[derive(Debug)]
pub struct Show {
    /// `None`: bytes are printed as they are.
    cleaner: Option<Cleaner>,
    times: bool,
    /// Nothing stands on the present line.
    at_line_start: bool,
}

impl Show {
    /// With the time before each line, or without; cleaned, or as it is.
    pub fn new(times: bool, clean: bool) -> Show {
        Show { cleaner: clean.then(Cleaner::default), times, at_line_start: true }
    }

    /// What is to be printed of these bytes.
    pub fn bytes(&mut self, bytes: &[u8], time: Option<Duration>) -> Vec<u8> {
        let shown = match &mut self.cleaner {
            None => bytes.to_vec(),
            Some(cleaner) => {
                let mut text = String::new();
                cleaner.clean(bytes, &mut text);
                text.into_bytes()
            }
        };
        self.with_times(shown, time)
    }

    /// What is kept back yet, at an end or before something else is said.
    pub fn finish(&mut self) -> Vec<u8> {
        let mut text = String::new();
        if let Some(cleaner) = &mut self.cleaner {
            cleaner.finish(&mut text);
        }
        self.with_times(text.into_bytes(), None)
    }

    /// Whether something else would have to begin a line first.
    pub fn is_in_line(&self) -> bool {
        !self.at_line_start
    }

    /// A line was begun by somebody else.
    pub fn begin_line(&mut self) {
        self.at_line_start = true;
    }

    fn with_times(&mut self, shown: Vec<u8>, time: Option<Duration>) -> Vec<u8> {
        let Some(last) = shown.last() else { return shown };
        let ends_line = *last == b'\n';
        let began = std::mem::replace(&mut self.at_line_start, ends_line);
        if !self.times {
            return shown;
        }
        let stamp = time.map_or_else(|| format!("{:24} ", "-"), |time| time::format(time) + " ");
        let (mut stamped, mut at_start) = (Vec::with_capacity(shown.len() * 2), began);
        for byte in shown {
            if at_start {
                stamped.extend_from_slice(stamp.as_bytes());
            }
            stamped.push(byte);
            at_start = byte == b'\n';
        }
        stamped
    }
}

/// What is missing in a row for one reason, a backup each perhaps, becomes one piece.
pub fn joined(pieces: Vec<Piece>) -> Vec<Piece> {
    let mut joined: Vec<Piece> = Vec::with_capacity(pieces.len());
    for piece in pieces {
        match (joined.last_mut(), piece) {
            (
                Some(Piece::Missing { offset, bytes, why }),
                Piece::Missing { offset: next, bytes: more, why: next_why },
            ) if *why == next_why && offset.saturating_add(*bytes) == next => {
                *bytes = bytes.saturating_add(more);
            }
            (_, piece) => joined.push(piece),
        }
    }
    joined
}

/// What is said of bytes that are missing.
pub fn missing(name: &str, offset: u64, bytes: u64, why: &str) -> String {
    let are = if bytes == 1 { "byte is" } else { "bytes are" };
    let why = in_words(why);
    format!("{name}: {bytes} {are} missing from offset {offset} on: {why}")
}

/// What the API and the events file have a word for, each. One that is not known is shown as it is.
fn in_words(why: &str) -> &str {
    match why {
        "write_failed" => "the log could not be written",
        "rotation_failed" => "the log could not be rotated",
        "rate_limit" => "they were above the VM's rate",
        "host_rate_limit" => "they were above the host's rate",
        "crash" => "seriald was killed while the log could not be written",
        "closed" => "the log could not be written until it was closed",
        "removed" => "their backup is no longer kept",
        "truncated" => "somebody cut the log",
        "moved" => "somebody moved their log away",
        "packed" => "a command has packed their backup",
        "unknown" => "nothing is known of them",
        "gone" => "the VM is gone, and its files are",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TIME: Option<Duration> = Some(Duration::from_secs(86_400));

    fn all(mut show: Show, pieces: &[&[u8]]) -> Vec<u8> {
        let mut out: Vec<u8> = pieces.iter().flat_map(|piece| show.bytes(piece, TIME)).collect();
        out.extend(show.finish());
        out
    }

    #[test]
    fn each_line_begins_with_its_time() {
        let shown = all(Show::new(true, true), &[b"a\r\nb", b"c\r\n", b"\x1b[1md"]);
        let stamp = "1970-01-02T00:00:00.000Z";
        let expected = format!("{stamp} a\n{stamp} bc\n{stamp} d");
        assert_eq!(String::from_utf8(shown).expect("text"), expected);
        let mut show = Show::new(true, false);
        assert_eq!(show.bytes(b"x", None), format!("{:24} x", "-").into_bytes());
        assert!(show.is_in_line());
    }

    #[test]
    fn what_is_missing_in_a_row_is_told_once() {
        let gap = |offset, bytes, why: &str| Piece::Missing { offset, bytes, why: why.into() };
        let text = Piece::Bytes { offset: 9, time: None, bytes: b"x".to_vec() };
        let pieces =
            vec![gap(0, 4, "a"), gap(4, 3, "a"), gap(7, 2, "b"), text.clone(), gap(10, 1, "b")];
        assert_eq!(joined(pieces), [gap(0, 7, "a"), gap(7, 2, "b"), text, gap(10, 1, "b")]);
    }

    proptest! {
        #[test]
        fn raw_bytes_come_out_as_they_went_in(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..5),
        ) {
            let pieces: Vec<&[u8]> = pieces.iter().map(|piece| &piece[..]).collect();
            prop_assert_eq!(all(Show::new(false, false), &pieces), pieces.concat());
        }

        #[test]
        fn cutting_changes_nothing(bytes in "[a\r\n\x1b\\[m]{0,40}", clean in any::<bool>()) {
            let each: Vec<&[u8]> = bytes.as_bytes().chunks(1).collect();
            let whole = all(Show::new(true, clean), &[bytes.as_bytes()]);
            prop_assert_eq!(all(Show::new(true, clean), &each), whole);
        }
    }
}
