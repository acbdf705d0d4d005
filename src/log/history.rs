//! Reading a VM's console back, by its offsets, over all generations: no matter how often the log
//! was rotated, the collector restarted, or bytes were lost.
//!
//! Owns a log's directory and the map of its bytes. No lock is taken: the collector goes on
//! writing and rotating meanwhile.
//! **Invariant:** a byte is never told at another's offset. What was read is looked at again: where
//! a rotation came in between it is read anew. Only regular files with one name are read, and no
//! link is followed.

use super::error::{Cause, LogError, Step};
use super::map::{Absent, Backup, Found, Held, Item, Map, Stood};
use super::names::{Names, SUFFIXES};
use super::open::directory;
use super::ours::{Rights, read_from, stat_if_there};
use super::record::Record;
use crate::config::LogSpec;
use crate::env::{FileId, Files, Open, Stat};
use crate::limits::{
    HISTORY_EVENTS_MAX, HISTORY_HOLES_MAX, HISTORY_PARTS_MAX, HISTORY_READ_MAX, HISTORY_TRIES,
    KEEP_MAX, LOG_DIR_MODE,
};
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// What there is at an offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The first one.
    pub offset: u64,
    /// What there is from there on.
    pub part: Part,
}

/// Bytes, or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// What the guest printed.
    Bytes(Vec<u8>),
    /// Bytes that no file has.
    Missing(Missing),
}

/// Bytes that can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// How many.
    pub bytes: u64,
    /// Why.
    pub why: Absent,
}

impl Piece {
    /// The offset behind it.
    pub fn end(&self) -> u64 {
        self.offset
            + match &self.part {
                Part::Bytes(bytes) => bytes.len() as u64,
                Part::Missing(missing) => missing.bytes,
            }
    }
}

/// A log's history, as it was when it was opened or refreshed.
pub struct History<F: Files> {
    /// The log's path.
    path: PathBuf,
    /// Where they are.
    dir: F::Dir,
    /// Whose they are.
    rights: Rights,
    /// Another suffix of backups.
    suffix: Option<String>,
    /// Which byte is where.
    map: Map,
    /// What the map was made from.
    state: State,
    /// Longest events file that is read.
    events_max: u64,
    /// Whether any of its files was found.
    is_there: bool,
    /// Lines that the events file has not got yet, as long as it stands so.
    unwritten: (Vec<u8>, Option<(FileId, u64)>),
}

/// By what it is noticed that a map is no longer true.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct State {
    /// The events file and its size: every rotation has its line.
    events: Option<(FileId, u64)>,
    /// The copy of a log that is being rotated by copytruncate: the line comes after it.
    copied: Option<(FileId, u64)>,
}

/// Why a read was in vain.
enum Failure {
    /// The files were no longer what the map says.
    Changed,
    /// It can't be read.
    Error(LogError),
}

// Not derived: that would ask Debug of the whole environment.
impl<F: Files> fmt::Debug for History<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("History").field("path", &self.path).finish_non_exhaustive()
    }
}

impl<F: Files> History<F> {
    /// Opens the history of a log: of `spec` its path, root and owner count, and the suffix of
    /// `after_rotate`, if that is not one of the usual.
    ///
    /// # Errors
    /// There is no directory, or what is in it can't be read.
    pub fn open(env: &mut F, spec: &LogSpec) -> Result<Self, LogError> {
        Self::open_within(env, spec, HISTORY_EVENTS_MAX)
    }

