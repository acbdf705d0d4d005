//! What a log has beside its files while not all is well and done: rotations under way, what could
//! not be written yet, failures that are retried, backups that are worked on.
//!
//! Owns when that goes: a log that is at rest, as nearly all of a host's are, has no memory for it.
//! **Invariant:** without it every part of it is as [`Unrest::default`] has it.

use super::Log;
use super::after::After;
use super::dropped::Dropped;
use super::events::Unsaid;
use super::heads::Growing;
use super::held::Held;
use super::retry::Retry;
use super::rotate::Stage;
use crate::env::{Files, Moment};

/// See the module.
pub(super) struct Unrest<File> {
    /// What could not be written yet, at most `spec.hold_bytes`.
    pub held: Held,
    /// Since when something waits, while it does.
    pub held_since: Moment,
    /// When losses behind the last byte that was written are to be noted, though none follows.
    pub lost_due: Option<Moment>,
    /// Of the writes.
    pub writing: Retry,
    /// How far a rotation has come.
    pub stage: Stage<File>,
    /// The file has no name any more, and no other can be opened yet.
    pub is_nameless: bool,
    /// The log's size when the rotation began: above `spec.max_bytes` where that was lowered.
    pub begun_at: u64,
    /// So much above `max_bytes`, and at most that much, a predecessor has left in the log: where
    /// rotations fail over many starts, each adds no more.
    pub left_over: u64,
    /// Of the rotation.
    pub rotating: Retry,
    /// A file on its way out.
    pub dropped: Option<Box<Dropped<File>>>,
    /// The present boot's beginning, while it is taken down.
    pub head: Option<Box<Growing<File>>>,
    /// What children do with the backups.
    pub after: Option<Box<After<File>>>,
    /// What the events file does not say yet.
    pub unsaid: Unsaid,
}

impl<File> Default for Unrest<File> {
    fn default() -> Self {
        Unrest {
            held: Held::default(),
            held_since: Moment::ZERO,
            lost_due: None,
            writing: Retry::default(),
            stage: Stage::Idle,
            is_nameless: false,
            begun_at: 0,
            left_over: 0,
            rotating: Retry::default(),
            dropped: None,
            head: None,
            after: None,
            unsaid: Unsaid::default(),
        }
    }
}

impl<File> Unrest<File> {
    /// Nothing of it is worth its memory.
    fn is_over(&self, now: Moment) -> bool {
        let written = self.held.is_empty() && self.lost_due.is_none() && self.writing.is_over(now);
        // Where a rotation began matters no longer than it takes.
        let rotated = self.stage.is_idle() && !self.is_nameless && self.left_over == 0;
        let done = self.dropped.is_none() && self.head.is_none() && self.after.is_none();
        written && rotated && self.rotating.is_over(now) && done && self.unsaid.is_over(now)
    }
}

impl<F: Files> Log<F> {
    /// What there is beside the log; from now on there is something.
    pub(super) fn unrest(&mut self) -> &mut Unrest<F::File> {
        self.unrest.get_or_insert_default()
    }

    /// Gives the memory back if all is well and done.
    pub(super) fn rest(&mut self, now: Moment) {
        if self.unrest.as_ref().is_some_and(|unrest| unrest.is_over(now)) {
            self.unrest = None;
        }
    }

    /// How far a rotation has come.
    pub(super) fn stage(&self) -> &Stage<F::File> {
        self.unrest.as_ref().map_or(&Stage::Idle, |unrest| &unrest.stage)
    }

    /// When the write that failed is tried again.
    pub(super) fn writing_due(&self) -> Option<Moment> {
        self.unrest.as_ref().and_then(|unrest| unrest.writing.due())
    }

    /// When the rotation that failed is tried again.
    pub(super) fn rotating_due(&self) -> Option<Moment> {
        self.unrest.as_ref().and_then(|unrest| unrest.rotating.due())
    }

    /// The file has no name any more, and no other can be opened yet.
    pub(super) fn is_nameless(&self) -> bool {
        self.unrest.as_ref().is_some_and(|unrest| unrest.is_nameless)
    }

    /// A file on its way out.
    pub(super) fn dropped(&self) -> Option<&Dropped<F::File>> {
        self.unrest.as_ref()?.dropped.as_deref()
    }

    /// What children do with the backups.
    pub(super) fn after(&self) -> Option<&After<F::File>> {
        self.unrest.as_ref()?.after.as_deref()
    }

    /// See [`Log::after`].
    pub(super) fn after_mut(&mut self) -> Option<&mut After<F::File>> {
        self.unrest.as_mut()?.after.as_deref_mut()
    }

    /// How long there have been bytes that wait to be written; zero: there are none.
    pub fn lag(&self, now: Moment) -> Moment {
        let held = self.unrest.as_ref().filter(|unrest| !unrest.held.bytes.is_empty());
        held.map_or(Moment::ZERO, |unrest| now.saturating_sub(unrest.held_since))
    }

    /// What is held, and lost around it, if anything is.
    pub(super) fn held(&self) -> Option<&Held> {
        self.unrest.as_ref().map(|unrest| &unrest.held).filter(|held| !held.is_empty())
    }
}
