//! One line of the events file: what happened to a log, when, and at which byte.
//!
//! Owns the format. Every line says the time, the offset of the next byte, and the log's size; so
//! any two neighbours tell which bytes of the file have which offsets:
//!
//! - between two lines of one generation the file grew by as much as the offset did,
//! - but for `lost`: its bytes end at its offset, and are in no file;
//! - `rotated` and `moved` end a generation, and the next one begins at their `end`;
//! - `truncated`: what is left of the file are the bytes before its offset;
//! - `unknown`: what was before may not fit what follows; its offset is a beginning.
//!
//! **Invariant:** pure; what was written is read back, a line of any other kind is skipped.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::time::{Duration, UNIX_EPOCH};

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// When, by the wall clock since 1970, in milliseconds.
    #[serde(with = "rfc3339")]
    pub time: Duration,
    /// The offset of the byte that would be written next.
    pub offset: u64,
    /// The log's size at that.
    pub size: u64,
    /// What happened.
    #[serde(flatten)]
    pub what: What,
}

/// What happened to a VM's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum What {
    /// A collector took the VM over.
    Adopted {
        /// The number of the generation that it found, or began.
        generation: u64,
        /// The offset of the first byte in the log.
        start: u64,
        /// The log's inode.
        inode: u64,
        /// The newest backup's inode, if there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        newest: Option<u64>,
    },
    /// So it stands, while bytes flow.
    Mark,
    /// The console is connected.
    Connected {
        /// The VMM's process, where it is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pid: Option<u32>,
    },
    /// The stream has ended.
    Disconnected {
        /// Why, as far as is known.
        cause: String,
    },
    /// A guest begins: what follows is another boot's.
    Boot,
    /// Another client had taken the console.
    Displaced,
    /// What the VMM held back may have died with a stream.
    UpstreamLossPossible,
    /// The collector let go of the VM.
    Released,
    /// A generation is complete, as the newest backup.
    Rotated(Generation),
    /// The log was moved or deleted by somebody else, and begun anew.
    Moved(Generation),
    /// A backup was replaced by what `after_rotate` made of it.
    Packed {
        /// Its number.
        generation: u64,
        /// The new file's inode.
        inode: u64,
        /// The new file's size.
        packed_bytes: u64,
    },
    /// Somebody cut the log.
    Truncated {
        /// So many bytes were in it, and are not any more.
        bytes: u64,
        /// The newest backup's inode, if there is one: his who cut it, perhaps.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        newest: Option<u64>,
    },
    /// Bytes that were read are in no file.
    Lost(Loss),
    /// What was before is not known: the events file was gone, or does not fit the log.
    Unknown {
        /// The number of the generation that begins, or goes on, here.
        generation: u64,
        /// The offset of the log's first byte.
        start: u64,
        /// The log's inode.
        inode: u64,
        /// What was found.
        why: String,
    },
}

/// A generation that is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    /// Its number, counted from 1.
    pub generation: u64,
    /// The offset of its first byte.
    pub start: u64,
    /// The offset behind its last one: losses in between count.
    pub end: u64,
    /// Bytes in its file.
    pub bytes: u64,
    /// The file's inode.
    pub inode: u64,
    /// The inode of the log that follows: the same one after a copytruncate.
    pub next_inode: u64,
    /// The newest backup's inode, where that is not this file's: it was moved elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest: Option<u64>,
}

/// Bytes in a row that are in no file: those before the record's offset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// How many.
    pub bytes: u64,
    /// Why.
    pub cause: Cause,
    /// When the first was dropped.
    #[serde(with = "rfc3339")]
    pub from: Duration,
    /// When the last was dropped.
    #[serde(with = "rfc3339")]
    pub until: Duration,
    /// So many losses stand here together, to save room, and what was written between them is taken
    /// for written before them: the sums are right, its offsets are not. 0: one loss.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub merged: u64,
}

/// Why bytes are in no file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The log could not be written, and too much was held.
    WriteFailed,
    /// Rotation kept failing, and the log had reached twice its size.
    RotationFailed,
    /// The VM was above its rate.
    RateLimit,
    /// All VMs together were above the host's rate.
    HostRateLimit,
    /// They were held when the collector was killed.
    Crash,
    /// They were held when the log was closed.
    Closed,
}

