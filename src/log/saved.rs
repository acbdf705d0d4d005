//! A log as it is left to a successor in the same process, and taken over by it.
//!
//! Owns what of a log is written down.
//! **Invariant:** between [`Log::save`] and [`Log::take_over`] nobody appends; then the log goes on
//! at the same byte, its rotation at the same step, under the same lock.

use super::Counters;
use super::Log;
use super::error::{Cause, LogError, Step};
use super::events::Unsaid;
use super::held::{Gap, Held};
use super::open::kept;
use super::ours::Rights;
use super::record::{Record, What};
use super::rotate::{Stage, Why};
use super::terms::Terms;
use super::unrest::Unrest;
use crate::config::{AfterRotate, Fsync, LogSpec, Overflow, RotateMode, VmPaths};
use crate::env::{Descriptor, FileId, Files, Moment, Stamp};
use crate::limits::HOLD_BYTES;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A log.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SavedLog {
    /// Its path.
    pub path: PathBuf,
    /// See [`crate::LogSpec`].
    pub max_bytes: u64,
    /// See [`crate::LogSpec`].
    pub max_age: Option<Duration>,
    /// See [`crate::LogSpec`].
    pub keep: u32,
    /// The mode is copytruncate, not rename.
    pub copies: bool,
    /// See [`crate::LogSpec`].
    pub check_interval: Duration,
    /// See [`crate::LogSpec`].
    pub file_mode: u32,
    /// See [`crate::LogSpec`].
    pub group: Option<String>,
    /// See [`crate::LogSpec`].
    pub max_total_bytes: Option<u64>,
    /// See [`crate::LogSpec`].
    pub max_backup_age: Option<Duration>,
    /// See [`crate::LogSpec`].
    pub owner: Option<String>,
    /// See [`crate::LogSpec`].
    pub root: Option<PathBuf>,
    /// See [`crate::LogSpec`]; `None`: the default.
    pub hold_bytes: Option<usize>,
    /// On overflow the newest bytes are dropped, not the oldest.
    pub drops_newest: bool,
    /// See [`crate::LogSpec`].
    pub rate_bytes: Option<u64>,
    /// See [`crate::LogSpec`].
    pub burst_bytes: Option<u64>,
    /// See [`crate::LogSpec`].
    pub keep_boot_head: usize,
    /// The command of [`crate::config::AfterRotate`], and the suffix of its output.
    pub after_rotate: Option<(Vec<String>, String)>,
    /// Generations are brought to the disk when they are complete.
    pub syncs: bool,
    /// The directory's number.
    pub dir: Descriptor,
    /// The present generation's number.
    pub file: Descriptor,
    /// What that file is.
    pub id: Option<FileId>,
    /// Its size, as far as is known.
    pub size: u64,
    /// When it is too old.
    pub age_due: Option<Moment>,
    /// The rotation under way.
    pub rotation: Rotation,
    /// The size at which it began, or a size that leaves it as much room.
    pub begun_at: u64,
    /// The copy's number, while it is made.
    pub copy: Option<Descriptor>,
    /// What could not be written yet.
    #[serde(with = "super::hex")]
    pub held: Vec<u8>,
    /// Since when something waits, if anything does.
    pub held_since: Option<Moment>,
    /// The losses around it.
    pub gaps: Vec<Gap>,
    /// The offset of the next byte that is written, less the log's size; `None`: the events file
    /// has to tell.
    pub base: Option<u64>,
    /// The number of the generation, and the offset of its first byte.
    pub generation: u64,
    /// See `generation`.
    pub start: u64,
    /// Lines of the events file that could not be written yet.
    pub events: String,
    /// Others, which told of rotations or losses, were dropped.
    pub events_broken: bool,
    /// What has happened to it.
    pub counters: Counters,
}

/// How far a rotation has come, without what it has open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rotation {
    /// None is under way.
    #[default]
    Idle,
    /// It is to begin.
    Wanted,
    /// The log's name does not stand for our file; we moved it, or somebody else did.
    Away {
        /// It was our rotation.
        by_us: bool,
    },
    /// So many bytes of the log were copied.
    Copying {
        /// The bytes.
        copied: u64,
    },
    /// The copy is complete.
    Copied {
        /// Its size.
        bytes: u64,
    },
    /// The log was truncated.
    Placing {
        /// The copy's size.
        bytes: u64,
    },
}

