//! One line of the stream of state changes: what happened to which VM, and when.
//!
//! Owns the format, and the ids by which a stream is gone on with. Names are those of the VM's own
//! events file where both tell the same.
//! **Invariant:** pure; a line is one JSON text, and has no byte of a guest in it.

use serde::{Serialize, Serializer};
use std::fmt;
use std::str::FromStr;
use std::time::{Duration, UNIX_EPOCH};

/// Which line of which ring. Another start of the ring is another epoch, whose numbers are its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventId {
    /// The ring's.
    pub epoch: u64,
    /// The line's, from 1 on.
    pub number: u64,
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}", self.epoch, self.number)
    }
}

/// The text is no [`EventId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoEventId;

impl FromStr for EventId {
    type Err = NoEventId;

    fn from_str(text: &str) -> Result<EventId, NoEventId> {
        let (epoch, number) = text.split_once('-').ok_or(NoEventId)?;
        let number = number.parse().map_err(|_| NoEventId)?;
        let epoch = u64::from_str_radix(epoch, 16).map_err(|_| NoEventId)?;
        let id = EventId { epoch, number };
        // There is one way to write it.
        if id.to_string() == text { Ok(id) } else { Err(NoEventId) }
    }
}

impl Serialize for EventId {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// One line.
#[derive(Clone, Debug, Serialize)]
pub struct EventLine<'a> {
    /// What to name to go on behind it.
    pub id: EventId,
    /// When, by the wall clock since 1970.
    #[serde(serialize_with = "rfc3339")]
    pub time: Duration,
    /// The VM's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vm: Option<&'a str>,
    /// The offset of the byte of its console that comes next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// What happened.
    #[serde(flatten)]
    pub told: Told<'a>,
}

/// What happened.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Told<'a> {
    /// The VM was taken charge of.
    Adopted,
    /// Its launch has come to its end: the guest runs.
    Launched,
    /// The console is connected.
    Connected {
        /// The VMM's process, where it is known.
        #[serde(skip_serializing_if = "Option::is_none")]
        pid: Option<u32>,
    },
    /// The stream has ended.
    Disconnected,
    /// Another client had taken the console.
    Displaced,
    /// The guest was reset, or rebooted.
    Rebooted {
        /// So long the console was not connected.
        absent_ms: u64,
    },
    /// The guest was shut down, its VMM stays.
    ShutDown,
    /// The guest was booted after that.
    Booted,
    /// The connection was reset before the VMM accepted it.
    NeverAccepted,
    /// The VMM has exited.
    VmmExited {
        /// With this code.
        #[serde(skip_serializing_if = "Option::is_none")]
        code: Option<i32>,
        /// By this signal.
        #[serde(skip_serializing_if = "Option::is_none")]
        signal: Option<i32>,
    },
    /// The VMM has no thread any more that serves the console.
    Unserved,
    /// What the VMM held back may have died with a stream.
    UpstreamLossPossible,
    /// Somebody types into the console from now on.
    Attached {
        /// His user.
        uid: u32,
        /// His process, where it is known.
        #[serde(skip_serializing_if = "Option::is_none")]
        pid: Option<u32>,
        /// He has taken another's place.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        forced: bool,
    },
    /// He does so no more.
    Detached {
        /// His user.
        uid: u32,
        /// His process, where it is known.
        #[serde(skip_serializing_if = "Option::is_none")]
        pid: Option<u32>,
        /// Why, by the words of the events file.
        cause: &'a str,
    },
    /// The log was rotated.
    Rotated {
        /// So often.
        times: u64,
    },
    /// A rotation failed, and is tried again.
    RotationFailed,
    /// Bytes that were read are in no file.
    Lost {
        /// How many.
        bytes: u64,
    },
    /// The VMM has answered a call, or has not.
    Answered {
        /// The call, as CH names it.
        call: &'a str,
        /// Why not, if it was not done.
        error: Option<&'a str>,
    },
    /// The VM is at its end.
    Closed {
        /// Why, in a word.
        reason: &'a str,
        /// Why, in a sentence.
        why: &'a str,
    },
    /// The ring has lines no more that would come here.
    Missed {
        /// How many; `None`: nobody knows, they were another epoch's.
        events: Option<u64>,
    },
}

impl EventLine<'_> {
    /// The line, with its end.
    pub fn encode(&self) -> String {
        // Of numbers and text: there is nothing that JSON could not say.
        let mut line = serde_json::to_string(self).unwrap_or_default();
        line.push('\n');
        line
    }
}

fn rfc3339<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&humantime::format_rfc3339_millis(UNIX_EPOCH + *time))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_line_reads_as_the_manual_says() {
        let id = EventId { epoch: 0x5eed, number: 17 };
        let time = Duration::from_millis(1_795_523_696_789);
        let connected = Told::Connected { pid: Some(7) };
        let line = EventLine { id, time, vm: Some("a"), offset: Some(9), told: connected };
        assert_eq!(
            line.encode(),
            "{\"id\":\"0000000000005eed-17\",\"time\":\"2026-11-24T12:34:56.789Z\",\"vm\":\"a\",\
             \"offset\":9,\"event\":\"connected\",\"pid\":7}\n"
        );
        let missed = Told::Missed { events: None };
        let line = EventLine { id, time, vm: None, offset: None, told: missed };
        assert_eq!(
            line.encode(),
            "{\"id\":\"0000000000005eed-17\",\"time\":\"2026-11-24T12:34:56.789Z\",\
             \"event\":\"missed\",\"events\":null}\n"
        );
    }

    proptest! {
        #[test]
        fn an_id_is_read_back_and_nothing_else_is_one(epoch: u64, number: u64, text in ".{0,30}") {
            let id = EventId { epoch, number };
            prop_assert_eq!(id.to_string().parse(), Ok(id));
            if let Ok(id) = text.parse::<EventId>() {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for text in ["", "-", "0-1", "000000000000000g-1", "0000000000000000-01", "1", "now"] {
            assert_eq!(text.parse::<EventId>(), Err(NoEventId), "{text}");
        }
    }
}