impl Record {
    /// The line, with its end.
    pub fn encode(&self) -> String {
        // Of numbers and text: there is nothing that JSON could not say.
        let mut line = serde_json::to_string(self).unwrap_or_default();
        line.push('\n');
        line
    }

    /// Reads a line; `None`: it is torn, or of a kind that is not known.
    pub fn decode(line: &[u8]) -> Option<Record> {
        serde_json::from_slice(line).ok()
    }

    /// Reads a whole file; a torn line, or one that is not known, is skipped.
    pub fn decode_all(file: &[u8]) -> impl Iterator<Item = Record> + '_ {
        file.split(|byte| *byte == b'\n').filter_map(Record::decode)
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A time since 1970 as RFC 3339, in UTC, with milliseconds.
pub(super) mod rfc3339 {
    use super::*;
    use serde::de::Error;

    pub fn serialize<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&humantime::format_rfc3339_millis(UNIX_EPOCH + *time))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(from)?;
        let time = humantime::parse_rfc3339(&text).map_err(D::Error::custom)?;
        time.duration_since(UNIX_EPOCH).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn time() -> impl Strategy<Value = Duration> {
        (0u64..250_000_000_000_000).prop_map(Duration::from_millis)
    }

    fn what() -> impl Strategy<Value = What> {
        let causes = [Cause::WriteFailed, Cause::RateLimit, Cause::Crash];
        let loss =
            (any::<u64>(), proptest::sample::select(causes.to_vec()), time(), time(), 0..3u64)
                .prop_map(|(bytes, cause, from, until, merged)| Loss {
                    bytes,
                    cause,
                    from,
                    until,
                    merged,
                });
        let generation =
            any::<[u64; 6]>().prop_map(|[generation, start, end, bytes, inode, next_inode]| {
                Generation { generation, start, end, bytes, inode, next_inode, newest: None }
            });
        prop_oneof![
            Just(What::Mark),
            Just(What::Boot),
            (any::<[u64; 3]>(), any::<Option<u64>>()).prop_map(
                |([generation, start, inode], newest)| What::Adopted {
                    generation,
                    start,
                    inode,
                    newest
                }
            ),
            any::<Option<u32>>().prop_map(|pid| What::Connected { pid }),
            ".*".prop_map(|cause| What::Disconnected { cause }),
            generation.clone().prop_map(What::Rotated),
            generation.prop_map(What::Moved),
            (any::<u64>(), any::<Option<u64>>())
                .prop_map(|(bytes, newest)| What::Truncated { bytes, newest }),
            loss.prop_map(What::Lost),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(time in time(), offset: u64, size: u64, what in what()) {
            let record = Record { time, offset, size, what };
            let line = record.encode();
            prop_assert_eq!(line.matches('\n').count(), 1);
            prop_assert_eq!(Record::decode(line.trim_end().as_bytes()), Some(record.clone()));
            // A torn line is none, and spoils no other.
            let torn = format!("{}{line}", &line[..line.len() / 2]);
            prop_assert!(Record::decode_all(torn.as_bytes()).count() <= 1);
            let whole = format!("{line}{}", &line[..line.len() - 2]);
            prop_assert_eq!(Record::decode_all(whole.as_bytes()).collect::<Vec<_>>(), [record]);
        }

        #[test]
        fn any_bytes_are_no_harm(bytes: Vec<u8>) {
            let _ = Record::decode_all(&bytes).count();
        }
    }

    #[test]
    fn a_line_reads_as_the_manual_says() {
        let time = Duration::from_millis(1_795_523_696_789);
        let loss = Loss { bytes: 7, cause: Cause::WriteFailed, from: time, until: time, merged: 0 };
        let record = Record { time, offset: 100, size: 40, what: What::Lost(loss) };
        assert_eq!(
            record.encode(),
            "{\"time\":\"2026-11-24T12:34:56.789Z\",\"offset\":100,\"size\":40,\"event\":\"lost\",\
             \"bytes\":7,\"cause\":\"write_failed\",\"from\":\"2026-11-24T12:34:56.789Z\",\
             \"until\":\"2026-11-24T12:34:56.789Z\"}\n"
        );
    }
}