impl Rotation {
    /// The same, with the copy that was left; one that was not is begun anew.
    fn stage<File>(self, copy: Option<File>) -> Stage<File> {
        match (self, copy) {
            (Rotation::Idle, _) => Stage::Idle,
            (Rotation::Copying { copied }, Some(to)) => Stage::Copying { to, copied },
            (Rotation::Wanted | Rotation::Copying { .. }, _) => Stage::Wanted(Why::Asked),
            (Rotation::Away { by_us }, _) => Stage::Away { by_us },
            (Rotation::Copied { bytes }, _) => Stage::Copied { bytes },
            (Rotation::Placing { bytes }, _) => Stage::Placing { bytes },
        }
    }
}

impl SavedLog {
    /// What the log was asked to be.
    pub fn spec(&self) -> LogSpec {
        LogSpec {
            path: self.path.clone(),
            max_bytes: self.max_bytes,
            max_age: self.max_age,
            keep: self.keep,
            mode: if self.copies { RotateMode::CopyTruncate } else { RotateMode::Rename },
            check_interval: self.check_interval,
            file_mode: self.file_mode,
            group: self.group.clone(),
            max_total_bytes: self.max_total_bytes,
            max_backup_age: self.max_backup_age,
            owner: self.owner.clone(),
            root: self.root.clone(),
            hold_bytes: self.hold_bytes.unwrap_or(HOLD_BYTES),
            on_overflow: if self.drops_newest { Overflow::Newest } else { Overflow::Oldest },
            rate_bytes: self.rate_bytes,
            burst_bytes: self.burst_bytes,
            keep_boot_head: self.keep_boot_head,
            after_rotate: self
                .after_rotate
                .clone()
                .map(|(command, suffix)| AfterRotate { command, suffix }),
            fsync: if self.syncs { Fsync::Rotation } else { Fsync::None },
        }
    }

    /// Bytes that came and that no file tells of: they are lost if the log can't be taken over.
    pub fn unrecorded_bytes(&self) -> u64 {
        let lost: u64 = self.gaps.iter().map(|gap| gap.loss.bytes).sum();
        self.held.len() as u64 + lost
    }

    /// The part that [`SavedLog::spec`] reads, but for the path.
    fn of(spec: &LogSpec) -> SavedLog {
        let after_rotate = spec.after_rotate.clone();
        SavedLog {
            max_bytes: spec.max_bytes,
            max_age: spec.max_age,
            keep: spec.keep,
            copies: spec.mode == RotateMode::CopyTruncate,
            check_interval: spec.check_interval,
            file_mode: spec.file_mode,
            group: spec.group.clone(),
            max_total_bytes: spec.max_total_bytes,
            max_backup_age: spec.max_backup_age,
            owner: spec.owner.clone(),
            root: spec.root.clone(),
            hold_bytes: Some(spec.hold_bytes),
            drops_newest: spec.on_overflow == Overflow::Newest,
            rate_bytes: spec.rate_bytes,
            burst_bytes: spec.burst_bytes,
            keep_boot_head: spec.keep_boot_head,
            after_rotate: after_rotate.map(|after| (after.command, after.suffix)),
            syncs: spec.fsync == Fsync::Rotation,
            ..SavedLog::default()
        }
    }
}

/// What a log has open, as the caller took it over.
pub struct OpenLog<F: Files> {
    /// Its directory.
    pub dir: F::Dir,
    /// The present generation.
    pub file: F::File,
    /// The copy that is being made.
    pub copy: Option<F::File>,
}

impl<F: Files> Log<F> {
    /// What a successor needs. `number` tells a file's number, `dir_number` a directory's.
    pub fn save(
        &self,
        number: impl Fn(&F::File) -> Descriptor,
        dir_number: impl Fn(&F::Dir) -> Descriptor,
    ) -> SavedLog {
        let rest = Unrest::default();
        let unrest = self.unrest.as_deref().unwrap_or(&rest);
        let (rotation, copy) = match &unrest.stage {
            Stage::Idle => (Rotation::Idle, None),
            Stage::Wanted(_) => (Rotation::Wanted, None),
            Stage::Away { by_us } => (Rotation::Away { by_us: *by_us }, None),
            Stage::Copying { to, copied } => (Rotation::Copying { copied: *copied }, Some(to)),
            Stage::Copied { bytes } => (Rotation::Copied { bytes: *bytes }, None),
            Stage::Placing { bytes } => (Rotation::Placing { bytes: *bytes }, None),
        };
        SavedLog {
            dir: dir_number(&self.dir),
            file: number(&self.file),
            id: Some(self.id),
            size: self.size,
            age_due: self.age_due.map(Moment::from),
            rotation,
            begun_at: unrest.begun_at,
            copy: copy.map(number),
            held: unrest.held.bytes.iter().copied().collect(),
            held_since: (!unrest.held.bytes.is_empty()).then_some(unrest.held_since),
            gaps: unrest.held.gaps.clone(),
            base: Some(self.base),
            generation: self.generation,
            start: self.first_offset(),
            events: String::from_utf8_lossy(&unrest.unsaid.pending).into_owned(),
            events_broken: unrest.unsaid.broken,
            counters: Counters {
                lost_boot_head: self.counters().lost_boot_head + self.head_pending(),
                ..self.counters()
            },
            path: self.path(),
            ..SavedLog::of(&self.terms.spec)
        }
    }

