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

use crate::limits::OFFSET_MAX;
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
    /// Somebody types into the console from now on.
    Attached {
        /// His user.
        uid: u32,
        /// His process, where it is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pid: Option<u32>,
        /// He has taken another's place.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        forced: bool,
    },
    /// He does so no more.
    Detached {
        /// His user.
        uid: u32,
        /// His process, where it is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pid: Option<u32>,
        /// Why: `closed` by him, `forced` out by another, `idle` for too long, `lagged` behind
        /// what the guest prints, `late` in taking it, or our own end: `stopped`, `upgraded`.
        cause: String,
    },
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

impl Cause {
    /// As the events file has it.
    pub fn word(self) -> &'static str {
        match self {
            Cause::WriteFailed => "write_failed",
            Cause::RotationFailed => "rotation_failed",
            Cause::RateLimit => "rate_limit",
            Cause::HostRateLimit => "host_rate_limit",
            Cause::Crash => "crash",
            Cause::Closed => "closed",
        }
    }
}

impl Record {
    /// The line, with its end.
    pub fn encode(&self) -> String {
        // Of numbers and text: there is nothing that JSON could not say.
        let mut line = serde_json::to_string(self).unwrap_or_default();
        line.push('\n');
        line
    }

    /// Reads a line; `None`: it is torn, of a kind that is not known, or names a number that no log
    /// has.
    pub fn decode(line: &[u8]) -> Option<Record> {
        serde_json::from_slice(line).ok().filter(Record::is_possible)
    }

