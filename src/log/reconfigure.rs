//! Other limits for a log that is open, and a look at its name on request.
//!
//! Owns nothing.
//! **Invariant:** safe at every stage of a rotation: what one has done it is not asked to undo.

use super::Log;
use super::error::{Cause, LogError, Step};
use super::ours::Rights;
use super::rotate::Stage;
use crate::config::LogSpec;
use crate::env::{Files, Moment};
use crate::limits::MAX_BYTES_MIN;
use std::time::Duration;

impl<F: Files> Log<F> {
    /// Takes over everything of `spec` but the path. A rotation under way is finished in its mode.
    ///
    /// # Errors
    /// The mode or the group can't be set; the log is then as it was.
    pub fn reconfigure(
        &mut self,
        env: &mut F,
        spec: &LogSpec,
        now: Moment,
    ) -> Result<(), LogError> {
        let rights = Rights { uid: self.rights.uid, ..Rights::of(env, spec)? };
        let (group, old_mode, old_group) = (rights.gid, self.rights.mode, self.rights.gid);
        let fail = |step| {
            let path = self.spec.path.clone();
            move |error| LogError { path, step, cause: Cause::Io(error) }
        };
        if let Some(gid) = group.filter(|_| group != old_group) {
            env.set_group(&self.file, gid).map_err(fail(Step::SetGroup))?;
        }
        if spec.file_mode != old_mode
            && let Err(error) = env.set_mode(&self.file, spec.file_mode)
        {
            if let Some(gid) = old_group.filter(|_| group != old_group) {
                // As it was, as far as that goes.
                let _ = env.set_group(&self.file, gid);
            }
            return Err(fail(Step::SetMode)(error));
        }
        if let Stage::Copying { to, .. } = &self.stage {
            // The copy is no one's log yet: whoever can't read it reads the next.
            let _ = env.set_mode(to, spec.file_mode);
            if let Some(gid) = group {
                let _ = env.set_group(to, gid);
            }
        }
        self.rights = rights;
        self.change_age(spec.max_age, now);
        self.check_at = self.check_at.min(now + spec.check_interval);
        let path = self.spec.path.clone();
        let max_bytes = spec.max_bytes.max(MAX_BYTES_MIN);
        if !self.stage.is_idle() {
            // A rotation under way keeps the room that it had to append to.
            let (old, begun_at) = (self.spec.max_bytes, self.begun_at);
            self.begun_at = (begun_at.max(old) + old).saturating_sub(max_bytes).max(begun_at);
        }
        let syncs_now = spec.fsync != self.spec.fsync;
        let keep_changed = spec.keep != self.spec.keep;
        self.spec = LogSpec { path, max_bytes, ..spec.clone() };
        if keep_changed {
            self.change_keep(env);
        }
        self.check_retention();
        self.want_work(u32::from(syncs_now));
        Ok(())
    }

    /// Opens the log's name anew if it stands for another file, or none, at once.
    pub fn reopen_if_moved(&mut self, env: &mut F, now: Moment) {
        if self.stage.is_idle() {
            self.check_name(env, now);
        } else if self.rotating.due().is_some() {
            self.advance(env, now);
        }
        self.drain_if_possible(env, now);
        self.say(env, now);
    }

    /// The part of the age by which this log differs from others stays the same.
    fn change_age(&mut self, max_age: Option<Duration>, now: Moment) {
        if max_age == self.spec.max_age {
            return;
        }
        let (old_max, old_whole) = (self.age_max, self.spec.max_age);
        let began = self.age_due.zip(old_max).map_or(now, |(due, max)| due.saturating_sub(max));
        self.age_max = max_age.map(|whole| match old_whole.zip(old_max) {
            Some((of, max)) => whole.mul_f64(max.as_secs_f64() / of.as_secs_f64()),
            None => whole,
        });
        let due = self.age_max.map(|max| (began + max).max(now));
        self.age_due = due.filter(|_| self.size > 0);
    }

    /// Backups beyond the new number go; those that were to go and are kept now stay.
    fn change_keep(&mut self, env: &mut F) {
        if let Some(dropped) = &mut self.dropped {
            dropped.excess.clear();
        }
        if let Err(error) = self.find_excess(env) {
            // The next opening of the log looks again.
            ::log::warn!("{error}");
        }
    }
}
