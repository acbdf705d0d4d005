//! The backups that there are, plain or with a suffix, found without listing their directory.
//!
//! Owns nothing.
//! **Invariant:** ten thousand logs may share a directory, so each name is asked for by itself. A
//! number stands for one backup: of two files of one number and one time the one with a suffix is
//! complete, and the other goes.

use super::Log;
use super::error::{LogError, Step};
use super::names::SUFFIXES;
use super::ours::stat_if_there;
use crate::env::{Files, Stat};
use std::borrow::Cow;

/// A walk over the backups ends at so many free numbers in a row: a shift that was interrupted
/// leaves one.
const GAP_MAX: u32 = 2;

/// One backup.
#[derive(Clone, Debug)]
pub(super) struct Backup {
    /// 1 is the newest.
    pub number: u32,
    /// What its name has after the number; empty for the bytes themselves.
    pub suffix: Cow<'static, str>,
    /// What its name stands for.
    pub stat: Stat,
}

impl<F: Files> Log<F> {
    /// The backup of this number.
    pub(super) fn backup(&self, env: &mut F, number: u32) -> Result<Option<Backup>, LogError> {
        for suffix in self.suffixes() {
            if let Some(stat) = self.stat_name(env, &self.names().packed(number, suffix))? {
                return Ok(Some(Backup { number, suffix: own(suffix), stat }));
            }
        }
        Ok(None)
    }

    /// The backups that are to be kept by their number, the newest first.
    pub(super) fn backups(&self, env: &mut F) -> Result<Vec<Backup>, LogError> {
        let (mut found, mut free) = (Vec::new(), 0);
        for number in 1..=self.terms.spec.keep {
            match self.backup(env, number)? {
                Some(backup) => {
                    found.push(backup);
                    free = 0;
                }
                None => free += 1,
            }
            if free == GAP_MAX {
                break;
            }
        }
        Ok(found)
    }

    /// The name of a backup that is there.
    pub(super) fn name_of(&self, backup: &Backup) -> String {
        self.names().packed(backup.number, &backup.suffix)
    }

    /// Removes backups that were replaced by a packed file of the same number: a predecessor was
    /// interrupted in between.
    pub(super) fn remove_replaced(&mut self, env: &mut F) -> Result<(), LogError> {
        for backup in self.backups(env)? {
            if backup.suffix.is_empty() && self.is_replaced(env, &backup)? {
                self.remove(env, &self.names().backup(backup.number))?;
            }
        }
        Ok(())
    }

    /// Whether there is a file of the same number with a suffix, and it is complete: only then it
    /// has the time of the backup, by ours or by gzip's hand.
    pub(super) fn is_replaced(&self, env: &mut F, backup: &Backup) -> Result<bool, LogError> {
        for suffix in self.suffixes().filter(|suffix| !suffix.is_empty()) {
            let packed = self.stat_name(env, &self.names().packed(backup.number, suffix))?;
            let complete = |packed: Stat| packed.regular && packed.modified == backup.stat.modified;
            if backup.stat.regular && packed.is_some_and(complete) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether a backup may have this suffix.
    pub(super) fn knows_suffix(&self, suffix: &str) -> bool {
        self.suffixes().any(|known| known == suffix)
    }

    /// The suffixes that a backup may have, the likeliest first.
    fn suffixes(&self) -> impl Iterator<Item = &str> {
        let own = self.terms.spec.after_rotate.as_ref().map(|after| after.suffix.as_str());
        let known = SUFFIXES.into_iter().filter(move |known| Some(*known) != own);
        std::iter::once("").chain(own).chain(known)
    }

    /// What a name stands for; `None`: it is free.
    pub(super) fn stat_name(&self, env: &mut F, name: &str) -> Result<Option<Stat>, LogError> {
        let stat = stat_if_there(env, &self.dir, name);
        stat.map_err(|error| self.error(name, Step::Examine, error))
    }
}

fn own(suffix: &str) -> Cow<'static, str> {
    let known = SUFFIXES.into_iter().chain([""]).find(|known| *known == suffix);
    known.map_or_else(|| Cow::Owned(suffix.to_owned()), Cow::Borrowed)
}
