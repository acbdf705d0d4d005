//! Other limits for a log that is open, and a look at its name on request.
//!
//! Owns nothing.
//! **Invariant:** safe at every stage of a rotation: what one has done it is not asked to undo.

use super::Log;
use super::error::{Cause, LogError, Step};
use super::open::spread;
use super::rotate::Stage;
use super::terms::Terms;
use crate::config::LogSpec;
use crate::env::{Files, Moment, Stamp};
use std::sync::Arc;
use std::time::Duration;

impl<F: Files> Log<F> {
    /// Takes over everything of `spec` but the path and the owner. A rotation under way is finished
    /// in its mode.
    ///
    /// # Errors
    /// The mode or the group can't be set; the log is then as it was.
    pub fn reconfigure(
        &mut self,
        env: &mut F,
        spec: &LogSpec,
        now: Moment,
    ) -> Result<(), LogError> {
        let terms = self.terms.changed(env, spec)?;
        self.reconfigure_to(env, Arc::new(terms), now)
    }

    /// The same, with terms that others may have too.
    ///
    /// # Errors
    /// The mode or the group can't be set; the log is then as it was.
    pub(crate) fn reconfigure_to(
        &mut self,
        env: &mut F,
        terms: Arc<Terms>,
        now: Moment,
    ) -> Result<(), LogError> {
        let (spec, old) = (&terms.spec, self.terms.rights);
        let (group, old_mode, old_group) = (terms.rights.gid, old.mode, old.gid);
        let fail = |step| {
            let path = self.path();
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
        if let Stage::Copying { to, .. } = self.stage() {
            // The copy is no one's log yet: whoever can't read it reads the next.
            let _ = env.set_mode(to, spec.file_mode);
            if let Some(gid) = group {
                let _ = env.set_group(to, gid);
            }
        }
        self.change_age(spec.max_age, now);
        self.check_at = self.check_at.min((now + spec.check_interval).into());
        let old = std::mem::replace(&mut self.terms, terms);
        let (old, new) = (&old.spec, &self.terms.spec);
        if let Some(unrest) = self.unrest.as_mut().filter(|unrest| !unrest.stage.is_idle()) {
            // A rotation under way keeps the room that it had to append to.
            let (most, begun_at) = (old.max_bytes, unrest.begun_at);
            let room = begun_at.max(most) + most;
            unrest.begun_at = room.saturating_sub(new.max_bytes).max(begun_at);
        }
        let syncs_now = new.fsync != old.fsync;
        let keep_changed = new.keep != old.keep;
        if keep_changed {
            self.change_keep(env);
        }
        self.check_retention();
        self.want_work(u32::from(syncs_now));
        Ok(())
    }

    /// Opens the log's name anew if it stands for another file, or none, at once.
    pub fn reopen_if_moved(&mut self, env: &mut F, now: Moment) {
        if self.stage().is_idle() {
            self.check_name(env, now);
        } else if self.rotating_due().is_some() {
            self.advance(env, now);
        }
        self.drain_if_possible(env, now);
        self.say(env, now);
    }

    /// The part of the age by which this log differs from others stays the same.
    fn change_age(&mut self, max_age: Option<Duration>, now: Moment) {
        if max_age == self.terms.spec.max_age {
            return;
        }
        let due = self.age_due.map(Moment::from).zip(self.age_max());
        let began = due.map_or(now, |(due, max)| due.saturating_sub(max));
        let due = max_age.map(|max| (began + spread(max, self.jitter)).max(now));
        self.age_due = due.filter(|_| self.size > 0).map(Stamp::from);
    }

    /// Backups beyond the new number go; those that were to go and are kept now stay.
    fn change_keep(&mut self, env: &mut F) {
        if let Some(dropped) = self.unrest.as_mut().and_then(|unrest| unrest.dropped.as_mut()) {
            dropped.excess.clear();
        }
        if let Err(error) = self.find_excess(env) {
            // The next opening of the log looks again.
            ::log::warn!("{error}");
        }
    }
}
