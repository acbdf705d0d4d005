//! Keeping the beginnings of the last boots: see `boot` for the file.
//!
//! Owns `app.log.boot`, and the descriptor by which it grows. When a boot's first bytes come the
//! file is written anew, as `app.log.boot.new` and renamed, with the boots before it and their
//! exact lengths; from then on it is appended to until its head is full. A boot that printed
//! nothing leaves no trace.
//! **Invariant:** the log knows nothing of it: no failure here costs it a byte, a wait or a retry.
//! No memory is used but while a head grows, and then, while its file can't be written, for at
//! most `keep_boot_head` bytes. A head lacks no byte within. A successor begins no new boot: a
//! head that still grew at its start ends there.

use super::Log;
use super::boot::{HEADER_MAX, Head, heads};
use super::error::{LogError, Step};
use super::ours::{Purpose, read_from, write_all};
use super::retry::Retry;
use crate::env::{Files, Moment};
use crate::limits::{BOOT_HEAD_MAX, BOOTS_KEPT};
use std::time::Duration;

/// As much of a file as could be ours.
const FILE_MAX: usize = BOOTS_KEPT * (HEADER_MAX + BOOT_HEAD_MAX + 1);

/// The head of the present boot, while it is not complete.
#[derive(Debug)]
pub(super) struct Growing<File> {
    time: Duration,
    offset: u64,
    /// Boots before it that could not be written down at all.
    skipped: u64,
    /// The file, once this boot stands in it.
    file: Option<File>,
    /// Its bytes that are in the file.
    written: usize,
    /// Those that are not yet.
    pending: Vec<u8>,
    retry: Retry,
}

impl<File> Growing<File> {
    fn len(&self) -> usize {
        self.written + self.pending.len()
    }
}

impl<F: Files> Log<F> {
    /// A guest begins: what comes from now on is its output.
    pub fn begin_boot(&mut self, env: &mut F) {
        if self.terms.spec.keep_boot_head == 0 {
            return self.give_up_head();
        }
        let mut next = Growing {
            time: env.wall(),
            offset: self.offset(),
            skipped: 0,
            file: None,
            written: 0,
            pending: Vec::new(),
            retry: Retry::default(),
        };
        if let Some(before) = self.unrest.as_mut().and_then(|unrest| unrest.head.as_mut()) {
            if before.file.is_none() {
                next.skipped = before.skipped + u64::from(!before.pending.is_empty());
            }
            // What fails for boot after boot is one failure.
            next.retry = std::mem::take(&mut before.retry);
        }
        self.give_up_head();
        self.unrest().head = Some(Box::new(next));
    }

    /// Whether [`Log::keep_head`] is to be called with what comes.
    pub fn has_head(&self) -> bool {
        self.unrest.as_ref().is_some_and(|unrest| unrest.head.is_some())
    }

    /// The guest has printed `bytes`: they are kept aside as far as its boot's head has room.
    pub fn keep_head(&mut self, env: &mut F, bytes: &[u8], now: Moment) {
        let Some(mut head) = self.take_head() else { return };
        let most = self.terms.spec.keep_boot_head;
        let room = most.saturating_sub(head.len());
        head.pending.extend_from_slice(&bytes[..bytes.len().min(room)]);
        if head.retry.due().is_none_or(|due| due <= now) {
            self.write_head(env, &mut head, now);
        }
        if head.len() < most || !head.pending.is_empty() {
            self.unrest().head = Some(head);
        }
    }

    /// The log is closed, or its successor begins: what can't be written by now is lost.
    pub(super) fn end_head(&mut self, env: &mut F, now: Moment) {
        if let Some(mut head) = self.take_head() {
            self.write_head(env, &mut head, now);
            self.unrest().head = Some(head);
        }
        self.give_up_head();
    }

    /// Bytes of a head that are in no file yet.
    pub(super) fn head_pending(&self) -> u64 {
        let head = self.unrest.as_ref().and_then(|unrest| unrest.head.as_ref());
        head.map_or(0, |head| head.pending.len() as u64)
    }

