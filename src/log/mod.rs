//! One VM's log: append, rotation, retention, and what is held while the disk is full.
//!
//! Owns the log's descriptor, its directory's, and every name that `names` makes. Read `cut`,
//! then `append`, `rotate` and `copytruncate`; `recover` says what a crash may leave behind.
//! **Invariant:** a byte that was appended is in exactly one generation, in order, or is held, or
//! is counted in [`Counters::lost_bytes`], whatever call fails, at whatever step a crash comes.
//! No clock is read: `now` is always passed in.

mod after;
mod append;
mod backups;
pub mod boot;
mod copytruncate;
mod cut;
mod dropped;
mod error;
mod events;
mod heads;
mod held;
mod hex;
mod history;
mod learn;
mod map;
mod names;
mod open;
mod ours;
mod reconfigure;
pub mod record;
mod recover;
mod retention;
mod retry;
mod rotate;
mod saved;
mod terms;
mod thin;
mod unrest;

#[cfg(test)]
mod tests;

pub use after::Work;
pub use error::{Cause, LogError, Step};
pub use held::Gap;
pub use history::{History, Missing, Part, Piece};
pub use map::Absent;
pub use names::log_beside;
pub use open::{id_at, size_at};
pub use saved::{OpenLog, Rotation, SavedLog};
pub use terms::Terms;

use crate::config::VmPaths;
use crate::env::{FileId, Files, Moment, Stamp};
use held::Held;
use names::Names;
use rotate::Why;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use unrest::Unrest;

/// What has happened to a log since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Counters {
    /// Bytes that are in a file.
    pub written_bytes: u64,
    /// Generations that were completed.
    pub rotations: u64,
    /// Times that a rotation, or a reopening, failed at some step; it is retried.
    pub rotation_failures: u64,
    /// Times that a write failed; what it left is held and retried.
    pub write_failures: u64,
    /// Bytes that were read and are in no file: dropped for want of room in the held buffer, for a
    /// rate limit, at the close, or by a crash.
    pub lost_bytes: u64,
    /// Those of `lost_bytes` that were dropped because rotation kept failing, not writing.
    pub lost_rotation_failed: u64,
    /// Those of `lost_bytes` that were above the VM's own rate.
    pub lost_rate_limit: u64,
    /// Those of `lost_bytes` that were above the host's rate.
    pub lost_host_rate_limit: u64,
    /// Those of `lost_bytes` that a predecessor held, or had read, when it crashed.
    pub lost_crash: u64,
    /// Those of `lost_bytes` that could still not be written when the log was closed.
    pub lost_closed: u64,
    /// Bytes of boots' beginnings that could not be kept aside. They are not lost to the log.
    pub lost_boot_head: u64,
    /// Times that somebody moved or deleted the log, and it was opened anew.
    pub reopened: u64,
    /// Times that the log was found shorter than what we had written.
    pub truncated_outside: u64,
    /// Backups that were replaced by what `after_rotate` made of them.
    pub packed: u64,
    /// Times that this failed; the backup then stays as it is.
    pub after_rotate_failures: u64,
    /// Times that backups were brought to the disk.
    pub syncs: u64,
    /// Times that this failed.
    pub sync_failures: u64,
}

/// One VM's log. Ten thousand of them are open on one host: what few need is boxed, and what every
/// append needs comes first, in this order.
#[repr(C)]
pub struct Log<F: Files> {
    /// What it is to be.
    terms: Arc<Terms>,
    /// What is not well and done; `None`: all is.
    unrest: Option<Box<Unrest<F::File>>>,
    /// The size of `file`, as far as we know: others may truncate it.
    size: u64,
    /// When the name is looked at next, if an append comes then.
    check_at: Stamp,
    /// When the time is noted next, if an append comes then.
    mark_at: Stamp,
    /// When the current generation is too old; `None` while it is empty.
    age_due: Option<Stamp>,
    /// See [`Counters`].
    written_bytes: u64,
    /// What few logs have, from the first of it on.
    extra: Option<Box<Extra>>,
    /// The current generation, or the last one while its successor can't be opened.
    file: F::File,
    /// Where all the names are.
    dir: F::Dir,
    /// Where its events go; `None`: that could not be opened yet.
    events: Option<F::File>,
    /// By this it is older or younger than others: see `open`.
    jitter: u16,
    /// How often [`MARK_BYTES`](crate::limits::MARK_BYTES) had been written at the last mark, in
    /// the lowest bits; of none it is what makes the next byte's one.
    marked: u16,
    /// Where it is, and its VM's id and sockets.
    paths: VmPaths,
    /// What `file` is.
    id: FileId,
    /// The number of this generation.
    generation: u64,
    /// The offset of the next byte that is written, less `size`.
    base: u64,
    /// The inode of the events file; its device is the directory's.
    events_inode: u64,
    /// The events file's size.
    events_size: u64,
    /// See [`Counters`].
    rotations: u64,
}

