//! `GET /v1/vms/{id}/log`: a VM's log, read back and followed.
//!
//! Owns what of it was asked for, and the search for the beginning of its last lines.
//! **Invariant:** a step reads one piece of a file, or searches one. Whoever follows is woken by
//! what the VM prints, and costs nothing while it prints nothing; one who is slow reads from the
//! files again, and misses nothing that they have, not even if the VM goes meanwhile. An answer
//! that has its end had all that the VM printed last.

use super::answer::{Answer, no_such_vm};
use super::body::{Body, Made};
use super::client::Asker;
use super::view::{GONE, Sight, View};
use crate::control::query::{Query, QueryError};
use crate::control::response::{Content, Response, Status};
use crate::env::{Env, Files};
use crate::limits;
use crate::log::{History, LogError, Part};
use crate::reactor::Reactor;
use crate::reactor::key::Key;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use std::time::{Duration, UNIX_EPOCH};

/// A log that is being sent.
pub(super) struct Reading {
    view: View,
    records: bool,
    /// It goes on with what comes.
    follows: bool,
    /// Bytes that went with their VM were passed over, and the format can't tell it.
    lacks: bool,
    /// The beginning of the last lines is looked for yet.
    search: Option<Search>,
}

/// Where the last lines begin.
struct Search {
    /// What lies before this was not looked at.
    at: u64,
    /// So many line ends are to be found.
    left: u64,
    /// It goes back no further.
    floor: u64,
    /// The line end that ends the log is the last line's own.
    is_at_end: bool,
}

/// Where it begins.
enum Begin {
    Oldest,
    Offset(u64),
    Since(Duration),
    Lines(u64),
}

/// What was asked for.
struct Wanted {
    begin: Begin,
    until: Option<Duration>,
    follows: bool,
    records: bool,
}

impl Wanted {
    fn read(query: &Query) -> Result<Wanted, QueryError> {
        let begins = [
            query.number("tail")?.map(Begin::Lines),
            query.number("offset")?.map(Begin::Offset),
            query.time("since")?.map(Begin::Since),
        ];
        let mut begins = begins.into_iter().flatten();
        let begin = begins.next().unwrap_or(Begin::Oldest);
        if begins.next().is_some() {
            let why = "of tail, offset and since one says where to begin";
            return Err(QueryError(why.into()));
        }
        let (until, follows) = (query.time("until")?, query.switch("follow")?.unwrap_or(false));
        if until.is_some() && follows {
            return Err(QueryError("until is an end, and follow has none".into()));
        }
        let format = query.one_of("format", &[("raw", false), ("records", true)])?;
        Ok(Wanted { begin, until, follows, records: format.unwrap_or(false) })
    }
}

impl<E: Env> Reactor<E> {
    pub(super) fn read_log(&mut self, id: &str, query: &Query, asker: &Asker) -> Answer {
        let Some(vm) = self.find(id) else { return no_such_vm(id).into() };
        let wanted = match Wanted::read(query) {
            Ok(wanted) => wanted,
            Err(error) => return error.response().into(),
        };
        let history = match self.open_history(vm.0) {
            Ok(Some(history)) => history,
            Ok(None) => return no_such_vm(id).into(),
            Err(error) => return not_read(&error).into(),
        };
        let end = self.table.get(vm.0).map_or(0, |slot| slot.log.offset());
        let until = match wanted.until {
            Some(time) => history.offset_after(time).unwrap_or(end).min(end),
            None if wanted.follows => u64::MAX,
            None => end,
        };
        let oldest = history.oldest_offset();
        let (mut offset, mut search) = (oldest, None);
        match wanted.begin {
            Begin::Oldest => {}
            Begin::Offset(asked) => offset = asked.min(end),
            // What comes later than now is not there yet.
            Begin::Since(time) if time > self.env.files().wall() => offset = end,
            Begin::Since(time) => offset = history.offset_at(time).unwrap_or(oldest),
            Begin::Lines(left) => {
                let at = until.min(end);
                let floor = oldest.max(at.saturating_sub(limits::CONTROL_TAIL_BYTES_MAX));
                search = Some(Search { at, left, floor, is_at_end: true });
            }
        }
        self.consoles.histories.insert(asker.key, history);
        if wanted.follows {
            self.watch_vm(vm.0, asker.key, false);
        }
        let view = View { vm: vm.0, offset, until, is_live: false };
        let (follows, records) = (wanted.follows, wanted.records);
        let content = if records { Content::JsonLines } else { Content::Octets };
        let reading = Reading { view, records, follows, lacks: false, search };
        Answer::Pieces(content, Body::Log(Box::new(reading)))
    }

