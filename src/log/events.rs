//! The events file: the truth about a log's offsets, times and losses, out of the guest's reach.
//!
//! Owns the file and the lines that could not be written yet.
//! **Invariant:** never in the log's way: a line that can't be written waits, and one that can't
//! wait is dropped; then an `unknown` says so once lines can be written again. The file is bounded.

use super::Log;
use super::error::{LogError, Step};
use super::learn::{self, Seen, Standing};
use super::ours::{Purpose, read_from, write_all};
use super::record::{Generation, Record, What};
use super::retry::Retry;
use super::rotate::Stage;
use super::thin::thin;
use crate::env::{Files, Moment, Stat};
use crate::limits::{EVENTS_BYTES, EVENTS_BYTES_PER_BACKUP, EVENTS_PENDING_MAX};
use std::io;
use std::time::Duration;

/// What is read at once of the end of an events file, and of more than that if need be, in bytes.
const TAIL_CHUNK: u64 = 8 * 1024;

/// Longest events file that is looked at, in bytes: ours are far shorter.
const READ_MAX: u64 = 16 * 1024 * 1024;

/// What the events file does not say yet.
#[derive(Default)]
pub(super) struct Unsaid {
    /// What happened, with the offset and the size that the log had then.
    queue: Vec<(u64, u64, What)>,
    /// Lines that could not be written yet.
    pub pending: Vec<u8>,
    /// Bytes whose loss those lines tell.
    pub losses: u64,
    /// Lines that tell of rotations or losses were dropped.
    pub broken: bool,
    /// The file is thinned out when it has this size, if that is not the usual one: it was tried.
    thin_at: Option<u64>,
    /// Of the writing.
    pub retry: Retry,
}

impl Unsaid {
    /// What a predecessor has left.
    pub(super) fn left(pending: Vec<u8>, losses: u64, broken: bool) -> Self {
        Unsaid { pending, losses, broken, ..Unsaid::default() }
    }

    /// All is said.
    pub(super) fn is_over(&self, now: Moment) -> bool {
        let said = self.queue.is_empty() && self.pending.is_empty() && !self.broken;
        said && self.thin_at.is_none() && self.retry.is_over(now)
    }
}

impl<F: Files> Log<F> {
    /// Notes what happened; it never fails, and never keeps the log from being written.
    pub fn note(&mut self, env: &mut F, what: What, now: Moment) {
        if self.held_bytes() == 0 && self.writing_due().is_none() {
            // What was dropped came before it.
            self.record_losses();
        }
        self.happened(what);
        self.say(env, now);
    }

    /// Queues what happened, at the offset and the size that the log has now.
    pub(super) fn happened(&mut self, what: What) {
        self.happened_at(self.base + self.size, self.size, what);
    }

    /// The same, at another place.
    pub(super) fn happened_at(&mut self, offset: u64, size: u64, what: What) {
        self.unsaid().queue.push((offset, size, what));
    }

    /// Writes down what happened, as far as that goes.
    pub(super) fn say(&mut self, env: &mut F, now: Moment) {
        let Some(unrest) = &mut self.unrest else { return };
        let queue = std::mem::take(&mut unrest.unsaid.queue);
        if !queue.is_empty() {
            let time = env.wall();
            for (offset, size, what) in queue {
                if self.unsaid().pending.len() > EVENTS_PENDING_MAX {
                    self.try_to_write_events(env, now);
                }
                self.keep_line(Record { time, offset, size, what });
            }
        }
        self.try_to_write_events(env, now);
        self.rest(now);
    }

    fn unsaid(&mut self) -> &mut Unsaid {
        &mut self.unrest().unsaid
    }

    fn try_to_write_events(&mut self, env: &mut F, now: Moment) {
        let unsaid = self.unsaid();
        if unsaid.pending.is_empty() && !unsaid.broken {
            return;
        }
        if unsaid.retry.due().is_some() {
            return;
        }
        match self.write_events(env) {
            Ok(()) => {
                if self.unsaid().retry.succeed() {
                    ::log::info!("events of log {}: written again", self.shown());
                }
            }
            Err(error) => {
                if self.unsaid().retry.fail(now) {
                    ::log::warn!("{error}");
                }
            }
        }
    }

    /// Puts a line behind those that wait, if there is room for one of its kind.
    fn keep_line(&mut self, record: Record) {
        let is_needed = matches!(
            record.what,
            What::Adopted { .. }
                | What::Rotated(_)
                | What::Moved(_)
                | What::Packed { .. }
                | What::Truncated { .. }
                | What::Lost(_)
                | What::Unknown { .. }
        );
        let most = if is_needed { EVENTS_PENDING_MAX * 2 } else { EVENTS_PENDING_MAX };
        let line = record.encode();
        let unsaid = self.unsaid();
        if unsaid.pending.len() + line.len() <= most {
            unsaid.pending.extend_from_slice(line.as_bytes());
            if let What::Lost(loss) = &record.what {
                unsaid.losses += loss.bytes;
            }
        } else {
            unsaid.broken |= is_needed;
        }
    }