    /// Whether its numbers are some that a log can have: sums of them then are no surprise.
    fn is_possible(&self) -> bool {
        let numbers = match &self.what {
            What::Adopted { generation, start, .. } | What::Unknown { generation, start, .. } => {
                [*generation, *start, 0, 0]
            }
            What::Rotated(whole) | What::Moved(whole) => {
                [whole.generation, whole.start, whole.end, whole.bytes]
            }
            What::Packed { generation, packed_bytes, .. } => [*generation, *packed_bytes, 0, 0],
            What::Truncated { bytes, .. } => [*bytes, 0, 0, 0],
            What::Lost(loss) => [loss.bytes, loss.merged, 0, 0],
            _ => [0; 4],
        };
        [self.offset, self.size].iter().chain(&numbers).all(|number| *number <= OFFSET_MAX)
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
pub(in crate::log) mod tests {
    use super::*;
    use crate::fuzz;
    use proptest::prelude::*;

    fn time() -> impl Strategy<Value = Duration> {
        (0u64..250_000_000_000_000).prop_map(Duration::from_millis)
    }

    fn number() -> impl Strategy<Value = u64> {
        prop_oneof![0..=100u64, 0..=OFFSET_MAX, Just(OFFSET_MAX)]
    }

    fn generation() -> impl Strategy<Value = Generation> {
        let numbers = [(); 4].map(|()| number());
        (numbers, any::<[u64; 2]>(), any::<Option<u64>>()).prop_map(
            |([generation, start, end, bytes], [inode, next_inode], newest)| Generation {
                generation,
                start,
                end,
                bytes,
                inode,
                next_inode,
                newest,
            },
        )
    }

    fn loss() -> impl Strategy<Value = Loss> {
        use Cause::*;
        let all = vec![WriteFailed, RotationFailed, RateLimit, HostRateLimit, Crash, Closed];
        (number(), proptest::sample::select(all), time(), time(), 0..3u64).prop_map(
            |(bytes, cause, from, until, merged)| Loss { bytes, cause, from, until, merged },
        )
    }

    fn what() -> impl Strategy<Value = What> {
        let inode = any::<u64>;
        let newest = any::<Option<u64>>;
        prop_oneof![
            proptest::sample::select(vec![
                What::Mark,
                What::Boot,
                What::Displaced,
                What::UpstreamLossPossible,
                What::Released,
            ]),
            (number(), number(), inode(), newest()).prop_map(
                |(generation, start, inode, newest)| What::Adopted {
                    generation,
                    start,
                    inode,
                    newest
                }
            ),
            any::<Option<u32>>().prop_map(|pid| What::Connected { pid }),
            ".*".prop_map(|cause| What::Disconnected { cause }),
            generation().prop_map(What::Rotated),
            generation().prop_map(What::Moved),
            (number(), inode(), number()).prop_map(|(generation, inode, packed_bytes)| {
                What::Packed { generation, inode, packed_bytes }
            }),
            (number(), newest()).prop_map(|(bytes, newest)| What::Truncated { bytes, newest }),
            loss().prop_map(What::Lost),
            (number(), number(), inode(), ".*").prop_map(|(generation, start, inode, why)| {
                What::Unknown { generation, start, inode, why }
            }),
        ]
    }

    /// Any record that a log may write.
    pub(in crate::log) fn record() -> impl Strategy<Value = Record> {
        (time(), number(), number(), what()).prop_map(|(time, offset, size, what)| Record {
            time,
            offset,
            size,
            what,
        })
    }

    /// The file of a log that was rotated, cut, moved, and lost bytes.
    pub(in crate::log) fn file() -> Vec<u8> {
        let newest = Some(5);
        let whole = |generation, start, end, inode, next_inode| {
            let bytes = end - start;
            Generation { generation, start, end, bytes, inode, next_inode, newest: None }
        };
        let (from, until) = (Duration::from_secs(7), Duration::from_secs(8));
        let loss = Loss { bytes: 20, cause: Cause::RateLimit, from, until, merged: 2 };
        let why = "why".to_owned();
        let all = [
            (0, 0, What::Adopted { generation: 1, start: 0, inode: 7, newest }),
            (40, 40, What::Mark),
            (60, 40, What::Lost(loss)),
            (100, 80, What::Disconnected { cause: "the VMM \"ended\"".into() }),
            (100, 0, What::Rotated(whole(1, 0, 100, 7, 8))),
            (150, 50, What::Packed { generation: 1, inode: 9, packed_bytes: 30 }),
            (150, 10, What::Truncated { bytes: 40, newest }),
            (200, 0, What::Moved(Generation { newest, ..whole(2, 100, 200, 8, 10) })),
            (250, 50, What::Unknown { generation: 4, start: 230, inode: 10, why }),
            (260, 60, What::Adopted { generation: 4, start: 230, inode: 10, newest: None }),
        ];
        let line = |(offset, size, what)| {
            Record { time: Duration::from_secs(1_795_523_696), offset, size, what }.encode()
        };
        all.map(line).concat().into_bytes()
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(record in record(), cut: proptest::sample::Index) {
            let line = record.encode();
            prop_assert_eq!(line.matches('\n').count(), 1);
            prop_assert_eq!(Record::decode(line.trim_end().as_bytes()), Some(record.clone()));
            // A torn line is none, wherever it is torn, and spoils no other.
            let torn = &line.as_bytes()[..cut.index(line.len() - 1)];
            prop_assert_eq!(Record::decode(torn), None);
            let file = [line.as_bytes(), torn, b"\n", line.as_bytes(), torn].concat();
            let read: Vec<Record> = Record::decode_all(&file).collect();
            prop_assert_eq!(read, [record.clone(), record]);
        }

        /// What is read of a damaged file can be written and read again, line by line.
        #[test]
        fn what_is_read_can_be_written(file in fuzz::damaged(vec![file()])) {
            for record in Record::decode_all(&file) {
                let line = record.encode();
                prop_assert!(line.len() > 1 && line.ends_with('\n'));
                let again = Record::decode(line.trim_end().as_bytes()).unwrap();
                prop_assert_eq!(again.encode(), line);
            }
        }

        #[test]
        fn a_file_is_read_as_its_two_halves_wherever_a_line_ends(
            file in fuzz::damaged(vec![file()]),
            at: proptest::sample::Index,
        ) {
            let ends: Vec<usize> = (0..file.len()).filter(|at| file[*at] == b'\n').collect();
            if let Some(end) = ends.get(at.index(ends.len().max(1))) {
                let halves = [&file[..*end], &file[*end + 1..]].map(Record::decode_all);
                let halves = halves.into_iter().flatten().collect::<Vec<_>>();
                prop_assert_eq!(halves, Record::decode_all(&file).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn a_line_that_names_a_number_that_no_log_has_is_skipped() {
        let line = |offset: u64, bytes: u64| {
            let (from, until) = (Duration::ZERO, Duration::ZERO);
            let loss = Loss { bytes, cause: Cause::Crash, from, until, merged: 0 };
            Record { time: from, offset, size: 0, what: What::Lost(loss) }.encode()
        };
        assert!(Record::decode(line(OFFSET_MAX, OFFSET_MAX).trim_end().as_bytes()).is_some());
        assert!(Record::decode(line(OFFSET_MAX + 1, 1).trim_end().as_bytes()).is_none());
        assert!(Record::decode(line(1, u64::MAX).trim_end().as_bytes()).is_none());
    }

    #[test]
    fn a_line_may_be_nested_deeper_than_a_stack_and_is_skipped() {
        let deep = "[".repeat(1_000_000) + &"]".repeat(1_000_000);
        let line = format!("{{\"event\":\"mark\",\"x\":{deep},\"offset\":1}}");
        assert_eq!(Record::decode(line.as_bytes()), None);
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
