//! What a predecessor left: an interrupted rotation, or more backups than are kept now.
//!
//! Owns nothing.
//! **Invariant:** runs under the log's lock, before the first append; no directory is listed
//! unless backups are to be removed, as ten thousand logs may share one.

use super::Log;
use super::error::{Cause, LogError, Step};
use super::learn::Seen;
use super::ours::Purpose;
use super::rotate::Stage;
use crate::env::{Files, Moment};
use std::io;
use std::time::Duration;

/// What is read of the log and of the copy at once, to compare them, in bytes.
const COMPARE_CHUNK: usize = 64 * 1024;

impl<F: Files> Log<F> {
    /// Finishes an interrupted rotation, and notes what is to be dropped.
    pub(super) fn recover(&mut self, env: &mut F, now: Moment) -> Result<(), LogError> {
        match self.remove(env, &self.names().copying()) {
            // Nothing that we left: a copy is made once it is gone, the log goes on meanwhile.
            Err(error) if matches!(error.cause, Cause::InTheWay) => ::log::warn!("{error}"),
            removed => removed?,
        }
        self.clear_packing(env);
        let stage = self.judge_copy(env)?;
        let truncated = matches!(stage, Some(Stage::Placing { .. }));
        let copy = self.names().copied();
        let copy = if truncated { self.seen(env, &copy) } else { None };
        // Nobody restores anything under that name: it is no older than what was noted, whatever
        // a clock that was set back made of its time.
        let copy = copy.map(|copy| Seen { modified: Duration::MAX, ..copy });
        if let Some(stage) = stage {
            self.unrest().stage = stage;
        }
        self.begin_history(env, copy, now)?;
        if !self.stage().is_idle() {
            self.run_stages(env, now)?;
            self.say(env, now);
        }
        self.find_leftovers(env)?;
        self.rest(now);
        Ok(())
    }

    /// Notes what is to be dropped.
    pub(super) fn find_leftovers(&mut self, env: &mut F) -> Result<(), LogError> {
        if self.stat_name(env, &self.names().dropped())?.is_some() {
            self.begin_drop();
        }
        self.check_retention();
        // Nobody knows which of them a predecessor had no time for.
        self.want_work(self.terms.spec.keep);
        self.find_excess(env)
    }

    /// Removes what a command that was not followed to its end has left.
    /// Where that fails it is done before the next command, and the log goes on.
    pub(super) fn clear_packing(&mut self, env: &mut F) {
        let removed = self.remove(env, &self.names().packing());
        if let Err(error) = removed.and_then(|()| self.remove_replaced(env)) {
            ::log::warn!("{error}");
        }
    }

    /// How far the rotation had come whose complete copy is there.
    fn judge_copy(&mut self, env: &mut F) -> Result<Option<Stage<F::File>>, LogError> {
        let name = self.names().copied();
        if self.stat_name(env, &name)?.is_none() {
            return Ok(None);
        }
        let (copy, stat) = match self.open_beside(env, &name, Purpose::Read) {
            Ok(opened) => opened,
            Err(error) if error.is_refusal() => return self.set_aside(env, &name, &error),
            Err(error) => return Err(error),
        };
        let bytes = stat.size;
        let begins = self.begins_with(env, &copy, bytes);
        let begins = begins.map_err(|error| self.error(&name, Step::Compare, error))?;
        if bytes == 0 || (begins && self.size > bytes) {
            self.remove(env, &name)?;
            return Ok(None);
        }
        Ok(Some(if begins { Stage::Copied { bytes } } else { Stage::Placing { bytes } }))
    }

    /// What lies at the name of a copy and is not ours was no copy, as a rule: somebody has put it
    /// there. A regular file may be one yet, of the time before `owner` was another: it becomes a
    /// backup, unread. Whatever it is, the log goes on.
    fn set_aside(
        &mut self,
        env: &mut F,
        name: &str,
        why: &LogError,
    ) -> Result<Option<Stage<F::File>>, LogError> {
        ::log::warn!("{why}; it is put aside");
        let may_be_copy = matches!(why.cause, Cause::Owner { .. }) && self.terms.spec.keep > 0;
        let done = if may_be_copy {
            let shifted = self.shift(env);
            shifted.and_then(|()| self.rename(env, name, &self.names().backup(1)))
        } else {
            self.remove(env, name)
        };
        if let Err(error) = done {
            ::log::warn!("{error}");
        }
        Ok(None)
    }

    /// Whether the log begins with the `bytes` bytes of `copy`.
    fn begins_with(&self, env: &mut F, copy: &F::File, bytes: u64) -> io::Result<bool> {
        if self.size < bytes {
            return Ok(false);
        }
        let (mut ours, mut theirs) = (vec![0; COMPARE_CHUNK], vec![0; COMPARE_CHUNK]);
        let mut at = 0;
        while at < bytes {
            let want = usize::try_from(bytes - at).unwrap_or(usize::MAX).min(COMPARE_CHUNK);
            let copied = env.read_at(copy, at, &mut theirs[..want])?;
            let read = env.read_at(&self.file, at, &mut ours[..copied])?;
            if read == 0 || ours[..read] != theirs[..read] {
                return Ok(false);
            }
            at += read as u64;
        }
        Ok(true)
    }

    /// Notes the backups beyond `keep`. They go from the highest number down, so that the first
    /// one, by which they are noticed, goes last.
    pub(super) fn find_excess(&mut self, env: &mut F) -> Result<(), LogError> {
        if self.backup(env, self.terms.spec.keep + 1)?.is_none() {
            return Ok(());
        }
        let names = env.names(&self.dir);
        let names = names.map_err(|error| self.error(".", Step::Examine, error))?;
        let ours = self.names();
        let found = names.iter().filter_map(|name| ours.backup_number(name));
        let known = found.filter(|(_, suffix)| self.knows_suffix(suffix));
        let numbers = known.map(|(number, _)| number);
        let mut excess: Vec<u32> = numbers.filter(|&k| k > self.terms.spec.keep).collect();
        excess.sort_unstable();
        excess.dedup();
        self.drop_state().excess = excess;
        Ok(())
    }
}