    /// What is said behind lines that were dropped.
    pub(super) fn gap_lines(&self, env: &mut F) -> [Record; 2] {
        let why = "lines were dropped while the events file could not be written".into();
        let time = env.wall();
        let (offset, size) = (self.base + self.size, self.size);
        [self.unknown(why), self.adopted(env)].map(|what| Record { time, offset, size, what })
    }

    fn write_events(&mut self, env: &mut F) -> Result<(), LogError> {
        if self.events.is_none() {
            self.open_events(env)?;
        }
        self.write_pending_events(env)?;
        if std::mem::take(&mut self.unsaid().broken) {
            // What waited was written before the gap.
            for record in self.gap_lines(env) {
                self.keep_line(record);
            }
            self.write_pending_events(env)?;
        }
        let max = self.events_max();
        if self.events_size >= self.unsaid().thin_at.unwrap_or(max) {
            self.thin_events(env)?;
        }
        Ok(())
    }

    fn write_pending_events(&mut self, env: &mut F) -> Result<(), LogError> {
        let (Some(file), Some(unrest)) = (&self.events, &mut self.unrest) else { return Ok(()) };
        let unsaid = &mut unrest.unsaid;
        let (done, written) = write_all(env, file, &unsaid.pending);
        self.events_size += done as u64;
        if let Err(failure) = written {
            // A line that is cut is written anew, whole, behind the end of what there is of it:
            // whoever goes on, a successor perhaps, then finds no half of one.
            let ends = unsaid.pending[..done].iter().rposition(|byte| *byte == b'\n');
            let lacks_its_end_alone = unsaid.pending[done..].first() == Some(&b'\n');
            let whole = if lacks_its_end_alone { done } else { ends.map_or(0, |end| end + 1) };
            unsaid.pending.drain(..whole);
            if done > whole {
                unsaid.pending.insert(0, b'\n');
            }
            return Err(self.error(&self.names().events(), Step::Write, failure));
        }
        (unsaid.pending, unsaid.losses) = (Vec::new(), 0);
        Ok(())
    }

    /// How long the events file may become.
    fn events_max(&self) -> u64 {
        EVENTS_BYTES + EVENTS_BYTES_PER_BACKUP * u64::from(self.terms.spec.keep)
    }

    /// Opens the file; whether it is of use is for the caller to find out.
    fn open_events(&mut self, env: &mut F) -> Result<(), LogError> {
        let name = self.names().events();
        let (file, stat) = self.open_beside(env, &name, Purpose::Append)?;
        let size = stat.size;
        let mut last = [0];
        let read = if size == 0 { Ok(0) } else { env.read_at(&file, size - 1, &mut last) };
        let read = read.map_err(|error| self.error(&name, Step::Examine, error))?;
        if read == 1 && last != *b"\n" {
            // A line that was torn by a crash spoils no other.
            self.unsaid().pending.insert(0, b'\n');
        }
        (self.events, self.events_inode, self.events_size) = (Some(file), stat.id.inode, size);
        if let Some(unrest) = &mut self.unrest {
            unrest.unsaid.thin_at = None;
        }
        Ok(())
    }

    /// Writes the file anew without what is no longer worth its room.
    fn thin_events(&mut self, env: &mut F) -> Result<(), LogError> {
        let max = self.events_max();
        // Should it fail, the next attempt is not with the next line.
        self.unsaid().thin_at = Some(self.events_size + max / 4);
        let whole = self.read_events(env, READ_MAX)?;
        let kept =
            thin(Record::decode_all(&whole).collect(), self.terms.spec.keep as usize, max / 2);
        let (name, new) = (self.names().events(), self.names().events_new());
        self.remove(env, &new)?;
        let (file, stat) = self.open_beside(env, &new, Purpose::MakeToAppend)?;
        let text: String = kept.iter().map(Record::encode).collect();
        let (done, written) = write_all(env, &file, text.as_bytes());
        let written = written.map_err(|error| self.error(&new, Step::Write, error));
        if let Err(error) = written.and_then(|()| self.rename(env, &new, &name)) {
            // The next attempt removes it too; the disk may be short of that room.
            let _ = self.remove(env, &new);
            return Err(error);
        }
        let size = done as u64;
        (self.events, self.events_inode, self.events_size) = (Some(file), stat.id.inode, size);
        // One that can't be thinned out below its limit is not written anew with every line.
        self.unsaid().thin_at = Some(size + max / 4).filter(|at| *at > max);
        Ok(())
    }

