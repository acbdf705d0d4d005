//! The beginnings of the last boots, as `app.log.boot` has them: its format, and who reads it.
//!
//! Owns the format: for each boot a line of JSON, so many raw bytes as it says, and a newline. The
//! last line says no number while its boot is still being taken down: then its bytes go on to the
//! file's end. So the file is read by lengths, and nothing that a guest prints begins a boot.
//! **Invariant:** pure; whatever the bytes are, reading them does no harm.

use super::record::rfc3339;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Longest line before a boot's bytes, its newline included.
pub(super) const HEADER_MAX: usize = 256;

/// The line before a boot's bytes.
#[derive(Debug, Serialize, Deserialize)]
struct Header {
    boot: u64,
    #[serde(with = "rfc3339")]
    time: Duration,
    offset: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
}

/// The beginning of one boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head<'a> {
    /// The boot's number, counted from 1. One that is left out could not be written down.
    pub boot: u64,
    /// When it began, by the wall clock since 1970, in milliseconds.
    pub time: Duration,
    /// Its first byte's offset in the log.
    pub offset: u64,
    /// What its guest printed first.
    pub bytes: &'a [u8],
}

impl Head<'_> {
    /// The line of a boot whose bytes are yet to come.
    pub(super) fn open_line(boot: u64, time: Duration, offset: u64) -> String {
        line(&Header { boot, time, offset, bytes: None })
    }

    /// Appends the whole of it to `file`.
    pub(super) fn encode_into(&self, file: &mut Vec<u8>) {
        let Head { boot, time, offset, bytes } = *self;
        let header = Header { boot, time, offset, bytes: Some(bytes.len() as u64) };
        file.extend_from_slice(line(&header).as_bytes());
        file.extend_from_slice(bytes);
        file.push(b'\n');
    }
}

fn line(header: &Header) -> String {
    // Of numbers and text: there is nothing that JSON could not say.
    let mut line = serde_json::to_string(header).unwrap_or_default();
    line.push('\n');
    line
}

/// Reads a whole file, the oldest boot first; it ends where it can't be understood.
pub fn heads(mut file: &[u8]) -> Vec<Head<'_>> {
    let mut heads = Vec::new();
    while let Some((header, after)) = split_header(file) {
        let Header { boot, time, offset, bytes } = header;
        let len = bytes.map_or(after.len(), |len| usize::try_from(len).unwrap_or(usize::MAX));
        let (bytes, after) = after.split_at(len.min(after.len()));
        heads.push(Head { boot, time, offset, bytes });
        let Some(next) = after.strip_prefix(b"\n") else { break };
        file = next;
    }
    heads
}

