//! The protocol `seriald-frames`: what goes both ways over a connection that was upgraded to a
//! console.
//!
//! A frame is one byte that says its kind, three bytes with the length of what follows, the highest
//! first, and that. Kinds:
//!
//! - `o`, to the client: output, as the guest printed it.
//! - `i`, to us: input for the guest. Empty ones do no harm: a client that has nothing to type
//!   shows thereby that it is there.
//! - `n`, to the client: a [`Notice`], as JSON.
//! - any other, to us: it is passed over, and answered by [`Notice::NotKnown`].
//!
//! The first frame to a client is [`Notice::Attached`], which says the offset of the first byte of
//! output. Each byte of output has the next one, but for those that a [`Notice::Missing`] names:
//! so whoever counts them can attach again where he was, with `offset=`. Cuts between frames mean
//! nothing.
//!
//! Owns the bytes of a frame's head, and of a notice, until they are complete.
//! **Invariant:** pure; no input panics. Holds at most [`NOTICE_BYTES_MAX`]; how the bytes were cut
//! never changes what they mean.

use crate::http::take_bytes;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The name of this protocol in an `Upgrade`.
pub const FRAMES: &str = "seriald-frames";
/// The name of the protocol that has no frames: bytes of the console, both ways.
pub const RAW: &str = "seriald-raw";

/// Longest frame that may come, its head not counted.
pub const FRAME_BYTES_MAX: usize = 1024 * 1024;
/// Longest notice. Ours have below 300 bytes.
pub const NOTICE_BYTES_MAX: usize = 4096;

const HEAD_BYTES: usize = 4;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What the guest printed.
    Output = b'o' as isize,
    /// What the guest is to read.
    Input = b'i' as isize,
    /// What happened to the console.
    Notice = b'n' as isize,
}

/// Who types into a console.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Writer {
    /// His user.
    pub uid: u32,
    /// His process; `None`: it is not of the daemon's pid namespace.
    pub pid: Option<u32>,
}

/// What a client is told beside the output. Others may come: they are to be passed over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "notice", rename_all = "snake_case")]
pub enum Notice {
    /// The first one: the offset of the first byte, and whether what the client types goes
    /// anywhere.
    Attached {
        /// The first byte's offset.
        offset: u64,
        /// It is the writer.
        writes: bool,
    },
    /// Another than before types into this console from now on, or nobody.
    Writer {
        /// Who.
        writer: Option<Writer>,
    },
    /// The client is not the writer any more, and goes on as a spy.
    Spy {
        /// Why.
        why: SpyReason,
    },
    /// Input came from a spy: it was dropped. Told once, until the client is the writer.
    ReadOnly,
    /// So much input may wait for the guest, as no echo shows that it reads: no more is taken for
    /// now.
    InputFull {
        /// Bytes that were sent, and are not proved to be read.
        ahead: u64,
        /// Whether there is more for whoever attaches with `mode=force`.
        force_goes_on: bool,
    },
    /// Input is taken again.
    InputGoesOn,
    /// Bytes that can't be had: the next byte of output is the one behind them.
    Missing {
        /// The first one.
        offset: u64,
        /// How many.
        bytes: u64,
        /// Why, as the events file says it.
        why: String,
    },
    /// The VMM's console is connected.
    Connected,
    /// It is not, and dialed again. Input waits.
    Disconnected,
    /// The client was too slow: the connection is closed. What it has missed is in the log.
    Lagged {
        /// The offset of the first byte that it has missed.
        offset: u64,
    },
    /// Nobody is in charge of this console any more: the connection is closed.
    ConsoleGone,
    /// A frame of a kind that has no meaning was passed over. A break is such a one: Cloud
    /// Hypervisor's serial socket carries bytes alone, and has no way to tell of one.
    NotKnown {
        /// Its kind, as a character.
        kind: char,
        /// What stands against it.
        why: String,
    },
    /// What came is no frame: the connection is closed.
    BadFrame {
        /// Why.
        why: String,
    },
    /// Something newer than this program.
    #[serde(other)]
    Other,
}

/// Why a writer has become a spy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpyReason {
    /// Another one has attached with `mode=force`.
    Forced,
    /// It has typed nothing for too long.
    Idle,
}