    /// The last bytes of the file, at most `most`.
    fn read_events(&self, env: &mut F, most: u64) -> Result<Vec<u8>, LogError> {
        let Some(file) = &self.events else { return Ok(Vec::new()) };
        let from = self.events_size.saturating_sub(most.min(READ_MAX));
        let len = usize::try_from(self.events_size - from).unwrap_or(0);
        let bytes = read_from(env, file, from, len);
        bytes.map_err(|error| self.error(&self.names().events(), Step::Examine, error))
    }

    /// Finds out which offsets the log has, and notes that it is in charge. `copy`: a complete copy
    /// that is to be the newest backup, after the log was truncated.
    ///
    /// # Errors
    /// Descriptors or memory are short, or the newest backup can't be looked at: what is known
    /// can't be read just now, and to begin anew would throw it away.
    pub(super) fn begin_history(
        &mut self,
        env: &mut F,
        copy: Option<Seen>,
        now: Moment,
    ) -> Result<(), LogError> {
        let mut why = "there is no events file that tells what was before".to_owned();
        let tail = match self.open_events(env).and_then(|()| self.read_tail(env)) {
            Ok(tail) => tail,
            Err(error) if error.is_shortage() => return Err(error),
            Err(error) => {
                why = format!("the events file could not be read: {}", error.cause);
                if self.unsaid().retry.fail(now) {
                    ::log::warn!("{error}");
                }
                None
            }
        };
        let log = Seen { inode: self.id.inode, size: self.size, modified: Duration::ZERO };
        let newest = match copy {
            // One that can't be looked at now would be taken for a new one at the next start.
            None => self.newest_left(env)?,
            copy => copy,
        };
        let standing = tail.and_then(|tail| learn::learn(&tail, log, newest));
        match standing {
            Some(Standing { generation, start, base, missed }) => {
                self.generation = generation;
                self.stand_at(start, base);
                if let Some(missed) = missed {
                    self.happened(missed);
                }
            }
            None => self.begin_unknown(env, copy, why),
        }
        self.happened(self.adopted_with(newest.map(|newest| newest.inode)));
        self.say(env, now);
        Ok(())
    }

    /// The newest backup that was not packed. One that was, and could not be removed, is none: its
    /// packed file is what the lines know, and it would be taken for one that they don't.
    fn newest_left(&self, env: &mut F) -> Result<Option<Seen>, LogError> {
        let keep = self.terms.spec.keep;
        let newest = self.look_at(env, &self.names().aside(keep))?;
        if newest.is_some()
            && keep > 0
            && let Some(first) = self.backup(env, 1)?
            && self.is_replaced(env, &first)?
        {
            return Ok(None);
        }
        Ok(newest)
    }

    /// The lines from the last one on that says which generation is written.
    fn read_tail(&self, env: &mut F) -> Result<Option<Vec<Record>>, LogError> {
        let mut most = TAIL_CHUNK;
        loop {
            let bytes = self.read_events(env, most)?;
            if let Some(tail) = learn::tail(&bytes) {
                return Ok(Some(tail));
            }
            if most >= self.events_size || most >= READ_MAX {
                return Ok(None);
            }
            most *= 4;
        }
    }

    /// No line is of use: the oldest byte that is there has the offset 0. That is said if there
    /// are bytes, or lines that could not be read.
    fn begin_unknown(&mut self, env: &mut F, copy: Option<Seen>, why: String) {
        let backups = self.raw_backups(env, copy);
        let mut end = 0;
        let count = backups.len() as u64;
        self.generation = count + 1;
        self.stand_at(0, 0);
        let lines = self.look_at(env, &self.names().events());
        // Where it can't be told there may be some.
        let has_lines = lines.is_err() || lines.is_ok_and(|seen| seen.is_some_and(|s| s.size > 0));
        if count == 0 && self.size == 0 && !has_lines {
            return;
        }
        let inode = self.id.inode;
        let oldest = backups.last().map_or(inode, |backup| backup.inode);
        self.happened_at(0, 0, What::Unknown { generation: 1, start: 0, inode: oldest, why });
        for (at, backup) in (1..).zip(backups.into_iter().rev()) {
            let start = end;
            end += backup.size;
            let (generation, bytes) = (at, backup.size);
            let whole = Generation {
                generation,
                start,
                end,
                bytes,
                inode: backup.inode,
                next_inode: inode,
                newest: None,
            };
            self.happened_at(end, 0, What::Rotated(whole));
        }
        self.stand_at(end, end);
    }

    /// The backups from the newest on, as far as they are what was written.
    fn raw_backups(&self, env: &mut F, copy: Option<Seen>) -> Vec<Seen> {
        let numbers = 1..=self.terms.spec.keep;
        let found = numbers.map_while(|number| self.seen(env, &self.names().backup(number)));
        copy.into_iter().chain(found).collect()
    }