    /// Appends the next piece of a log.
    pub(super) fn read_on(&mut self, reading: &mut Reading, key: Key, into: &mut Vec<u8>) -> Made {
        let stepped = match reading.search.take() {
            Some(search) => self.search_back(reading, search, key).map(|()| Made::More),
            None => self.send_piece(reading, key, into),
        };
        stepped.unwrap_or_else(|error| {
            // The answer has begun: its missing end is all that can tell.
            ::log::warn!("control: a log can't be read on: {error}");
            Made::Broken
        })
    }

    fn send_piece(
        &mut self,
        reading: &mut Reading,
        key: Key,
        into: &mut Vec<u8>,
    ) -> Result<Made, LogError> {
        let view = &mut reading.view;
        if view.offset >= view.until {
            return Ok(if reading.lacks { Made::Broken } else { Made::Ended });
        }
        let seen = self.look_at_vm(key, view, reading.records)?;
        for sight in &seen {
            match (sight, reading.records) {
                (Sight::Bytes { bytes, .. }, false) => into.extend_from_slice(bytes),
                (Sight::Missing { why, .. }, false) => reading.lacks |= *why == GONE,
                (sight, true) => into.extend(record(sight)),
            }
        }
        let is_gone = || self.consoles.get(view.vm).is_none_or(|watched| watched.is_gone);
        Ok(match seen.is_empty() {
            false => Made::More,
            true if reading.follows && !is_gone() => Made::Waits,
            // It is seriald that ends, not the log: whoever asks its successor can go on.
            true if reading.lacks || (reading.follows && self.stopping) => Made::Broken,
            true => Made::Ended,
        })
    }

    /// Looks through one piece before the last one.
    fn search_back(
        &mut self,
        reading: &mut Reading,
        mut search: Search,
        key: Key,
    ) -> Result<(), LogError> {
        let Some(mut history) = self.take_history(key, reading.view.vm)? else { return Ok(()) };
        let found = search.back(&mut history, self.env.files());
        self.consoles.histories.insert(key, history);
        match found? {
            Some(offset) => reading.view.offset = offset,
            None => reading.search = Some(search),
        }
        Ok(())
    }
}

impl Reading {
    /// Whose log it is.
    pub(super) fn vm(&self) -> Key {
        self.view.vm
    }

    /// The next byte.
    pub(super) fn place(&self) -> u64 {
        self.view.offset
    }
}

impl Search {
    /// Goes back by one piece: where the lines begin, once that is known.
    fn back<F: Files>(
        &mut self,
        history: &mut History<F>,
        files: &mut F,
    ) -> Result<Option<u64>, LogError> {
        if self.left == 0 || self.at <= self.floor {
            return Ok(Some(self.at.max(self.floor)));
        }
        let from = self.at.saturating_sub(limits::CONTROL_PIECE_BYTES as u64).max(self.floor);
        let (mut pieces, mut next) = (Vec::new(), from);
        while next < self.at {
            let read = history.read_at(files, next, self.at - next)?;
            let Some(last) = read.last() else { break };
            next = last.end();
            pieces.extend(read);
        }
        for piece in pieces.iter().rev() {
            let Part::Bytes(bytes) = &piece.part else { continue };
            for (at, _) in bytes.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
                let behind = piece.offset + at as u64 + 1;
                if std::mem::replace(&mut self.is_at_end, false) && behind == self.at {
                    continue;
                }
                self.left -= 1;
                if self.left == 0 {
                    return Ok(Some(behind));
                }
            }
        }
        self.is_at_end = false;
        self.at = from;
        Ok(None)
    }
}

fn record(sight: &Sight) -> Vec<u8> {
    let line = match sight {
        Sight::Bytes { offset, time, bytes } => {
            let time = time.map(|time| humantime::format_rfc3339_millis(UNIX_EPOCH + time));
            let time = time.map(|time| time.to_string());
            json!({"offset": offset, "time": time, "bytes": STANDARD.encode(bytes)})
        }
        Sight::Missing { offset, bytes, why } => {
            json!({"offset": offset, "missing": bytes, "why": why})
        }
    };
    let mut line = line.to_string().into_bytes();
    line.push(b'\n');
    line
}

pub(super) fn not_read(error: &LogError) -> Response {
    Response::error(Status::InternalError, "log_failed", &error.to_string())
}