fn split_header(file: &[u8]) -> Option<(Header, &[u8])> {
    let end = file.iter().take(HEADER_MAX).position(|byte| *byte == b'\n')?;
    Some((serde_json::from_slice(&file[..end]).ok()?, &file[end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz;
    use proptest::prelude::*;

    /// Whatever a guest may print, what looks like our own lines too.
    fn output() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            any::<Vec<u8>>(),
            Just(b"\n".to_vec()),
            (any::<u64>(), any::<u64>()).prop_map(|(boot, offset)| Head::open_line(
                boot,
                Duration::ZERO,
                offset
            )
            .into()),
            any::<u8>().prop_map(|n| {
                let mut forged = b"\n".to_vec();
                let (time, bytes) = (Duration::from_secs(1), vec![n; usize::from(n)]);
                Head { boot: 9, time, offset: 9, bytes: &bytes }.encode_into(&mut forged);
                forged
            }),
        ];
        proptest::collection::vec(piece, 0..5).prop_map(|pieces| pieces.concat())
    }

    type Boot = (u64, Duration, u64, Vec<u8>);

    fn boots() -> impl Strategy<Value = Vec<Boot>> {
        let time = (0u64..250_000_000_000_000).prop_map(Duration::from_millis);
        proptest::collection::vec((any::<u64>(), time, any::<u64>(), output()), 0..9)
    }

    fn told(file: &[u8]) -> Vec<Boot> {
        let owned = |head: &Head<'_>| (head.boot, head.time, head.offset, head.bytes.to_vec());
        heads(file).iter().map(owned).collect()
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back_whatever_the_guests_print(
            boots in boots(),
            last_is_open: bool,
        ) {
            let mut file = Vec::new();
            for (n, (boot, time, offset, bytes)) in boots.iter().enumerate() {
                let head = Head { boot: *boot, time: *time, offset: *offset, bytes };
                if last_is_open && n + 1 == boots.len() {
                    let line = Head::open_line(*boot, *time, *offset);
                    prop_assert!(line.len() <= HEADER_MAX);
                    file.extend_from_slice(line.as_bytes());
                    file.extend_from_slice(bytes);
                } else {
                    head.encode_into(&mut file);
                }
            }
            prop_assert_eq!(told(&file), boots);
        }

        /// One that is cut anywhere loses nothing before the cut.
        #[test]
        fn a_torn_file_is_read_up_to_the_tear(boots in boots(), cut: prop::sample::Index) {
            let mut file = Vec::new();
            for (boot, time, offset, bytes) in &boots {
                let head = Head { boot: *boot, time: *time, offset: *offset, bytes };
                head.encode_into(&mut file);
            }
            let torn = told(&file[..cut.index(file.len() + 1)]);
            prop_assert!(torn.len() <= boots.len());
            for (n, (torn_head, whole)) in torn.iter().zip(&boots).enumerate() {
                if n + 1 < torn.len() {
                    prop_assert_eq!(torn_head, whole);
                } else {
                    prop_assert!(whole.3.starts_with(&torn_head.3));
                }
            }
        }

        /// A damaged file is read as far as it goes: heads follow each other in it, and what was
        /// read can be written and read again.
        #[test]
        fn a_damaged_file_is_read_as_far_as_it_can_be_understood(
            boots in boots(),
            rest in fuzz::damaged(vec![file()]),
        ) {
            let mut whole = Vec::new();
            for (boot, time, offset, bytes) in &boots {
                Head { boot: *boot, time: *time, offset: *offset, bytes }.encode_into(&mut whole);
            }
            for file in [rest.clone(), [whole, rest].concat()] {
                let found = heads(&file);
                let sum: usize = found.iter().map(|head| head.bytes.len()).sum();
                prop_assert!(sum <= file.len());
                let mut again = Vec::new();
                found.iter().for_each(|head| head.encode_into(&mut again));
                prop_assert_eq!(told(&again).len(), found.len());
                for (head, again) in found.iter().zip(heads(&again)) {
                    // Its time has milliseconds from now on.
                    prop_assert_eq!(Head { time: again.time, ..*head }, again);
                }
            }
        }
    }

    /// Two boots, the second one still being taken down.
    fn file() -> Vec<u8> {
        let time = Duration::from_millis(1_795_523_696_789);
        let mut file = Vec::new();
        Head { boot: 3, time, offset: 70, bytes: b"panic\n{\"boot\":1}\n" }.encode_into(&mut file);
        file.extend_from_slice(Head::open_line(4, time, 100).as_bytes());
        file.extend_from_slice(b"booting\n");
        file
    }

    #[test]
    fn what_follows_a_boot_without_a_newline_is_not_understood() {
        let mut twice = file();
        twice.truncate(twice.len() - 8);
        let whole = heads(&twice).len();
        let end = twice.iter().rposition(|byte| *byte == b'{').unwrap() - 1;
        twice[end] = b' ';
        assert_eq!((whole, heads(&twice).len()), (2, 1));
    }

    #[test]
    fn a_file_reads_as_the_manual_says() {
        let time = Duration::from_millis(1_795_523_696_789);
        let mut file = Vec::new();
        Head { boot: 3, time, offset: 70, bytes: b"panic\n" }.encode_into(&mut file);
        file.extend_from_slice(Head::open_line(4, time, 100).as_bytes());
        assert_eq!(
            String::from_utf8(file).unwrap(),
            "{\"boot\":3,\"time\":\"2026-11-24T12:34:56.789Z\",\"offset\":70,\"bytes\":6}\n\
             panic\n\n{\"boot\":4,\"time\":\"2026-11-24T12:34:56.789Z\",\"offset\":100}\n"
        );
    }
}