    /// The same, for those who must not wait: with an events file of more than `events_max` bytes
    /// it is refused.
    ///
    /// # Errors
    /// As [`History::open`].
    pub fn open_within(env: &mut F, spec: &LogSpec, events_max: u64) -> Result<Self, LogError> {
        let path = &spec.path;
        let fail = |step, cause| LogError { path: path.to_owned(), step, cause };
        if path.file_name().and_then(|name| name.to_str()).is_none() {
            return Err(fail(Step::Open, Cause::NoName));
        }
        let parent = directory(path);
        // Opening makes it where it is absent, which a reader should not.
        let dir = match env.has_dir(parent) {
            true => env.open_dir(parent, spec.root.as_deref(), LOG_DIR_MODE),
            false => {
                let why = "it is not there, or not for this user to look at";
                Err(io::Error::new(io::ErrorKind::NotFound, why))
            }
        };
        let dir = dir.map_err(|error| LogError {
            path: parent.to_owned(),
            step: Step::FindDirectory,
            cause: Cause::Io(error),
        })?;
        let map = Map::new(&[], &Found::default());
        let suffix = spec.after_rotate.as_ref().map(|after| after.suffix.clone());
        let (path, rights, state) = (path.clone(), Rights::of(env, spec)?, State::default());
        let unwritten = (Vec::new(), None);
        let mut history = History {
            path,
            dir,
            rights,
            suffix,
            map,
            state,
            events_max,
            is_there: false,
            unwritten,
        };
        history.refresh(env)?;
        Ok(history)
    }