/// What few logs have, and keep.
#[derive(Default)]
struct Extra {
    /// All that is counted but bytes that were written, and rotations.
    counted: Counters,
    /// Bytes of the present generation that were lost: they are in no file.
    lost_here: u64,
    /// When the oldest backup is looked at for its age.
    backup_due: Option<Moment>,
}

// Not derived: that would ask Debug of the whole environment.
impl<F: Files> fmt::Debug for Log<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = f.debug_struct("Log");
        fields.field("path", &self.path()).field("size", &self.size);
        fields.field("counters", &self.counters()).finish_non_exhaustive()
    }
}

impl<F: Files> Log<F> {
    /// The first so many bytes of a log are what an append needs.
    #[cfg(test)]
    pub(crate) const HOT: usize = std::mem::offset_of!(Log<F>, dir);

    /// The log's device and inode: another after each rotation by `rename`.
    pub fn id(&self) -> FileId {
        self.id
    }

    /// The log's path as it was asked for.
    pub fn path(&self) -> PathBuf {
        self.paths.log()
    }

    /// The same, for a message.
    fn shown(&self) -> String {
        self.path().display().to_string()
    }

    /// The VM's id and paths.
    pub(crate) fn paths(&self) -> &VmPaths {
        &self.paths
    }

    /// What it is to be; of the spec in it the path is not told.
    pub(crate) fn terms(&self) -> &Arc<Terms> {
        &self.terms
    }

