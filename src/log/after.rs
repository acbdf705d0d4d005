//! What is done with a backup once its rotation is over: a command's work, and bringing it to the
//! disk. Children do it, whom the reactor starts and hears of.
//!
//! Owns the files that a child works on, and what waits for one.
//! **Invariant:** a backup is replaced only by a file that is complete, and under the number that
//! it has by then; whatever fails, it stays as it is. One child at a time, the oldest first.

use super::Log;
use super::backups::Backup;
use super::error::{LogError, Step};
use super::ours::Purpose;
use super::record::What;
use super::retry::Retry;
use crate::config::{AfterRotate, Fsync};
use crate::env::{FileId, Files, Moment, Stat};
use crate::limits::AFTER_ROTATE_ATTEMPTS;
use std::io;

/// Most generations that one child brings to the disk.
const SYNC_MAX: usize = 8;

/// What a child is to do.
pub enum Work<'a, F: Files> {
    /// Run a command.
    Pack {
        /// The program and its arguments.
        command: &'a [String],
        /// Its standard input.
        input: &'a F::File,
        /// Its standard output.
        output: &'a F::File,
        /// Bytes that it is to read.
        bytes: u64,
    },
    /// fsync(2): the files, then the directory.
    Sync {
        /// The files, in this order.
        files: Vec<&'a F::File>,
        /// Their directory.
        dir: &'a F::Dir,
    },
}

/// What waits, and what is under way. No memory while there is neither.
pub(super) struct After<File> {
    running: Option<Running<File>>,
    /// There may be backups without a suffix that are to have one.
    pack: bool,
    /// So many of the newest backups are not known to be on the disk.
    unsynced: u32,
    /// A backup was replaced, and could not be removed yet.
    replaced: bool,
    /// Failures since the last rotation or success.
    attempts: u32,
    retry: Retry,
}

/// What is under way.
enum Running<File> {
    Pack(Pack<File>),
    Sync { files: Vec<File>, generations: u32 },
}

struct Pack<File> {
    after: AfterRotate,
    /// Held to the end, so that its inode is no other file's meanwhile.
    input: File,
    id: FileId,
    bytes: u64,
    output: File,
    /// The command has succeeded; what it wrote is being brought to the disk.
    syncing: bool,
}

impl<File> Default for After<File> {
    fn default() -> Self {
        After {
            running: None,
            pack: false,
            unsynced: 0,
            replaced: false,
            attempts: 0,
            retry: Retry::default(),
        }
    }
}

impl<File> After<File> {
    fn wants(&self) -> bool {
        self.pack || self.unsynced > 0
    }

    /// When a failure is over.
    pub fn due(&self) -> Option<Moment> {
        self.retry.due()
    }
}

impl<F: Files> Log<F> {
    /// Whether a child has something to do: then [`Log::begin_work`] is to be called in its turn.
    pub fn wants_work(&self) -> bool {
        let idle = |after: &After<F::File>| after.running.is_none() && after.due().is_none();
        self.after().is_some_and(|after| idle(after) && after.wants())
    }

    /// Notes that there may be work: `generations` new ones.
    pub(super) fn want_work(&mut self, generations: u32) {
        let packs = self.terms.spec.after_rotate.is_some() && self.terms.spec.keep > 0;
        let syncs = self.terms.spec.fsync == Fsync::Rotation;
        if !packs && !syncs && self.after().is_none() {
            return;
        }
        let after = self.unrest().after.get_or_insert_default();
        after.pack = packs;
        after.attempts = 0;
        // One that is no longer kept is not found: that is what it takes to be through with it.
        after.unsynced = after.unsynced.saturating_add(generations);
        if !syncs {
            after.unsynced = 0;
        }
        self.forget_work();
    }

    /// Opens what a child is to work on. `false`: there is nothing to be done.
    ///
    /// # Errors
    /// Descriptors or memory are short: nothing is changed, and it is to be tried again later. What
    /// else fails is counted and retried like a command that fails.
    pub fn begin_work(&mut self, env: &mut F, now: Moment) -> Result<bool, LogError> {
        if !self.wants_work() {
            return Ok(false);
        }
        match self.open_work(env) {
            Ok(running) => {
                let found = running.is_some();
                if let Some(after) = self.after_mut() {
                    after.running = running;
                }
                self.forget_work();
                self.rest(now);
                Ok(found)
            }
            Err(error) => {
                if error.is_shortage() {
                    return Err(error);
                }
                self.fail_work(env, &error.to_string(), now);
                Ok(false)
            }
        }
    }

