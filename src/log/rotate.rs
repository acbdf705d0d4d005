//! Rotation: its stages, the shifting of backups, the mode `rename`.
//!
//! Owns the stage. It is derived from what has been *done*, so that a rotation that failed goes on
//! where it stopped: once the log is `.1`, it is never shifted again.
//! **Invariant:** at every stage, and after a crash in it, the generations read from the oldest
//! backup to the log are all the bytes, once, in order.

use super::Log;
use super::error::{LogError, Step};
use super::record::What;
use crate::config::RotateMode;
use crate::env::{Files, Moment};
use std::io;

/// Why a rotation begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// The log has reached its size.
    Size,
    /// It has reached its age.
    Age,
    /// Somebody asked.
    Asked,
}

/// How far a rotation has come.
#[derive(Debug)]
pub(super) enum Stage<File> {
    /// None is under way: the log's name stands for our file.
    Idle,
    /// It is to begin: nothing has been done, or backups were shifted up and the way is free.
    Wanted(Why),
    /// The log's name does not stand for our file: a new one is to be opened there. We moved it to
    /// `.1` if `by_us` (to `.dropped` where no backups are kept: what is appended until the new
    /// one is open goes with it), else somebody moved or deleted it.
    Away {
        /// It was our rotation.
        by_us: bool,
    },
    /// The log is being copied; bytes go on being appended to it.
    Copying {
        /// The copy.
        to: File,
        /// So many bytes it has.
        copied: u64,
    },
    /// The copy is complete and named so; the log is to be truncated.
    Copied {
        /// The copy's size.
        bytes: u64,
    },
    /// The log was truncated: the copy is to become `.1`.
    Placing {
        /// The copy's size.
        bytes: u64,
    },
}

impl<File> Stage<File> {
    /// No rotation is under way.
    pub fn is_idle(&self) -> bool {
        matches!(self, Stage::Idle)
    }

    /// A copy is under way, slice by slice.
    pub fn is_copying(&self) -> bool {
        matches!(self, Stage::Copying { .. })
    }
}

impl<F: Files> Log<F> {
    /// Begins a rotation, and goes as far as one call may.
    pub(super) fn begin(&mut self, env: &mut F, why: Why, now: Moment) {
        let size = self.size;
        let unrest = self.unrest();
        unrest.stage = Stage::Wanted(why);
        unrest.begun_at = size.saturating_sub(unrest.left_over);
        self.advance(env, now);
    }

    /// Goes on with a rotation. A failure is noted, and retried by the timer.
    pub(super) fn advance(&mut self, env: &mut F, now: Moment) {
        let advanced = self.run_stages(env, now);
        let unrest = self.unrest();
        match advanced {
            Ok(()) if unrest.stage.is_idle() => {
                if unrest.rotating.succeed() {
                    ::log::info!("log {}: rotated again", self.shown());
                }
            }
            Ok(()) => unrest.rotating.resume(),
            Err(error) => {
                let is_told = unrest.rotating.fail(now);
                self.count().rotation_failures += 1;
                if is_told {
                    let (path, lost) = (self.shown(), self.counters().lost_bytes);
                    ::log::warn!("rotation of log {path}: {error} ({lost} bytes lost so far)");
                }
            }
        }
    }

    /// Runs stage after stage until none is left, one fails, or the next slice is to wait.
    pub(super) fn run_stages(&mut self, env: &mut F, now: Moment) -> Result<(), LogError> {
        loop {
            let next = match *self.stage() {
                Stage::Idle => return Ok(()),
                Stage::Wanted(why) => self.start(env, why)?,
                Stage::Away { by_us } => self.replace(env, by_us, now)?,
                Stage::Copying { .. } => match self.copy_slice(env)? {
                    Some(next) => next,
                    None => return Ok(()),
                },
                Stage::Copied { bytes } => self.truncate_copied(env, bytes)?,
                Stage::Placing { .. } => self.place_copy(env)?,
            };
            self.unrest().stage = next;
        }
    }

    /// The first steps, up to the point of no return of either mode.
    fn start(&mut self, env: &mut F, why: Why) -> Result<Stage<F::File>, LogError> {
        if !self.look(env)? {
            return Ok(Stage::Away { by_us: false });
        }
        let soft = super::cut::soft_limit(self.terms.spec.max_bytes);
        if self.size == 0 || (why == Why::Size && self.size < soft) {
            return Ok(Stage::Idle);
        }
        if self.terms.spec.mode == RotateMode::CopyTruncate {
            return self.start_copy(env);
        }
        let log = self.names().log.to_owned();
        if self.terms.spec.keep == 0 {
            self.put_away(env, &log)?;
        } else {
            self.shift(env)?;
            self.rename(env, &log, &self.names().backup(1))?;
        }
        Ok(Stage::Away { by_us: true })
    }