    /// The names beside the log.
    fn names(&self) -> Names<'_> {
        let name = self.path.file_name().and_then(|name| name.to_str());
        Names { log: name.unwrap_or_default() }
    }

    /// The offset behind the last byte.
    pub fn len(&self) -> u64 {
        self.map.len()
    }

    /// Whether nothing was ever printed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The offset of the first byte that is still there; [`History::len`] if none is.
    pub fn oldest_offset(&self) -> u64 {
        self.map.oldest_offset()
    }

    /// Why there is nothing to be read at all: no log, no backup of one, and no events file.
    pub fn absence(&self) -> Option<LogError> {
        let why = "there is no such log, nor anything that was left of one";
        let cause = io::Error::new(io::ErrorKind::NotFound, why);
        (!self.is_there).then(|| self.error(self.names().log, Step::Open, cause))
    }

    /// Whether there are events to go by. Without any the oldest plain backup is taken to begin at
    /// offset 0, and losses are not known.
    pub fn is_known(&self) -> bool {
        self.map.is_known()
    }

    /// Where the console stood at that time: the last record at or before it. `None`: there is no
    /// record that old.
    pub fn offset_at(&self, time: Duration) -> Option<u64> {
        self.map.offset_at(time)
    }

    /// When a byte was printed, or shortly before: the last record at or before it. `None`: there
    /// is
    /// no record that old.
    pub fn time_at(&self, offset: u64) -> Option<Duration> {
        self.map.time_at(offset)
    }

    /// Where the console stood at the first record after that time: what was printed by then lies
    /// before it. `None`: there is no later record.
    pub fn offset_after(&self, time: Duration) -> Option<u64> {
        self.map.offset_after(time)
    }

    /// The first offset behind this one of which [`History::time_at`] tells another time.
    pub fn next_time_after(&self, offset: u64) -> Option<u64> {
        self.map.next_time_after(offset)
    }

    /// What there is from `offset` on: at most `len` bytes, and at most
    /// [`HISTORY_READ_MAX`]. It may be less, and is nothing only at the end. What is missing is
    /// told whole,
    /// even if it reaches further than was asked for. To read on, take the last piece's end.
    ///
    /// # Errors
    /// A file can't be read, or rotations follow each other too fast.
    pub fn read_at(&mut self, env: &mut F, offset: u64, len: u64) -> Result<Vec<Piece>, LogError> {
        let len = len.min(HISTORY_READ_MAX);
        let mut items = self.map.items(offset, len, HISTORY_PARTS_MAX);
        for _ in 0..HISTORY_TRIES {
            let read = match self.read_items(env, &items) {
                Ok(read) => Some(read),
                Err(Failure::Changed) => None,
                Err(Failure::Error(error)) => return Err(error),
            };
            // Where nothing is recorded the map itself must tell.
            let is_same = self.is_known() && self.look(env)? == self.state;
            match read {
                Some(read) if is_same => return Ok(read),
                _ => self.refresh(env)?,
            }
            let until = items.last().map_or(offset, |item| item.span.end());
            let now = self.map.items(offset, len.min(until - offset), HISTORY_PARTS_MAX);
            match read {
                // More may have come meanwhile, but what was read stands.
                Some(read) if now == items => return Ok(read),
                _ => items = now,
            }
        }
        Err(self.error(self.names().log, Step::Read, io::ErrorKind::ResourceBusy.into()))
    }

    /// Goes by these lines too, which the events file has not got yet: without them nobody can tell
    /// what was lost or rotated while a disk was full. Whoever is in charge of the log knows them.
    ///
    /// # Errors
    /// As [`History::refresh`].
    pub fn know(&mut self, env: &mut F, unwritten: Vec<u8>) -> Result<(), LogError> {
        if unwritten.is_empty() && self.unwritten.0.is_empty() {
            return Ok(());
        }
        let known = (unwritten, self.look(env)?.events);
        if self.unwritten == known {
            return Ok(());
        }
        self.unwritten = known;
        self.refresh(env)
    }

    /// Brings the map up to date: what was printed since is there too.
    ///
    /// # Errors
    /// The events file, or what else is there, can't be read.
    pub fn refresh(&mut self, env: &mut F) -> Result<(), LogError> {
        for _ in 0..HISTORY_TRIES {
            let before = self.look(env)?;
            let events = match before.events {
                Some(events) => self.read_events(env, events)?,
                None => Some(Vec::new()),
            };
            let found = self.find(env, before.copied)?;
            // A rotation between the look at the events and at the files has left its line.
            let is_same = |history: &Self, env| history.look(env).is_ok_and(|now| now == before);
            if let Some(mut events) = events.filter(|_| is_same(self, env)) {
                let (unwritten, at) = &self.unwritten;
                // If it has changed, it has them by now.
                events.extend(unwritten.iter().filter(|_| *at == before.events));
                let records: Vec<Record> = Record::decode_all(&events).collect();
                (self.map, self.state) = (Map::new(&records, &found), before);
                self.is_there =
                    before.events.is_some() || found.log.is_some() || !found.backups.is_empty();
                return Ok(());
            }
        }
        Err(self.error(&self.names().events(), Step::Read, io::ErrorKind::ResourceBusy.into()))
    }

    /// How it stands now.
    fn look(&self, env: &mut F) -> Result<State, LogError> {
        let state = |stat: Stat| (stat.id, stat.size);
        let events = self.stat(env, &self.names().events())?.map(state);
        Ok(State { events, copied: self.stat(env, &self.names().copied())?.map(state) })
    }

    /// What a name stands for; `None`: it is free.
    fn stat(&self, env: &mut F, name: &str) -> Result<Option<Stat>, LogError> {
        let stat = stat_if_there(env, &self.dir, name);
        stat.map_err(|error| self.error(name, Step::Examine, error))
    }

    /// All of the events file; `None`: it is another one by now.
    fn read_events(
        &self,
        env: &mut F,
        (id, size): (FileId, u64),
    ) -> Result<Option<Vec<u8>>, LogError> {
        let name = self.names().events();
        let file = match self.open_file(env, &name, id.inode) {
            Ok(file) => file,
            Err(Failure::Changed) => return Ok(None),
            Err(Failure::Error(error)) => return Err(error),
        };
        if size > self.events_max {
            return Err(self.error(&name, Step::Read, io::ErrorKind::FileTooLarge.into()));
        }
        match self.read_bytes(env, &name, &file, 0, size) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(Failure::Changed) => Ok(None),
            Err(Failure::Error(error)) => Err(error),
        }
    }

    /// The files beside the log.
    fn find(&self, env: &mut F, copied: Option<(FileId, u64)>) -> Result<Found, LogError> {
        let mut found = Found { name: self.names().log.to_owned(), log: None, backups: Vec::new() };
        found.log = self.find_file(env, self.names().log)?;
        // A log that is not shorter than its copy still has all of it.
        let shorter = |(_, size): &(FileId, u64)| found.log.is_some_and(|log| log.size < *size);
        if copied.filter(shorter).is_some()
            && let Some(file) = self.find_file(env, &self.names().copied())?
        {
            let name = self.names().copied();
            found.backups.push(Backup { number: 0, name, packed: false, file });
        }
        let mut holes = 0;
        for number in 1..=KEEP_MAX {
            let before = found.backups.len();
            let own = self.suffix.as_deref().filter(|own| !SUFFIXES.contains(own));
            for suffix in [""].into_iter().chain(own).chain(SUFFIXES) {
                let name = self.names().backup(number) + suffix;
                if let Some(file) = self.find_file(env, &name)? {
                    let packed = !suffix.is_empty();
                    found.backups.push(Backup { number, name, packed, file });
                }
            }
            holes = if found.backups.len() > before { 0 } else { holes + 1 };
            if holes == HISTORY_HOLES_MAX {
                break;
            }
        }
        Ok(found)
    }

    /// A file that may be read.
    fn find_file(&self, env: &mut F, name: &str) -> Result<Option<Stood>, LogError> {
        let stat = self.stat(env, name)?.filter(|stat| self.rights.check(stat).is_ok());
        Ok(stat.map(|stat| Stood { inode: stat.id.inode, size: stat.size }))
    }

    /// Opens a file that was found before.
    fn open_file(&self, env: &mut F, name: &str, inode: u64) -> Result<F::File, Failure> {
        let fail = |step| {
            move |error: io::Error| match error.kind() {
                io::ErrorKind::NotFound => Failure::Changed,
                _ => Failure::Error(self.error(name, step, error)),
            }
        };
        let file = env.open(&self.dir, name, Open::Read).map_err(fail(Step::Open))?;
        let stat = env.stat(&file).map_err(fail(Step::Examine))?;
        if stat.id.inode != inode {
            return Err(Failure::Changed);
        }
        self.rights.check(&stat).map_err(|cause| {
            let path = self.path.with_file_name(name);
            match (LogError { path, step: Step::Open, cause }) {
                // It was removed after it was opened.
                gone if gone.is_not_found() => Failure::Changed,
                error => Failure::Error(error),
            }
        })?;
        Ok(file)
    }

    /// Reads what the map says.
    fn read_items(&self, env: &mut F, items: &[Item]) -> Result<Vec<Piece>, Failure> {
        let mut pieces = Vec::with_capacity(items.len());
        let mut open: Option<(u64, F::File)> = None;
        for item in items {
            let (offset, bytes) = (item.span.offset, item.span.len);
            let part = match (&item.span.held, item.inode) {
                (Held::Gap(why), packed) => {
                    if let (Absent::Packed(name), Some(inode)) = (why, packed) {
                        self.still_is(env, name, inode)?;
                    }
                    Part::Missing(Missing { bytes, why: why.clone() })
                }
                (Held::File(_), None) => Part::Missing(Missing { bytes, why: Absent::Unknown }),
                (Held::File(position), Some(inode)) => {
                    let name = self.map.name_of(inode).ok_or(Failure::Changed)?;
                    let file = match open.take().filter(|(own, _)| *own == inode) {
                        Some((_, file)) => file,
                        None => self.open_file(env, name, inode)?,
                    };
                    let read = self.read_bytes(env, name, &file, *position, bytes)?;
                    open = Some((inode, file));
                    Part::Bytes(read)
                }
            };
            pieces.push(Piece { offset, part });
        }
        Ok(pieces)
    }

    /// Looks whether a name is still that file's: one that is told, but not opened, may have been
    /// removed or shifted by a rotation whose line a crash ate.
    fn still_is(&self, env: &mut F, name: &str, inode: u64) -> Result<(), Failure> {
        let stat = self.stat(env, name).map_err(Failure::Error)?;
        let is_same = stat.is_some_and(|stat| stat.id.inode == inode);
        if is_same { Ok(()) } else { Err(Failure::Changed) }
    }

    /// Reads all of these bytes, which are there.
    fn read_bytes(
        &self,
        env: &mut F,
        name: &str,
        file: &F::File,
        position: u64,
        len: u64,
    ) -> Result<Vec<u8>, Failure> {
        let len = usize::try_from(len).unwrap_or(0);
        let bytes = read_from(env, file, position, len)
            .map_err(|error| Failure::Error(self.error(name, Step::Read, error)))?;
        // Somebody has cut it.
        if bytes.len() < len { Err(Failure::Changed) } else { Ok(bytes) }
    }

    fn error(&self, name: &str, step: Step, cause: io::Error) -> LogError {
        LogError { path: self.path.with_file_name(name), step, cause: Cause::Io(cause) }
    }
}