    /// The events file was removed or replaced while we wrote to it: what is known is written down
    /// anew. What was lost in older generations is not.
    fn rebuild_events(&mut self, env: &mut F) {
        let backups = self.raw_backups(env, None);
        let mut end = self.first_offset();
        let mut lines = Vec::new();
        for (generation, backup) in (1..self.generation).rev().zip(backups) {
            let Some(start) = end.checked_sub(backup.size) else { break };
            let (bytes, inode) = (backup.size, backup.inode);
            let next_inode = self.id.inode;
            let whole =
                Generation { generation, start, end, bytes, inode, next_inode, newest: None };
            lines.push((end, 0, What::Rotated(whole)));
            end = start;
        }
        let oldest = lines.last().map_or(self.generation, |(_, _, what)| match what {
            What::Rotated(whole) => whole.generation,
            _ => self.generation,
        });
        let why = "the events file was removed".into();
        let inode = self.id.inode;
        let unknown = What::Unknown { generation: oldest, start: end, inode, why };
        self.happened_at(end, 0, unknown);
        self.unsaid().queue.extend(lines.into_iter().rev());
        let adopted = self.adopted(env);
        self.happened(adopted);
    }

    /// The number of the generation whose file, as it was completed, had this inode.
    pub(super) fn generation_of(&self, env: &mut F, inode: u64) -> Option<u64> {
        let of_file = |what: &What| match what {
            What::Rotated(whole) | What::Moved(whole) if whole.inode == inode => {
                Some(whole.generation)
            }
            _ => None,
        };
        let of_record = |record: Record| of_file(&record.what);
        // The newest first, those whose lines wait too: an older one may have had the same inode.
        let unsaid = self.unrest.as_ref().map(|unrest| &unrest.unsaid);
        let queued = unsaid
            .and_then(|unsaid| unsaid.queue.iter().rev().find_map(|(_, _, what)| of_file(what)));
        let waiting = || Record::decode_all(&unsaid?.pending).filter_map(of_record).last();
        queued.or_else(waiting).or_else(|| {
            let whole = self.read_events(env, READ_MAX).ok()?;
            Record::decode_all(&whole).filter_map(of_record).last()
        })
    }

    /// Looks whether the events file is still there.
    pub(super) fn check_events(&mut self, env: &mut F) {
        if self.events.is_none() {
            return;
        }
        match env.stat_at(&self.dir, &self.names().events()) {
            Ok(stat) if stat.id.inode == self.events_inode && stat.size >= self.events_size => {
                self.events_size = stat.size;
                return;
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // A failure to look is no reason to write anew.
            Err(_) => return,
        }
        ::log::info!("events of log {}: were moved, begun anew", self.shown());
        self.events = None;
        self.rebuild_events(env);
    }

    /// The line by which a successor begins.
    pub(super) fn adopted(&self, env: &mut F) -> What {
        let newest = self.newest(env);
        self.adopted_with(newest)
    }

    fn adopted_with(&self, newest: Option<u64>) -> What {
        let (generation, start) = (self.generation, self.first_offset());
        What::Adopted { generation, start, inode: self.id.inode, newest }
    }

    /// The newest backup's inode: the copy's, while that has yet to get its number.
    pub(super) fn newest(&self, env: &mut F) -> Option<u64> {
        let copy = match self.stage() {
            Stage::Placing { .. } => self.seen(env, &self.names().copied()),
            _ => None,
        };
        let aside = self.names().aside(self.terms.spec.keep);
        copy.or_else(|| self.seen(env, &aside)).map(|seen| seen.inode)
    }

    fn unknown(&self, why: String) -> What {
        let (generation, start) = (self.generation, self.first_offset());
        What::Unknown { generation, start, inode: self.id.inode, why }
    }

    /// A file beside the log, as far as it can be looked at.
    pub(super) fn seen(&self, env: &mut F, name: &str) -> Option<Seen> {
        self.look_at(env, name).ok().flatten()
    }

    pub(super) fn look_at(&self, env: &mut F, name: &str) -> Result<Option<Seen>, LogError> {
        let stat = self.stat_name(env, name)?.filter(|stat| stat.regular);
        let seen =
            |stat: Stat| Seen { inode: stat.id.inode, size: stat.size, modified: stat.modified };
        Ok(stat.map(seen))
    }

    /// The generation that is written, as it would be if it ended here.
    pub(super) fn whole(&self, bytes: u64, inode: u64, next_inode: u64) -> Generation {
        let (generation, start) = (self.generation, self.first_offset());
        let end = self.base + bytes;
        Generation { generation, start, end, bytes, inode, next_inode, newest: None }
    }

    /// The next generation begins behind `whole`.
    pub(super) fn begin_generation(&mut self, whole: &Generation) {
        self.generation = whole.generation + 1;
        self.stand_at(whole.end, whole.end);
    }
}
