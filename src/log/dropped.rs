//! The way out of a file that is no longer kept: shrunk in slices, then unlinked.
//!
//! Owns the file on its way out. Unlinking 64 MiB at once takes 18 ms, in which no VM is read.
//! **Invariant:** only a file that has no other name is shrunk: a hard link is somebody's copy.

use super::Log;
use super::error::LogError;
use super::ours::Purpose;
use super::retry::Retry;
use super::rotate::Stage;
use crate::env::{Files, Moment};
use crate::limits::ROTATION_SLICE;

/// A file on its way out, and those that follow it.
#[derive(Debug)]
pub(super) struct Dropped<File> {
    /// The file and its size, once it was opened to be shrunk.
    open: Option<(File, u64)>,
    /// Numbers of backups that are no longer kept, the lowest first: they go from the end.
    pub excess: Vec<u32>,
    /// Backups may be too many bytes, or too old: see `retention`.
    pub look: bool,
    /// Of the removal.
    pub retry: Retry,
}

impl<File> Default for Dropped<File> {
    fn default() -> Self {
        Dropped { open: None, excess: Vec::new(), look: false, retry: Retry::default() }
    }
}

impl<F: Files> Log<F> {
    /// Notes that there is a file to be dropped, in the place of an earlier one if need be.
    pub(super) fn begin_drop(&mut self) {
        self.drop_state().open = None;
    }

    /// What is on its way out.
    pub(super) fn drop_state(&mut self) -> &mut Dropped<F::File> {
        self.unrest().dropped.get_or_insert_default()
    }

    /// Whether there is something to shrink now. While the log's successor can't be opened we may
    /// be writing to the very file that is dropped.
    pub(super) fn may_shrink(&self) -> bool {
        let waits = matches!(self.stage(), Stage::Away { .. });
        self.dropped().is_some_and(|dropped| !waits && dropped.retry.due().is_none())
    }

    /// Shrinks by one slice, or unlinks the last one.
    pub(super) fn shrink(&mut self, env: &mut F, now: Moment) {
        let dropped = self.unrest.as_mut().and_then(|unrest| unrest.dropped.take());
        let Some(mut dropped) = dropped else { return };
        let done = match self.shrink_slice(env, &mut dropped, now) {
            Ok(done) => {
                dropped.retry.succeed();
                done
            }
            Err(error) => {
                if dropped.retry.fail(now) {
                    ::log::warn!("{error}");
                }
                false
            }
        };
        if !done {
            self.unrest().dropped = Some(dropped);
        }
    }

    /// One slice. `true`: nothing is left to drop.
    fn shrink_slice(
        &mut self,
        env: &mut F,
        dropped: &mut Dropped<F::File>,
        now: Moment,
    ) -> Result<bool, LogError> {
        let name = self.names().dropped();
        if dropped.open.is_none() {
            dropped.open = self.open_to_shrink(env, &name);
        }
        if let Some((file, size)) = &mut dropped.open
            && *size > ROTATION_SLICE
            && env.truncate(file, *size - ROTATION_SLICE).is_ok()
        {
            *size -= ROTATION_SLICE;
            return Ok(false);
        }
        dropped.open = None;
        self.remove(env, &name)?;
        let next = match dropped.excess.last() {
            Some(&excess) => self.backup(env, excess)?,
            None if dropped.look => self.next_to_go(env, now)?,
            None => None,
        };
        match next {
            // Its number may have another: with a suffix, or shifted there.
            Some(backup) => self.send_off(env, &backup)?,
            None if dropped.excess.pop().is_some() => {}
            None => return Ok(true),
        }
        Ok(false)
    }

    /// The file, if it may be shrunk: otherwise it is just unlinked.
    fn open_to_shrink(&self, env: &mut F, name: &str) -> Option<(F::File, u64)> {
        let (file, stat) = self.open_beside(env, name, Purpose::Change).ok()?;
        Some((file, stat.size))
    }

    /// Drops what is left without slices, as far as that goes: a successor does it otherwise.
    pub(super) fn drop_at_once(&mut self, env: &mut F) {
        if self.may_shrink()
            && let Err(error) = self.remove(env, &self.names().dropped())
        {
            ::log::debug!("{error}");
        }
    }
}
