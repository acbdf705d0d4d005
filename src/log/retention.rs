//! Which backups go by their size and by their age, beside those that go by their number.
//!
//! Owns when the oldest backup has its age.
//! **Invariant:** the oldest goes first, one after the other through `.dropped`, so that a number
//! is looked up anew each time: a rotation in between moves them all.

use super::Log;
use super::backups::Backup;
use super::error::LogError;
use crate::env::{Files, Moment};
use std::time::Duration;

/// The soonest that the age of backups is looked at again: the wall clock, by which files age, may
/// have been set back.
const AGE_CHECK_MIN: Duration = Duration::from_secs(1);

impl<F: Files> Log<F> {
    /// Notes that backups may have to go; what is done is done by [`Log::step`].
    pub(super) fn check_retention(&mut self) {
        let spec = &self.terms.spec;
        let limited = spec.max_total_bytes.is_some() || spec.max_backup_age.is_some();
        self.set_backup_due(None);
        if limited {
            self.drop_state().look = true;
        } else if let Some(dropped) = self.unrest.as_mut().and_then(|u| u.dropped.as_mut()) {
            dropped.look = false;
        }
    }

    /// The oldest backup, if it is too much or too old.
    pub(super) fn next_to_go(
        &mut self,
        env: &mut F,
        now: Moment,
    ) -> Result<Option<Backup>, LogError> {
        self.set_backup_due(None);
        let mut backups = self.backups(env)?;
        backups.retain(|backup| backup.stat.regular);
        let total: u64 = backups.iter().map(|backup| backup.stat.size).sum();
        let Some(oldest) = backups.pop() else { return Ok(None) };
        let spec = &self.terms.spec;
        let room = spec.max_total_bytes.map(|most| most - spec.max_bytes.min(most));
        if room.is_some_and(|room| total > room) {
            return Ok(Some(oldest));
        }
        let Some(age_max) = spec.max_backup_age else { return Ok(None) };
        let left = age_max.saturating_sub(oldest.stat.age);
        if left.is_zero() {
            return Ok(Some(oldest));
        }
        self.set_backup_due(Some(now + left.max(AGE_CHECK_MIN)));
        Ok(None)
    }

    /// Gives one backup the name under which it goes.
    pub(super) fn send_off(&self, env: &mut F, backup: &Backup) -> Result<(), LogError> {
        self.rename(env, &self.name_of(backup), &self.names().dropped())
    }
}
