//! A log as a running seriald tells it: lines of JSON, a record each.
//!
//! Owns the reading of records, and asking again where it was cut off.
//! **Invariant:** each byte is asked for once: after an upgrade of seriald it goes on with the
//! next.

use super::files::Begin;
use super::show::Piece;
use super::time;
use crate::cli::asking::Socket;
use crate::cli::asking::exchange::{Exchange, Question};
use crate::cli::terminal::{is_reader_gone, wait};
use crate::cli::{Failure, complain};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rustix::event::{PollFd, PollFlags};
use serde::Deserialize;
use std::io;
use std::time::Duration;

/// Longest record that is believed, in bytes: a megabyte of a guest's in base64, and more.
const RECORD_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How often, and how many times, it is asked again where it was cut off.
const PAUSE: Duration = Duration::from_millis(500);
const TRIES: u32 = 60;
/// How long an answer may take to go on, where nobody waits for what a guest prints.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is asked for.
pub struct Wanted<'a> {
    pub id: &'a str,
    pub from: Begin,
    pub until: Option<Duration>,
    pub follow: bool,
}

impl Wanted<'_> {
    fn path(&self, from: Begin) -> String {
        let mut path = format!("/v1/vms/{}/log?format=records", self.id);
        path += &match from {
            Begin::Start => "&offset=0".to_owned(),
            Begin::Lines(lines) => format!("&tail={lines}"),
            Begin::Time(since) => format!("&since={}", time::format(since)),
            Begin::Offset(offset) => format!("&offset={offset}"),
        };
        if let Some(until) = self.until {
            path += &format!("&until={}", time::format(until));
        }
        if self.follow {
            path += "&follow=true";
        }
        path
    }
}

/// A log that is told.
pub struct Asked<'a> {
    socket: &'a Socket,
    wanted: Wanted<'a>,
    exchange: Exchange,
    /// What has come of a record.
    record: Vec<u8>,
    /// Where to go on.
    at: Option<u64>,
}

/// One line.
#[derive(Deserialize)]
struct Record {
    offset: u64,
    time: Option<String>,
    bytes: Option<String>,
    missing: Option<u64>,
    why: Option<String>,
}

impl<'a> Asked<'a> {
    /// Asks.
    ///
    /// # Errors
    /// Nobody answers, or with an error.
    pub fn begin(socket: &'a Socket, wanted: Wanted<'a>) -> Result<Asked<'a>, Failure> {
        let exchange = ask(socket, &wanted, wanted.from)?;
        Ok(Asked { socket, wanted, exchange, record: Vec::new(), at: None })
    }

    /// What comes next, possibly nothing; `None`: that was all, or nobody reads what we print.
    ///
    /// # Errors
    /// It was cut off, or is no log.
    pub fn read(&mut self) -> Result<Option<Vec<Piece>>, Failure> {
        if self.exchange.is_drained() && !self.wait()? {
            return Ok(None);
        }
        let bytes = match self.exchange.next_piece() {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Ok(None),
            Err(why) if self.wanted.follow => return self.ask_again(why).map(Some),
            Err(why) => return Err(why),
        };
        let mut pieces = Vec::new();
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.record.extend_from_slice(part);
            if part.ends_with(b"\n") {
                let piece = piece(&self.record);
                pieces.push(piece.map_err(|why| self.exchange.failed(&why))?);
                self.record.clear();
            }
        }
        if self.record.len() > RECORD_BYTES_MAX {
            return Err(self.exchange.failed(&"a record of the log has no end"));
        }
        self.at = pieces.last().map(Piece::end).or(self.at);
        Ok(Some(pieces))
    }

    /// Whether something came before nobody read what we print any more.
    fn wait(&self) -> Result<bool, Failure> {
        let stdout = io::stdout();
        let mut fds =
            [PollFd::new(&self.exchange, PollFlags::IN), PollFd::new(&stdout, PollFlags::empty())];
        wait(&mut fds, (!self.wanted.follow).then_some(PATIENCE)).map_err(Failure::failed)?;
        Ok(!is_reader_gone(&fds[1]))
    }

    /// Asks for the rest.
    fn ask_again(&mut self, why: Failure) -> Result<Vec<Piece>, Failure> {
        complain(format_args!("{why}; asking again"));
        let from = self.at.map_or(self.wanted.from, Begin::Offset);
        self.record.clear();
        let mut last = why;
        for _ in 0..TRIES {
            std::thread::sleep(PAUSE);
            match ask(self.socket, &self.wanted, from) {
                Err(why) => last = why,
                Ok(exchange) => {
                    self.exchange = exchange;
                    return Ok(Vec::new());
                }
            }
        }
        Err(last)
    }
}

fn ask(socket: &Socket, wanted: &Wanted<'_>, from: Begin) -> Result<Exchange, Failure> {
    let path = wanted.path(from);
    let patience = (!wanted.follow).then_some(PATIENCE);
    socket.open(&Question { patience, ..Question::of("GET", &path) })
}

/// Reads one line.
fn piece(line: &[u8]) -> Result<Piece, String> {
    let odd = |what: &dyn std::fmt::Display| format!("a record of the log is none: {what}");
    let record: Record = serde_json::from_slice(line).map_err(|error| odd(&error))?;
    let offset = record.offset;
    match (record.bytes, record.missing) {
        (Some(text), None) => {
            let bytes = BASE64_STANDARD.decode(text).map_err(|error| odd(&error))?;
            let time = record.time.as_deref().map(humantime::parse_rfc3339).transpose();
            let time = time.map_err(|error| odd(&error))?;
            let time = time.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
            Ok(Piece::Bytes { offset, time, bytes })
        }
        (None, Some(bytes)) => {
            let why = record.why.unwrap_or_else(|| "nobody says why".into());
            Ok(Piece::Missing { offset, bytes, why })
        }
        _ => Err(odd(&"it has neither bytes nor tells that they are missing")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_bytes_or_tells_that_they_are_missing() {
        let read = |text: &str| piece(text.as_bytes());
        let time = Some(Duration::from_secs(86_400));
        assert_eq!(
            read(r#"{"offset":7,"time":"1970-01-02T00:00:00Z","bytes":"AP9h","x":1}"#),
            Ok(Piece::Bytes { offset: 7, time, bytes: b"\0\xffa".to_vec() })
        );
        assert_eq!(
            read(r#"{"offset":0,"missing":7,"why":"gone"}"#),
            Ok(Piece::Missing { offset: 0, bytes: 7, why: "gone".into() })
        );
        for wrong in [
            "",
            "{}",
            r#"{"offset":1}"#,
            r#"{"offset":1,"bytes":"?"}"#,
            r#"{"offset":1,"bytes":"","missing":1}"#,
            r#"{"offset":1,"time":"noon","bytes":""}"#,
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_wanted_is_what_is_asked_for() {
        let wanted = Wanted { id: "a", from: Begin::Lines(3), until: None, follow: true };
        let path = "/v1/vms/a/log?format=records";
        assert_eq!(wanted.path(Begin::Lines(3)), format!("{path}&tail=3&follow=true"));
        let until = Some(Duration::from_secs(1));
        let wanted = Wanted { until, follow: false, ..wanted };
        assert_eq!(
            wanted.path(Begin::Time(Duration::ZERO)),
            format!("{path}&since=1970-01-01T00:00:00.000Z&until=1970-01-01T00:00:01.000Z")
        );
        assert_eq!(Wanted { until: None, ..wanted }.path(Begin::Start), format!("{path}&offset=0"));
    }
}