    fn take_head(&mut self) -> Option<Box<Growing<F::File>>> {
        self.unrest.as_mut()?.head.take()
    }

    /// Ends the head that grows. The file says no length of it: it has what was written.
    fn give_up_head(&mut self) {
        let lost = self.head_pending();
        if lost > 0 {
            self.count().lost_boot_head += lost;
        }
        self.take_head();
    }

    /// Writes what waits; a failure is noted.
    fn write_head(&self, env: &mut F, head: &mut Growing<F::File>, now: Moment) {
        if head.pending.is_empty() {
            return;
        }
        match self.write_pending(env, head) {
            Ok(()) => {
                if head.retry.succeed() {
                    let path = self.path().with_file_name(self.names().boot());
                    ::log::info!("{}: written again", path.display());
                }
            }
            Err(error) => {
                if head.retry.fail(now) {
                    let lost = self.counters().lost_boot_head;
                    ::log::warn!("{error} ({lost} bytes of boots' beginnings lost so far)");
                }
            }
        }
    }

    fn write_pending(&self, env: &mut F, head: &mut Growing<F::File>) -> Result<(), LogError> {
        let file = match head.file.take() {
            Some(file) => file,
            None => self.begin_file(env, head)?,
        };
        let (written, result) = write_all(env, &file, &head.pending);
        head.written += written;
        head.pending.drain(..written);
        head.file = Some(file);
        result.map_err(|error| self.error(&self.names().boot(), Step::Write, error))
    }

    /// Writes the file anew: the boots before, and this one's line.
    fn begin_file(&self, env: &mut F, head: &Growing<F::File>) -> Result<F::File, LogError> {
        let old = self.read_boots(env)?;
        let before = heads(&old);
        let kept = &before[before.len().saturating_sub(BOOTS_KEPT - 1)..];
        let mut bytes = Vec::new();
        for old in kept {
            let short = &old.bytes[..old.bytes.len().min(BOOT_HEAD_MAX)];
            Head { bytes: short, ..*old }.encode_into(&mut bytes);
        }
        let last = before.last().map_or(0, |last| last.boot);
        let boot = last.saturating_add(head.skipped).saturating_add(1);
        bytes.extend_from_slice(Head::open_line(boot, head.time, head.offset).as_bytes());
        let made = self.make_boots(env, &bytes);
        if made.is_err() {
            // The next try begins with the same: that it is here no longer matters.
            let _ = self.remove(env, &self.names().boot_new());
        }
        made
    }

    fn make_boots(&self, env: &mut F, bytes: &[u8]) -> Result<F::File, LogError> {
        let (new, name) = (self.names().boot_new(), self.names().boot());
        self.remove(env, &new)?;
        let (file, _) = self.open_beside(env, &new, Purpose::MakeToAppend)?;
        let written = write_all(env, &file, bytes).1;
        written.map_err(|error| self.error(&new, Step::Write, error))?;
        self.rename(env, &new, &name)?;
        Ok(file)
    }

    /// The file as it is; nothing if there is none.
    fn read_boots(&self, env: &mut F) -> Result<Vec<u8>, LogError> {
        let name = self.names().boot();
        let (file, stat) = match self.open_beside(env, &name, Purpose::Read) {
            Err(error) if error.is_not_found() => return Ok(Vec::new()),
            opened => opened?,
        };
        let len = usize::try_from(stat.size).unwrap_or(FILE_MAX).min(FILE_MAX);
        let bytes = read_from(env, &file, 0, len);
        bytes.map_err(|error| self.error(&name, Step::Examine, error))
    }

    /// When the last byte was appended, by the wall clock, as far as the files tell: before
    /// anything was appended by us, whether a predecessor has heard this guest.
    pub fn last_written(&self, env: &mut F) -> Option<Duration> {
        let stat = env.stat(&self.file).ok()?;
        let stat = match stat.size {
            // A packed one has kept its time.
            0 => self.backup(env, 1).ok()??.stat,
            _ => stat,
        };
        Some(env.wall().saturating_sub(stat.age))
    }
}