    /// What a log that is left is to be: as it was, where a name can't be looked up just now. That
    /// is no reason to lose the VM: the file was ours.
    ///
    /// # Errors
    /// The file that was left can't be examined.
    pub(crate) fn terms_left(
        env: &mut F,
        saved: &SavedLog,
        file: &F::File,
    ) -> Result<Terms, LogError> {
        let spec = saved.spec();
        let stat = env.stat(file).map_err(|error| LogError {
            path: spec.path.clone(),
            step: Step::Examine,
            cause: Cause::Io(error),
        })?;
        let own = Rights { uid: stat.uid, gid: None, mode: spec.file_mode };
        Ok(Terms::with(&spec, Rights::of(env, &spec).unwrap_or(own)))
    }

    /// Goes on where the predecessor was. What was held is tried to be written at once.
    ///
    /// # Errors
    /// The file that was left can't be examined, or what lies beside it.
    pub fn take_over(
        env: &mut F,
        saved: SavedLog,
        open: OpenLog<F>,
        jitter: u64,
        now: Moment,
    ) -> Result<Log<F>, LogError> {
        let terms = Arc::new(Log::terms_left(env, &saved, &open.file)?);
        Log::take_over_at(env, (VmPaths::of_log(&saved.path), terms), saved, open, jitter, now)
    }

    /// The same for a VM's log, under terms that it shares with others.
    ///
    /// # Errors
    /// As [`Log::take_over`].
    pub(crate) fn take_over_at(
        env: &mut F,
        (paths, terms): (VmPaths, Arc<Terms>),
        saved: SavedLog,
        open: OpenLog<F>,
        jitter: u64,
        now: Moment,
    ) -> Result<Log<F>, LogError> {
        let stat = env.stat(&open.file).map_err(|error| LogError {
            path: paths.log(),
            step: Step::Examine,
            cause: Cause::Io(error),
        })?;
        let events = saved.events.into_bytes();
        let lost = |record: Record| match record.what {
            What::Lost(loss) => loss.bytes,
            _ => 0,
        };
        let losses = Record::decode_all(&events).map(lost).sum();
        let unrest = Unrest {
            held: Held { bytes: saved.held.into(), gaps: saved.gaps },
            held_since: saved.held_since.unwrap_or(now),
            stage: saved.rotation.stage(open.copy),
            begun_at: saved.begun_at,
            unsaid: Unsaid::left(events, losses, saved.events_broken),
            ..Unrest::default()
        };
        let mut log = Log {
            terms,
            paths,
            file: open.file,
            dir: open.dir,
            events: None,
            jitter: kept(jitter),
            size: saved.size,
            check_at: now.into(),
            mark_at: now.into(),
            marked: u16::MAX,
            age_due: saved.age_due.map(Stamp::from),
            written_bytes: saved.counters.written_bytes,
            unrest: Some(Box::new(unrest)),
            id: stat.id,
            generation: saved.generation,
            base: saved.base.unwrap_or(0),
            events_inode: 0,
            events_size: 0,
            rotations: saved.counters.rotations,
            extra: None,
        };
        log.stand_at(saved.start, log.base);
        let counted = Counters { written_bytes: 0, rotations: 0, ..saved.counters };
        if counted != Counters::default() {
            *log.count() = counted;
        }
        match saved.base {
            Some(_) => {
                let adopted = log.adopted(env);
                log.happened(adopted);
                let unrest = log.unrest();
                unrest.lost_due = (!unrest.held.gaps.is_empty()).then_some(now);
            }
            None => log.begin_history(env, None, now)?,
        }
        log.go_on(env, now)?;
        Ok(log)
    }

    /// Takes up what was under way.
    fn go_on(&mut self, env: &mut F, now: Moment) -> Result<(), LogError> {
        self.clear_packing(env);
        self.find_leftovers(env)?;
        if !self.stage().is_idle() {
            self.advance(env, now);
        }
        self.drain(env, now);
        if self.unrest.as_ref().is_some_and(|unrest| unrest.lost_due.is_some()) {
            self.record_losses_behind(now);
        }
        self.say(env, now);
        Ok(())
    }
}
