//! A log read from its files, where no seriald answers.
//!
//! Owns the way to the place where reading begins.
//! **Invariant:** reads only; a collector may write and rotate meanwhile. The search for the last
//! lines ends at the oldest byte that is still there.

use super::show::Piece;
use seriald::config::LogSpec;
use seriald::env::Files as _;
use seriald::env::os::OsFiles;
use seriald::limits::HISTORY_READ_MAX;
use seriald::log::{Absent, History, LogError, Part};
use std::time::Duration;

/// Read at once, going back for the last lines.
const STEP: u64 = 64 * 1024;

/// Where reading begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// With the first byte of all.
    Start,
    /// With this many lines before the end.
    Lines(u64),
    /// With what was printed at this time.
    Time(Duration),
    /// With this byte.
    Offset(u64),
}

/// The files of one log, and how far they were read.
pub struct Files {
    env: OsFiles,
    history: History<OsFiles>,
    at: u64,
    /// Where it ends; `None`: with the last byte that there is.
    until: Option<u64>,
}

impl Files {
    /// Opens a log and goes to where reading begins.
    ///
    /// # Errors
    /// There is no such log, or something of it can't be read.
    pub fn open(spec: &LogSpec, from: Begin, until: Option<Duration>) -> Result<Files, LogError> {
        let mut env = OsFiles::default();
        let history = History::open(&mut env, spec)?;
        if let Some(error) = history.absence() {
            return Err(error);
        }
        let until = until.map(|until| history.offset_after(until).unwrap_or(history.len()));
        let mut files = Files { env, history, at: 0, until };
        files.at = match from {
            Begin::Start => 0,
            Begin::Offset(offset) => offset,
            // What comes later than now is not there.
            Begin::Time(time) if time > files.env.wall() => files.history.len(),
            Begin::Time(time) => match files.history.offset_at(time) {
                Some(offset) => offset,
                None => files.history.oldest_offset(),
            },
            Begin::Lines(lines) => files.last_lines(lines)?,
        };
        Ok(files)
    }

    /// What comes next; nothing: that was all for now.
    ///
    /// # Errors
    /// A file can't be read.
    pub fn read(&mut self) -> Result<Vec<Piece>, LogError> {
        let end = self.until.unwrap_or(u64::MAX);
        let len = end.saturating_sub(self.at).min(HISTORY_READ_MAX);
        let mut pieces = self.pieces(self.at, len)?;
        if pieces.is_empty() && self.until.is_none() {
            self.history.refresh(&mut self.env)?;
            pieces = self.pieces(self.at, len)?;
        }
        self.at = pieces.last().map_or(self.at, Piece::end);
        Ok(pieces)
    }

    fn pieces(&mut self, at: u64, len: u64) -> Result<Vec<Piece>, LogError> {
        let read = self.history.read_at(&mut self.env, at, len)?;
        let piece = |piece: seriald::log::Piece| match piece.part {
            Part::Bytes(bytes) => self.dated(piece.offset, &bytes),
            Part::Missing(missing) => {
                let (bytes, why) = (missing.bytes, why(&missing.why));
                vec![Piece::Missing { offset: piece.offset, bytes, why }]
            }
        };
        Ok(read.into_iter().flat_map(piece).collect())
    }

    /// The bytes by their times: a piece for each.
    fn dated(&self, offset: u64, bytes: &[u8]) -> Vec<Piece> {
        let (mut pieces, mut from) = (Vec::new(), 0);
        let time_at = |at: usize| self.history.time_at(offset + at as u64);
        while from < bytes.len() {
            let time = time_at(from);
            // Times only go on at a record: there is one at most in each line, as a rule.
            let next = (from + 1..bytes.len())
                .find(|at| bytes[at - 1] == b'\n' && time_at(*at) != time)
                .unwrap_or(bytes.len());
            let piece = bytes[from..next].to_vec();
            pieces.push(Piece::Bytes { offset: offset + from as u64, time, bytes: piece });
            from = next;
        }
        pieces
    }

    /// Where so many lines before the end begin. The last may have no newline yet.
    fn last_lines(&mut self, lines: u64) -> Result<u64, LogError> {
        let end = self.until.unwrap_or(self.history.len());
        let oldest = self.history.oldest_offset().min(end);
        let (mut left, mut at) = (lines, end);
        if lines == 0 {
            return Ok(end);
        }
        while at > oldest {
            let from = at.saturating_sub(STEP).max(oldest);
            let mut pieces = self.history.read_at(&mut self.env, from, at - from)?;
            while let Some(piece) = pieces.pop() {
                let Part::Bytes(bytes) = &piece.part else { continue };
                for (index, _) in bytes.iter().enumerate().rev().filter(|(_, b)| **b == b'\n') {
                    let begin = piece.offset + index as u64 + 1;
                    // The newline at the end ends the last line and begins none.
                    if begin == end {
                        continue;
                    }
                    left -= 1;
                    if left == 0 {
                        return Ok(begin);
                    }
                }
            }
            at = from;
        }
        Ok(oldest)
    }
}

/// Why bytes are missing: the word that the API has for it, or where they are.
fn why(absent: &Absent) -> String {
    match absent {
        Absent::Packed(name) => format!("they are packed in {name}"),
        other => other.word().to_owned(),
    }
}
