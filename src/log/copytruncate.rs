//! The mode `copytruncate`: the log is copied to `.1` and truncated.
//!
//! Owns the copy under way. Bytes are appended between the slices; the last slice, the renaming
//! and the truncation are one call, so nothing falls between them.
//!
//! The names tell a successor what was done: `.copying` is worth nothing, as the log has it all;
//! `.copied` is complete, and the log was truncated if and only if it no longer begins with the
//! same bytes. For that the log must stay shorter than the copy until the copy is `.1` (a guest may
//! print the same line for ever, so equal contents alone would prove nothing).
//! **Invariant:** the log is truncated only at the very size that the copy has.

use super::Log;
use super::error::{LogError, Step};
use super::ours::Purpose;
use super::record::{Generation, What};
use super::rotate::{Stage, Why};
use crate::env::Files;
use crate::limits::ROTATION_SLICE;
use std::io;

impl<F: Files> Log<F> {
    /// Makes an empty copy. Without backups there is nothing to copy.
    pub(super) fn start_copy(&mut self, env: &mut F) -> Result<Stage<F::File>, LogError> {
        if self.terms.spec.keep == 0 {
            let whole = self.whole(self.size, 0, self.id.inode);
            self.truncate_log(env)?;
            self.end_generation(whole);
            self.rotated();
            return Ok(Stage::Idle);
        }
        let name = self.names().copying();
        self.remove(env, &name)?;
        let (to, _) = self.open_beside(env, &name, Purpose::Make)?;
        Ok(Stage::Copying { to, copied: 0 })
    }

    /// Copies one slice. `None`: there is more. After the last one the copy gets its lasting name.
    pub(super) fn copy_slice(&mut self, env: &mut F) -> Result<Option<Stage<F::File>>, LogError> {
        let name = self.names().copying();
        if !self.look(env)? {
            self.remove(env, &name)?;
            return Ok(Some(Stage::Away { by_us: false }));
        }
        let Some(Stage::Copying { to, copied }) = self.unrest.as_mut().map(|u| &mut u.stage) else {
            return Ok(None);
        };
        let last = self.size.saturating_sub(*copied) <= ROTATION_SLICE;
        let target = if last { self.size } else { *copied + ROTATION_SLICE };
        let mut shrunk = self.size < *copied || self.size == 0;
        while *copied < target && !shrunk {
            match env.copy(&self.file, *copied, to, target - *copied) {
                Ok(0) => shrunk = true,
                Ok(n) => *copied += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.error(&name, Step::Copy, error)),
            }
        }
        if shrunk {
            // Somebody truncated the log meanwhile: what there is now is copied afresh.
            self.remove(env, &name)?;
            return Ok(Some(Stage::Wanted(Why::Size)));
        }
        if !last {
            return Ok(None);
        }
        let bytes = *copied;
        if let Stage::Copying { to, .. } = self.stage()
            && !self.is_still(env, &name, to)
        {
            self.remove(env, &name)?;
            return Ok(Some(Stage::Wanted(Why::Asked)));
        }
        self.rename(env, &name, &self.names().copied())?;
        Ok(Some(Stage::Copied { bytes }))
    }

    /// Truncates the log if it is what the copy is.
    pub(super) fn truncate_copied(
        &mut self,
        env: &mut F,
        bytes: u64,
    ) -> Result<Stage<F::File>, LogError> {
        let copied = self.names().copied();
        // Without its inode the copy would be nobody's for a reader.
        let inode = self.look_at(env, &copied)?.map_or(0, |copy| copy.inode);
        let whole = self.whole(bytes, inode, self.id.inode);
        let Some(cut) = self.see(env)? else {
            self.remove(env, &copied)?;
            return Ok(Stage::Away { by_us: false });
        };
        if self.size > bytes {
            // An earlier attempt to truncate failed, and more was appended: the log has it all.
            self.remove(env, &copied)?;
            return Ok(Stage::Wanted(Why::Asked));
        }
        if self.size == bytes && cut == 0 {
            self.truncate_log(env)?;
            self.end_generation(whole);
        } else {
            // Somebody cut it before us: the copy has what it was, but for what came since.
            self.generation += 1;
            self.happened_at(whole.end, 0, What::Rotated(whole));
            if let Some(more) = cut.checked_sub(bytes).filter(|more| *more > 0) {
                self.was_cut(env, more);
            }
        }
        Ok(Stage::Placing { bytes })
    }

    /// Makes the copy `.1`.
    pub(super) fn place_copy(&mut self, env: &mut F) -> Result<Stage<F::File>, LogError> {
        let copied = self.names().copied();
        if self.terms.spec.keep == 0 {
            self.remove(env, &copied)?;
        } else {
            self.shift(env)?;
            self.rename(env, &copied, &self.names().backup(1))?;
        }
        self.rotated();
        Ok(Stage::Idle)
    }

    /// Removes a copy that is not complete, as far as that goes: a successor does it otherwise.
    pub(super) fn give_up_copy(&mut self, env: &mut F) {
        if self.stage().is_copying() && self.remove(env, &self.names().copying()).is_ok() {
            self.unrest().stage = Stage::Idle;
        }
    }

    /// The log begins anew, in the same file.
    fn end_generation(&mut self, whole: Generation) {
        self.begin_generation(&whole);
        self.happened(What::Rotated(whole));
    }

    /// Empties the log.
    fn truncate_log(&mut self, env: &mut F) -> Result<(), LogError> {
        let truncated = env.truncate(&self.file, 0);
        truncated.map_err(|error| self.error(self.names().log, Step::Truncate, error))?;
        self.size = 0;
        self.age_due = None;
        Ok(())
    }
}