impl Notice {
    /// As it is sent.
    pub fn encode(&self) -> Vec<u8> {
        // Of numbers and text: there is nothing that JSON could not say.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads one; `None`: it is none.
    pub fn decode(bytes: &[u8]) -> Option<Notice> {
        serde_json::from_slice(bytes).ok()
    }
}

/// Appends a frame. What is longer than [`FRAME_BYTES_MAX`] becomes several.
pub fn encode(kind: Kind, payload: &[u8], into: &mut Vec<u8>) {
    for piece in payload.chunks(FRAME_BYTES_MAX) {
        // Bounded just now.
        let [.., a, b, c] = (piece.len() as u32).to_be_bytes();
        into.extend_from_slice(&[kind as u8, a, b, c]);
        into.extend_from_slice(piece);
    }
}

/// Appends a notice.
pub fn encode_notice(notice: &Notice, into: &mut Vec<u8>) {
    encode(Kind::Notice, &notice.encode(), into);
}

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part<'b> {
    /// Output, never none.
    Output(&'b [u8]),
    /// Input, never none.
    Input(&'b [u8]),
    /// A notice.
    Notice(Notice),
    /// A frame of another kind begins; it is passed over.
    NotKnown(u8),
}

/// Why nothing more can be had from a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// A frame exceeds [`FRAME_BYTES_MAX`], or [`NOTICE_BYTES_MAX`] if it is a notice.
    TooLong(usize),
    /// A notice that is none.
    BadNotice,
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameError::TooLong(bytes) => write!(f, "a frame of {bytes} bytes is too long"),
            FrameError::BadNotice => f.write_str("a notice is no JSON object with a notice"),
        }
    }
}

impl std::error::Error for FrameError {}

/// Turns the bytes of a connection into frames' contents, however they are cut.
#[derive(Clone, Debug, Default)]
pub struct FrameDecoder {
    head: Vec<u8>,
    /// The kind of the frame that is read, and how much of it is to come.
    within: Option<(u8, usize)>,
    notice: Vec<u8>,
    failed: Option<FrameError>,
}

