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
mod thin;

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

use crate::config::LogSpec;
use crate::env::{FileId, Files, Moment};
use after::After;
use dropped::Dropped;
use events::Events;
use held::Held;
use names::Names;
use ours::Rights;
use retry::Retry;
use rotate::{Stage, Why};
use std::fmt;
use std::path::Path;
use std::time::Duration;

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
    /// Bytes dropped for want of room in the held buffer, or at the close.
    pub lost_bytes: u64,
    /// Those of `lost_bytes` that were dropped because rotation kept failing, not writing.
    pub lost_rotation_failed: u64,
    /// Those of `lost_bytes` that were above the VM's own rate.
    pub lost_rate_limit: u64,
    /// Those of `lost_bytes` that were above the host's rate.
    pub lost_host_rate_limit: u64,
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

/// One VM's log.
pub struct Log<F: Files> {
    /// As it was asked for.
    spec: LogSpec,
    /// The names beside it.
    names: Names,
    /// Whose its files are, as numbers.
    rights: Rights,
    /// Where all the names are.
    dir: F::Dir,
    /// The current generation, or the last one while its successor can't be opened.
    file: F::File,
    /// What `file` is.
    id: FileId,
    /// The size of `file`, as far as we know: others may truncate it.
    size: u64,
    /// See [`Counters`].
    counters: Counters,
    /// When the name is looked at next, if an append comes then.
    check_at: Moment,
    /// `spec.max_age`, less a part that differs from VM to VM.
    age_max: Option<Duration>,
    /// When the current generation is too old; `None` while it is empty.
    age_due: Option<Moment>,
    /// The number of this generation, and the offset of its first byte.
    generation: u64,
    /// See `generation`.
    start: u64,
    /// The offset of the next byte that is written, less `size`.
    base: u64,
    /// What happened.
    events: Events<F::File>,
    /// When the time is noted next, if an append comes then.
    mark_at: Moment,
    /// What could not be written yet, at most `spec.hold_bytes`. No memory while empty.
    held: Held,
    /// When losses behind the last byte that was written are to be noted, though none follows.
    lost_due: Option<Moment>,
    /// Of the writes.
    writing: Retry,
    /// How far a rotation has come.
    stage: Stage<F::File>,
    /// The file has no name any more, and no other can be opened yet.
    is_nameless: bool,
    /// The log's size when the last rotation began: above `spec.max_bytes` where that was lowered.
    begun_at: u64,
    /// So much above `max_bytes`, and at most that much, a predecessor has left in the log: where
    /// rotations fail over many starts, each adds no more.
    left_over: u64,
    /// Of the rotation.
    rotating: Retry,
    /// When the oldest backup is looked at for its age.
    backup_due: Option<Moment>,
    /// A file on its way out.
    dropped: Option<Box<Dropped<F::File>>>,
    /// The present boot's beginning, while it is taken down.
    head: Option<Box<heads::Growing<F::File>>>,
    /// What children do with the backups.
    after: Option<Box<After<F::File>>>,
}

// Not derived: that would ask Debug of the whole environment.
impl<F: Files> fmt::Debug for Log<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = f.debug_struct("Log");
        fields.field("path", &self.spec.path).field("size", &self.size);
        fields.field("counters", &self.counters).finish_non_exhaustive()
    }
}

impl<F: Files> Log<F> {
    /// The log's device and inode: another after each rotation by `rename`.
    pub fn id(&self) -> FileId {
        self.id
    }

    /// The log's path as it was asked for.
    pub fn path(&self) -> &Path {
        &self.spec.path
    }

    /// The size of the current generation in bytes, as far as we know.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The offset of the next byte: how many have come before it since the VM's first, in a file
    /// or lost, over all generations and restarts.
    pub fn offset(&self) -> u64 {
        self.base + self.size + self.held.span()
    }

    /// Bytes that wait in memory because they could not be written.
    pub fn held_bytes(&self) -> usize {
        self.held.bytes.len()
    }

    /// Bytes that came and that no file tells of yet: those that wait, and losses that are yet to
    /// be noted. After a crash nothing else would be known of them.
    pub fn unrecorded_bytes(&self) -> u64 {
        self.held.span() + self.events.losses
    }

    /// What has happened since the log was opened.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Rotates now, by request. An empty log is left as it is; a rotation under way goes on.
    pub fn rotate(&mut self, env: &mut F, now: Moment) {
        if self.stage.is_idle() {
            self.begin(env, Why::Asked, now);
        } else if self.rotating.due().is_some() {
            self.advance(env, now);
        }
        self.drain_if_possible(env, now);
        self.say(env, now);
    }

    /// Does one bounded slice of the work under way. `true`: there is more to do at once.
    pub fn step(&mut self, env: &mut F, now: Moment) -> bool {
        if self.stage.is_copying() && self.rotating.due().is_none() {
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
        let copying = self.stage.is_copying() && self.rotating.due().is_none();
        copying || self.may_shrink()
    }

    /// When [`Log::on_timer`] is to be called; `None` for a log that is empty and well.
    pub fn deadline(&self) -> Option<Moment> {
        let age = self.age_due.filter(|_| self.stage.is_idle());
        let shrink = self.dropped.as_ref().and_then(|dropped| dropped.retry.due());
        let (writing, rotating) = (self.writing.due(), self.rotating.due());
        let after = self.after.as_ref().and_then(|after| after.due());
        let all = [age, writing, rotating, shrink, self.lost_due, self.events.retry.due()];
        all.into_iter().chain([self.backup_due, after]).flatten().min()
    }

    /// Does what is due; before that it is a no-op. The next deadline is later than `now`.
    pub fn on_timer(&mut self, env: &mut F, now: Moment) {
        if self.rotating.is_due(now) {
            self.advance(env, now);
        }
        if self.stage.is_idle() && self.age_due.is_some_and(|due| due <= now) {
            self.begin(env, Why::Age, now);
        }
        if self.backup_due.is_some_and(|due| due <= now) {
            self.check_retention();
        }
        if self.dropped.as_ref().is_some_and(|dropped| dropped.retry.is_due(now)) {
            self.shrink(env, now);
        }
        self.resume_work(now);
        if self.writing.is_due(now) {
            self.writing.resume();
        }
        self.drain_if_possible(env, now);
        if self.lost_due.is_some_and(|due| due <= now) {
            self.record_losses_behind(now);
        }
        if self.events.retry.is_due(now) {
            self.events.retry.resume();
        }
        self.say(env, now);
        debug_assert!(self.deadline().is_none_or(|next| next > now), "the loop would spin");
    }

    /// Tries once more to write what is held, and counts as lost what can't be written. Work that
    /// a successor would have to clean up is cleaned up. The file is closed when `self` is dropped.
    pub fn close(&mut self, env: &mut F, now: Moment) {
        if self.rotating.due().is_some() {
            self.advance(env, now);
        }
        self.drain(env, now);
        let left = self.held.bytes.len() as u64;
        if left > 0 {
            ::log::warn!("log {}: closed with {left} bytes unwritten", self.spec.path.display());
            self.held.give_up(record::Cause::Closed, env.wall());
            self.counters.lost_bytes += left;
        }
        self.record_losses();
        self.lost_due = None;
        if self.stage.is_idle()
            && let Err(error) = self.look(env)
        {
            ::log::debug!("{error}");
        }
        self.writing.succeed();
        self.end_head(env, now);
        self.give_up_copy(env);
        self.give_up_work(env);
        self.drop_at_once(env);
        self.happened(record::What::Released);
        // The last attempt, whatever the back-off says.
        self.events.retry.resume();
        self.say(env, now);
        self.events.retry.succeed();
    }
}