    /// Opens the log anew, after which the old file is closed.
    fn replace(
        &mut self,
        env: &mut F,
        by_us: bool,
        now: Moment,
    ) -> Result<Stage<F::File>, LogError> {
        let (bytes, inode) = (self.size, self.id.inode);
        if let Err(error) = self.reopen(env, now) {
            // What goes into a file without a name is lost with it: it waits for a new one.
            self.unrest().is_nameless = env.stat(&self.file).is_ok_and(|stat| stat.links == 0);
            return Err(error);
        }
        self.unrest().is_nameless = false;
        let mut whole = self.whole(bytes, inode, self.id.inode);
        self.begin_generation(&whole);
        if by_us {
            self.rotated();
            self.happened_at(whole.end, 0, What::Rotated(whole));
        } else {
            self.count().reopened += 1;
            whole.newest = self.newest(env);
            self.happened_at(whole.end, 0, What::Moved(whole));
            ::log::info!("log {}: was moved, opened anew", self.shown());
        }
        Ok(Stage::Idle)
    }

    /// A generation is complete.
    pub(super) fn rotated(&mut self) {
        self.rotations += 1;
        self.unrest().left_over = 0;
        self.check_retention();
        self.want_work(1);
    }

    /// Makes `.1` free. Where a name is free below `.keep` the backups above it stay, so that a
    /// shift that was interrupted is taken up where it stopped.
    pub(super) fn shift(&mut self, env: &mut F) -> Result<(), LogError> {
        self.settle_replaced(env)?;
        let mut moving = Vec::new();
        for number in 1..=self.terms.spec.keep {
            let Some(backup) = self.backup(env, number)? else { break };
            moving.push(backup);
        }
        if let Some(oldest) = moving.pop_if(|oldest| oldest.number == self.terms.spec.keep) {
            self.put_away(env, &self.name_of(&oldest))?;
        }
        for backup in moving.iter().rev() {
            let to = self.names().packed(backup.number + 1, &backup.suffix);
            self.rename(env, &self.name_of(backup), &to)?;
        }
        Ok(())
    }

    /// Brings our idea of the log's size up to date, and notes if somebody cut it. `false`: the
    /// name does not stand for it.
    pub(super) fn look(&mut self, env: &mut F) -> Result<bool, LogError> {
        let bytes = match self.see(env)? {
            None => return Ok(false),
            Some(cut) => cut,
        };
        if bytes > 0 {
            self.was_cut(env, bytes);
        }
        Ok(true)
    }

    /// Notes that somebody cut the log.
    pub(super) fn was_cut(&mut self, env: &mut F, bytes: u64) {
        let newest = self.newest(env);
        self.happened(What::Truncated { bytes, newest });
    }

    /// The same, without a note: by how much the log was cut. What is left are its last bytes, as
    /// others cut a log to nothing, and more was appended since.
    pub(super) fn see(&mut self, env: &mut F) -> Result<Option<u64>, LogError> {
        match env.stat_at(&self.dir, self.names().log) {
            Ok(stat) if stat.id == self.id => {
                let cut = self.size.saturating_sub(stat.size);
                if cut > 0 {
                    self.count().truncated_outside += 1;
                    let base = self.base + cut;
                    self.stand_at(base, base);
                }
                self.size = stat.size;
                if stat.size == 0 {
                    self.age_due = None;
                }
                Ok(Some(cut))
            }
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.error(self.names().log, Step::Examine, error)),
        }
    }

    /// Looks whether the log was moved, deleted or truncated by somebody, and reopens it.
    pub(super) fn check_name(&mut self, env: &mut F, now: Moment) {
        self.check_at = (now + self.terms.spec.check_interval).into();
        self.check_events(env);
        // A rotation under way looks for itself. A failure to look is no reason to stop writing.
        if self.stage().is_idle() && matches!(self.look(env), Ok(false)) {
            self.unrest().stage = Stage::Away { by_us: false };
            self.advance(env, now);
        }
    }

    /// Renames, with the error's path.
    pub(super) fn rename(&self, env: &mut F, from: &str, to: &str) -> Result<(), LogError> {
        match env.rename(&self.dir, from, to) {
            // Somebody has put a directory there: it goes if it is empty.
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => {
                self.remove(env, to)?;
                env.rename(&self.dir, from, to)
            }
            renamed => renamed,
        }
        .map_err(|error| self.error(from, Step::Rename, error))
    }

    /// Removes a name, which may be gone already.
    pub(super) fn remove(&self, env: &mut F, name: &str) -> Result<(), LogError> {
        match env.unlink(&self.dir, name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(self.error(name, Step::Remove, error))
            }
            _ => Ok(()),
        }
    }
}