    /// What the child is to do that is to be started now.
    pub fn work(&self) -> Option<Work<'_, F>> {
        let dir = &self.dir;
        Some(match self.after()?.running.as_ref()? {
            Running::Sync { files, .. } => Work::Sync { files: files.iter().collect(), dir },
            Running::Pack(Pack { output, syncing: true, .. }) => {
                Work::Sync { files: vec![output], dir }
            }
            Running::Pack(Pack { after, input, output, bytes, .. }) => {
                Work::Pack { command: &after.command, input, output, bytes: *bytes }
            }
        })
    }

    /// Whether what is under way is not wanted any more.
    pub fn is_work_stale(&self) -> bool {
        match self.after().and_then(|after| after.running.as_ref()) {
            Some(Running::Pack(pack)) => self.terms.spec.after_rotate.as_ref() != Some(&pack.after),
            _ => false,
        }
    }

    /// The child has ended. `true`: another one is to be started at once, for what
    /// [`Log::work`] says now.
    pub fn end_work(&mut self, env: &mut F, outcome: Result<(), String>, now: Moment) -> bool {
        let syncs = self.terms.spec.fsync == Fsync::Rotation;
        let Some(after) = self.after_mut() else { return false };
        match (outcome, after.running.take()) {
            (_, None) => return false,
            (Ok(()), Some(Running::Pack(pack))) => {
                if syncs && !pack.syncing {
                    after.running = Some(Running::Pack(Pack { syncing: true, ..pack }));
                    return true;
                }
                match self.place_packed(env, &pack, now) {
                    Ok(()) => self.work_succeeded(),
                    Err(error) => self.fail_work(env, &error.to_string(), now),
                }
            }
            (Ok(()), Some(Running::Sync { generations, .. })) => {
                after.unsynced = after.unsynced.saturating_sub(generations);
                self.count().syncs += 1;
                self.work_succeeded();
            }
            (Err(why), Some(Running::Pack(_))) => self.fail_work(env, &why, now),
            (Err(why), Some(Running::Sync { generations, .. })) => {
                // Not again: the kernel has told this failure once, and would call the same bytes
                // clean the next time (fsync(2), EIO).
                after.unsynced = after.unsynced.saturating_sub(generations);
                let is_told = after.retry.fail(now);
                after.retry.resume();
                self.count().sync_failures += 1;
                if is_told {
                    let path = self.shown();
                    ::log::warn!("log {path}: its backups were not brought to the disk: {why}");
                }
            }
        }
        self.forget_work();
        self.rest(now);
        false
    }

    /// The child was ended by us, or was never started: what it was to do is wanted yet.
    pub fn give_up_work(&mut self, env: &mut F) {
        let Some(after) = self.after_mut() else { return };
        if let Some(Running::Pack(_)) = after.running.take()
            && let Err(error) = self.remove(env, &self.names().packing())
        {
            // The next opening, or the next command, removes it.
            ::log::debug!("{error}");
        }
    }

    /// The wait after a failure is over.
    pub(super) fn resume_work(&mut self, now: Moment) {
        if let Some(after) = self.after_mut().filter(|after| after.retry.is_due(now)) {
            after.retry.resume();
        }
    }

    /// Removes a backup whose packed file stands already, before any of them is moved.
    pub(super) fn settle_replaced(&mut self, env: &mut F) -> Result<(), LogError> {
        if self.after().is_some_and(|after| after.replaced) {
            self.remove_replaced(env)?;
            if let Some(after) = self.after_mut() {
                after.replaced = false;
            }
        }
        Ok(())
    }

    fn work_succeeded(&mut self) {
        let Some(after) = self.after_mut() else { return };
        after.attempts = 0;
        if after.retry.succeed() {
            ::log::info!("log {}: its backups are seen to again", self.shown());
        }
    }

    /// A backup was not packed: it stays, and is tried again a few times.
    fn fail_work(&mut self, env: &mut F, why: &str, now: Moment) {
        self.count().after_rotate_failures += 1;
        let left = self.remove(env, &self.names().packing());
        let Some(after) = self.after_mut() else { return };
        after.attempts += 1;
        let is_told = after.retry.fail(now);
        if after.attempts >= AFTER_ROTATE_ATTEMPTS {
            after.pack = false;
            after.unsynced = 0;
            after.retry.resume();
        }
        if is_told {
            let path = self.shown();
            ::log::warn!("after_rotate of log {path}: {why}; the backup stays as it is");
        }
        if let Err(error) = left {
            ::log::debug!("{error}");
        }
    }

    /// Gives the memory back once nothing is left to do or to remember.
    fn forget_work(&mut self) {
        let idle = |after: &After<F::File>| {
            after.running.is_none() && !after.wants() && !after.replaced && !after.retry.is_told()
        };
        if let Some(unrest) = &mut self.unrest {
            unrest.after.take_if(|after| idle(after));
        }
    }

    fn open_work(&mut self, env: &mut F) -> Result<Option<Running<F::File>>, LogError> {
        self.settle_replaced(env)?;
        let Some(after) = self.after() else { return Ok(None) };
        let unsynced = after.unsynced;
        if unsynced > 0 {
            let sync = self.open_unsynced(env, unsynced)?;
            if sync.is_some() {
                return Ok(sync);
            }
            if let Some(after) = self.after_mut() {
                after.unsynced = 0;
            }
        }
        let packs = self.after().is_some_and(|after| after.pack);
        match self.terms.spec.after_rotate.clone().filter(|_| packs) {
            Some(after) => self.open_unpacked(env, after),
            None => Ok(None),
        }
    }

    /// The oldest of those backups that may not be on the disk, and the events.
    fn open_unsynced(
        &self,
        env: &mut F,
        unsynced: u32,
    ) -> Result<Option<Running<F::File>>, LogError> {
        let mut backups = self.backups(env)?;
        backups.retain(|backup| backup.number <= unsynced);
        let later = backups.len().saturating_sub(SYNC_MAX);
        let oldest = backups.split_off(later);
        let generations = unsynced - backups.last().map_or(0, |backup| backup.number);
        let mut files = Vec::new();
        for backup in oldest.iter().rev() {
            files.extend(self.open_backup(env, backup)?.map(|(file, _)| file));
        }
        if files.is_empty() {
            return Ok(None);
        }
        let events = self.names().events();
        files.extend(self.open_beside(env, &events, Purpose::Read).ok().map(|(file, _)| file));
        Ok(Some(Running::Sync { files, generations }))
    }

    /// The oldest backup without a suffix, and an empty file for what it becomes.
    fn open_unpacked(
        &mut self,
        env: &mut F,
        after: AfterRotate,
    ) -> Result<Option<Running<F::File>>, LogError> {
        let mut backups = self.backups(env)?;
        backups.retain(|backup| backup.suffix.is_empty());
        for backup in backups.iter().rev() {
            let Some((input, stat)) = self.open_backup(env, backup)? else { continue };
            let output = self.make_packing(env)?;
            let (id, bytes) = (stat.id, stat.size);
            let pack = Pack { after, input, id, bytes, output, syncing: false };
            return Ok(Some(Running::Pack(pack)));
        }
        if let Some(after) = self.after_mut() {
            after.pack = false;
        }
        Ok(None)
    }

    /// Opens a backup, if it is one: no link, FIFO or directory, no file that has another name, and
    /// not the one that is still being written.
    fn open_backup(
        &self,
        env: &mut F,
        backup: &Backup,
    ) -> Result<Option<(F::File, Stat)>, LogError> {
        if self.terms.rights.check(&backup.stat).is_err() || backup.stat.id == self.id {
            return Ok(None);
        }
        let (file, stat) = self.open_beside(env, &self.name_of(backup), Purpose::Read)?;
        Ok((stat.id == backup.stat.id).then_some((file, stat)))
    }

    fn make_packing(&self, env: &mut F) -> Result<F::File, LogError> {
        let name = self.names().packing();
        self.remove(env, &name)?;
        Ok(self.open_beside(env, &name, Purpose::Make)?.0)
    }

    /// Puts what the command wrote in the backup's place, wherever that is now. A backup that was
    /// dropped meanwhile takes it along.
    fn place_packed(
        &mut self,
        env: &mut F,
        pack: &Pack<F::File>,
        now: Moment,
    ) -> Result<(), LogError> {
        let packing = self.names().packing();
        let odd = |why| self.error(&packing, Step::Examine, io::Error::other(why));
        let stat = |env: &mut F, file| {
            env.stat(file).map_err(|error| self.error(&packing, Step::Examine, error))
        };
        let (raw, packed) = (stat(env, &pack.input)?, stat(env, &pack.output)?);
        if packed.size == 0 && pack.bytes > 0 {
            return Err(odd("the command wrote nothing"));
        }
        if self.stat_name(env, &packing)?.is_none_or(|named| named.id != packed.id) {
            return Err(odd("it was moved away"));
        }
        let backups = self.backups(env)?;
        let is_it = |backup: &&Backup| backup.suffix.is_empty() && backup.stat.id == pack.id;
        let Some(backup) = backups.iter().find(is_it) else {
            return self.remove(env, &packing);
        };
        if raw.size != pack.bytes || raw.links != 1 {
            return Err(odd("the backup has changed meanwhile"));
        }
        let timed = env.set_modified_as(&pack.output, &pack.input);
        timed.map_err(|error| self.error(&packing, Step::SetTime, error))?;
        let to = self.names().packed(backup.number, &pack.after.suffix);
        self.rename(env, &packing, &to)?;
        if let Some(after) = self.after_mut() {
            after.replaced = true;
        }
        self.packed(env, raw.id, &packed, now);
        self.check_retention();
        self.settle_replaced(env)
    }

    /// A backup, the file `raw`, is `packed` from now on.
    fn packed(&mut self, env: &mut F, raw: FileId, packed: &Stat, now: Moment) {
        self.count().packed += 1;
        let (inode, packed_bytes) = (packed.id.inode, packed.size);
        // A backup that no line tells of was not made by us.
        if let Some(generation) = self.generation_of(env, raw.inode) {
            self.note(env, What::Packed { generation, inode, packed_bytes }, now);
        }
        let (path, from) = (self.shown(), raw.inode);
        ::log::debug!("log {path}: the backup {from} is {inode} now, of {packed_bytes} bytes");
    }
}