impl FrameDecoder {
    /// Takes bytes from the front of `bytes` up to the next part; `None`: all of them were taken.
    /// Output and input are given on as they come.
    ///
    /// # Errors
    /// [`FrameError`]; the same is given to every later call.
    pub fn next<'b>(&mut self, bytes: &mut &'b [u8]) -> Result<Option<Part<'b>>, FrameError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let part = self.advance(bytes);
        self.failed = part.as_ref().err().copied();
        part
    }

    fn advance<'b>(&mut self, bytes: &mut &'b [u8]) -> Result<Option<Part<'b>>, FrameError> {
        while !bytes.is_empty() {
            let Some((kind, left)) = self.within else {
                if let Some(part) = self.take_head(bytes)? {
                    return Ok(Some(part));
                }
                continue;
            };
            let taken = take_bytes(bytes, left);
            let left = left - taken.len();
            self.within = (left > 0).then_some((kind, left));
            match kind {
                b'o' => return Ok(Some(Part::Output(taken))),
                b'i' => return Ok(Some(Part::Input(taken))),
                b'n' => self.notice.extend_from_slice(taken),
                _ => {}
            }
            if kind == b'n' && left == 0 {
                let notice = Notice::decode(&std::mem::take(&mut self.notice));
                return notice
                    .map(|notice| Some(Part::Notice(notice)))
                    .ok_or(FrameError::BadNotice);
            }
        }
        Ok(None)
    }

    /// Takes bytes of a head. An unknown kind is told once its head is complete.
    fn take_head<'b>(&mut self, bytes: &mut &'b [u8]) -> Result<Option<Part<'b>>, FrameError> {
        let taken = take_bytes(bytes, HEAD_BYTES - self.head.len());
        self.head.extend_from_slice(taken);
        let [kind, a, b, c] = self.head[..] else { return Ok(None) };
        self.head.clear();
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        let most = if kind == b'n' { NOTICE_BYTES_MAX } else { FRAME_BYTES_MAX };
        if length > most {
            return Err(FrameError::TooLong(length));
        }
        self.within = (length > 0).then_some((kind, length));
        match kind {
            b'o' | b'i' => Ok(None),
            b'n' if length == 0 => Err(FrameError::BadNotice),
            b'n' => Ok(None),
            other => Ok(Some(Part::NotKnown(other))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz;
    use proptest::prelude::*;

    /// What the chunks mean, pieces of one kind in a row put together, and the error.
    fn outcome(chunks: &[&[u8]]) -> (Vec<(char, Vec<u8>)>, Option<FrameError>) {
        let (mut decoder, mut all) = (FrameDecoder::default(), Vec::<(char, Vec<u8>)>::new());
        for chunk in chunks {
            let mut rest = *chunk;
            loop {
                let (kind, bytes) = match decoder.next(&mut rest) {
                    Ok(None) => break,
                    Ok(Some(Part::Output(bytes))) => ('o', bytes.to_vec()),
                    Ok(Some(Part::Input(bytes))) => ('i', bytes.to_vec()),
                    Ok(Some(Part::Notice(notice))) => ('n', notice.encode()),
                    Ok(Some(Part::NotKnown(kind))) => ('?', vec![kind]),
                    Err(error) => {
                        assert_eq!(decoder.next(&mut &b"o"[..]), Err(error));
                        return (all, Some(error));
                    }
                };
                match all.last_mut() {
                    Some((last, before)) if *last == kind && "oi".contains(kind) => {
                        before.extend(bytes);
                    }
                    _ => all.push((kind, bytes)),
                }
            }
            assert!(rest.is_empty() && decoder.notice.len() <= NOTICE_BYTES_MAX);
        }
        (all, None)
    }

    fn notices() -> Vec<Notice> {
        let writer = Some(Writer { uid: 7, pid: None });
        vec![
            Notice::Attached { offset: 1 << 40, writes: true },
            Notice::Writer { writer },
            Notice::Writer { writer: None },
            Notice::Spy { why: SpyReason::Idle },
            Notice::ReadOnly,
            Notice::InputFull { ahead: 131_072, force_goes_on: true },
            Notice::Missing { offset: 3, bytes: 9, why: "rate_limit".into() },
            Notice::Lagged { offset: 1 },
            Notice::ConsoleGone,
            Notice::NotKnown { kind: 'b', why: "no break".into() },
        ]
    }

    fn stream() -> (Vec<u8>, Vec<(char, Vec<u8>)>) {
        let (mut bytes, mut meant) = (Vec::new(), Vec::new());
        for notice in notices() {
            encode_notice(&notice, &mut bytes);
            encode(Kind::Output, b"\0o\xff", &mut bytes);
            encode(Kind::Input, b"", &mut bytes);
            bytes.extend_from_slice(b"b\0\0\x02xyi\0\0\0i\0\0\x01zb\0\0\0");
            let input = ('i', b"z".to_vec());
            meant.extend([('n', notice.encode()), ('o', b"\0o\xff".to_vec())]);
            meant.extend([('?', b"b".to_vec()), input, ('?', b"b".to_vec())]);
        }
        (bytes, meant)
    }

    #[test]
    fn frames_mean_the_same_however_they_are_cut() {
        let (bytes, meant) = stream();
        for chunks in fuzz::choppings(&bytes, &[]) {
            assert_eq!(outcome(&chunks), (meant.clone(), None));
        }
    }

    #[test]
    fn a_frame_is_spelled_as_the_header_says() {
        let mut bytes = Vec::new();
        encode(Kind::Input, &[b'x'; 258], &mut bytes);
        assert_eq!(&bytes[..6], b"i\0\x01\x02xx");
        let told = Notice::Attached { offset: 5, writes: false }.encode();
        assert_eq!(told, br#"{"notice":"attached","offset":5,"writes":false}"#);
        let newer = br#"{"notice":"what_is_yet_to_come","a":[1]}"#;
        assert_eq!(Notice::decode(newer), Some(Notice::Other));
    }

    #[test]
    fn long_output_becomes_several_frames_and_what_is_too_long_is_refused() {
        let long = vec![b'x'; 2 * FRAME_BYTES_MAX + 1];
        let mut bytes = Vec::new();
        encode(Kind::Output, &long, &mut bytes);
        assert_eq!(bytes.len(), long.len() + 3 * HEAD_BYTES);
        assert_eq!(outcome(&[&bytes]), (vec![('o', long)], None));
        let refused = |head: &[u8]| outcome(&[head]).1.map(|error| error.to_string());
        let too_long = |bytes: usize| Some(format!("a frame of {bytes} bytes is too long"));
        assert_eq!(refused(b"i\x10\0\0"), None);
        assert_eq!(refused(b"i\x10\0\x01"), too_long(FRAME_BYTES_MAX + 1));
        assert_eq!(refused(b"n\0\x10\x01"), too_long(NOTICE_BYTES_MAX + 1));
        assert!(refused(b"n\0\0\0").is_some_and(|why| why.contains("no JSON object")));
    }

    proptest! {
        #[test]
        fn any_stream_means_the_same_in_any_pieces(
            bytes in fuzz::damaged(vec![stream().0]),
            cuts in fuzz::cuts(),
        ) {
            fuzz::means_the_same(&bytes, &cuts, outcome)?;
        }
    }
}