    /// The names beside it.
    fn names(&self) -> Names<'_> {
        Names { log: self.paths.log_name() }
    }

    /// The size of the current generation in bytes, as far as we know.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The offset of the next byte: how many have come before it since the VM's first, in a file
    /// or lost, over all generations and restarts.
    pub fn offset(&self) -> u64 {
        self.base + self.size + self.held().map_or(0, Held::span)
    }

    /// Bytes that wait in memory because they could not be written.
    pub fn held_bytes(&self) -> usize {
        self.held().map_or(0, |held| held.bytes.len())
    }

    /// Those of them behind which no loss lies: the bytes right before [`Log::offset`].
    pub fn held_tail(&self) -> Vec<u8> {
        let Some(held) = self.held() else { return Vec::new() };
        let from = held.gaps.last().map_or(0, |gap| gap.before);
        held.bytes.iter().skip(from).copied().collect()
    }

    /// The lines that the events file will have once it can be written: a reader goes by them too.
    pub fn unwritten_lines(&self, env: &mut F) -> Vec<u8> {
        let Some(unrest) = &self.unrest else { return Vec::new() };
        let mut lines = unrest.unsaid.pending.clone();
        if unrest.unsaid.broken {
            lines.extend(self.gap_lines(env).map(|record| record.encode()).concat().into_bytes());
        }
        lines
    }

    /// Bytes that came and that no file tells of yet: those that wait, and losses that are yet to
    /// be noted. After a crash nothing else would be known of them.
    pub fn unrecorded_bytes(&self) -> u64 {
        self.unrest.as_ref().map_or(0, |unrest| unrest.held.span() + unrest.unsaid.losses)
    }

    /// What has happened since the log was opened.
    pub fn counters(&self) -> Counters {
        let others = self.extra.as_ref().map_or(Counters::default(), |extra| extra.counted);
        Counters { written_bytes: self.written_bytes, rotations: self.rotations, ..others }
    }

    /// Where all is counted but bytes that were written, and rotations.
    fn count(&mut self) -> &mut Counters {
        &mut self.extra.get_or_insert_default().counted
    }

    /// The offset of the present generation's first byte.
    fn first_offset(&self) -> u64 {
        self.base - self.extra.as_ref().map_or(0, |extra| extra.lost_here)
    }

    /// The present generation's first byte has the offset `start`, and the next one that is written
    /// `base` and the log's size.
    fn stand_at(&mut self, start: u64, base: u64) {
        self.base = base;
        // A state that was left, or a line, may say anything.
        let lost_here = base.saturating_sub(start);
        if lost_here > 0 || self.extra.is_some() {
            self.extra.get_or_insert_default().lost_here = lost_here;
        }
    }

    fn backup_due(&self) -> Option<Moment> {
        self.extra.as_ref()?.backup_due
    }

    fn set_backup_due(&mut self, due: Option<Moment>) {
        if due.is_some() || self.extra.is_some() {
            self.extra.get_or_insert_default().backup_due = due;
        }
    }

    /// Rotates now, by request. An empty log is left as it is; a rotation under way goes on.
    pub fn rotate(&mut self, env: &mut F, now: Moment) {
        if self.stage().is_idle() {
            self.begin(env, Why::Asked, now);
        } else if self.rotating_due().is_some() {
            self.advance(env, now);
        }
        self.drain_if_possible(env, now);
        self.say(env, now);
    }

    /// Does one bounded slice of the work under way. `true`: there is more to do at once.
    pub fn step(&mut self, env: &mut F, now: Moment) -> bool {
        if self.may_copy() {
            self.advance(env, now);
            self.drain_if_possible(env, now);
        } else if self.may_shrink() {
            self.shrink(env, now);
        }
        self.say(env, now);
        self.has_work()
    }

    /// Whether [`Log::step`] has something to do at once: to be asked after an append, a rotation
    /// and a timer.
    pub fn has_work(&self) -> bool {
        self.unrest.is_some() && (self.may_copy() || self.may_shrink())
    }

    fn may_copy(&self) -> bool {
        self.stage().is_copying() && self.rotating_due().is_none()
    }

    /// When [`Log::on_timer`] is to be called; `None` for a log that is empty and well.
    pub fn deadline(&self) -> Option<Moment> {
        let backup = self.backup_due();
        let age = self.age_due.filter(|_| self.stage().is_idle()).map(Moment::from);
        let own = backup.into_iter().chain(age).min();
        let Some(unrest) = &self.unrest else { return own };
        let shrink = unrest.dropped.as_ref().and_then(|dropped| dropped.retry.due());
        let (writing, rotating) = (unrest.writing.due(), unrest.rotating.due());
        let after = unrest.after.as_ref().and_then(|after| after.due());
        let events = unrest.unsaid.retry.due();
        let all = [own, writing, rotating, shrink, unrest.lost_due, events, after];
        all.into_iter().flatten().min()
    }

    /// Does what is due; before that it is a no-op. The next deadline is later than `now`.
    pub fn on_timer(&mut self, env: &mut F, now: Moment) {
        let is_due = |due: Option<Moment>| due.is_some_and(|due| due <= now);
        if is_due(self.rotating_due()) {
            self.advance(env, now);
        }
        if self.stage().is_idle() && is_due(self.age_due.map(Moment::from)) {
            self.begin(env, Why::Age, now);
        }
        if is_due(self.backup_due()) {
            self.check_retention();
        }
        if self.dropped().is_some_and(|dropped| dropped.retry.is_due(now)) {
            self.shrink(env, now);
        }
        self.resume_work(now);
        if let Some(unrest) = self.unrest.as_mut().filter(|unrest| unrest.writing.is_due(now)) {
            unrest.writing.resume();
        }
        self.drain_if_possible(env, now);
        if is_due(self.unrest.as_ref().and_then(|unrest| unrest.lost_due)) {
            self.record_losses_behind(now);
        }
        if let Some(unrest) = self.unrest.as_mut().filter(|unrest| unrest.unsaid.retry.is_due(now))
        {
            unrest.unsaid.retry.resume();
        }
        self.say(env, now);
        debug_assert!(self.deadline().is_none_or(|next| next > now), "the loop would spin");
    }

    /// Tries once more to write what is held, and counts as lost what can't be written. Work that
    /// a successor would have to clean up is cleaned up. The file is closed when `self` is dropped.
    pub fn close(&mut self, env: &mut F, now: Moment) {
        if self.rotating_due().is_some() {
            self.advance(env, now);
        }
        self.drain(env, now);
        let left = self.held_bytes() as u64;
        if left > 0 {
            ::log::warn!("log {}: closed with {left} bytes unwritten", self.shown());
            let wall = env.wall();
            self.unrest().held.give_up(record::Cause::Closed, wall);
            let counted = self.count();
            counted.lost_bytes += left;
            counted.lost_closed += left;
        }
        self.record_losses();
        if self.stage().is_idle()
            && let Err(error) = self.look(env)
        {
            ::log::debug!("{error}");
        }
        if let Some(unrest) = &mut self.unrest {
            unrest.lost_due = None;
            unrest.writing.succeed();
        }
        self.end_head(env, now);
        self.give_up_copy(env);
        self.give_up_work(env);
        self.drop_at_once(env);
        self.happened(record::What::Released);
        // The last attempt, whatever the back-off says.
        self.unrest().unsaid.retry.resume();
        self.say(env, now);
        if let Some(unrest) = &mut self.unrest {
            unrest.unsaid.retry.succeed();
        }
    }
}
