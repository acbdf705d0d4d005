//! Opening a generation: ours alone, regular, with its mode and group.
//!
//! Owns nothing.
//! **Invariant:** a file that is not ours (a link, a FIFO, locked by another) is not changed.

use super::error::{Cause, LogError, Step};
use super::events::Events;
use super::held::Held;
use super::names::Names;
use super::ours::{Purpose, Rights, open_ours, stat_if_there};
use super::retry::Retry;
use super::rotate::Stage;
use super::{Counters, Log};
use crate::config::LogSpec;
use crate::env::{FileId, Files, Moment, Stat};
use crate::limits::{AGE_SPREAD_MAX, LOG_DIR_MODE, MAX_BYTES_MIN};
use std::io;
use std::path::Path;
use std::time::Duration;

impl<F: Files> Log<F> {
    /// Opens the log, makes its directory where that is absent, and finishes what a predecessor
    /// was interrupted at. `jitter` is any number that differs from VM to VM: it spreads the
    /// rotations by age.
    ///
    /// # Errors
    /// The file, the step and the cause; nothing is left open then.
    pub fn open(env: &mut F, spec: &LogSpec, jitter: u64, now: Moment) -> Result<Log<F>, LogError> {
        let fail = |step, cause| LogError { path: spec.path.clone(), step, cause };
        let Some(name) = spec.path.file_name().and_then(|name| name.to_str()) else {
            return Err(fail(Step::Open, Cause::NoName));
        };
        let names = Names { log: name.to_owned() };
        let dir = open_directory(env, spec)?;
        let rights = Rights::of(env, spec)?;
        let (file, stat) = open_generation(env, &dir, spec, &names, &rights)?;
        // Whoever skipped `VmSpec::validate` shall not make a cut that takes nothing, for ever.
        let max_bytes = spec.max_bytes.max(MAX_BYTES_MIN);
        let mut log = Log {
            spec: LogSpec { max_bytes, ..spec.clone() },
            names,
            rights,
            dir,
            file,
            id: stat.id,
            size: stat.size,
            counters: Counters::default(),
            check_at: now + spec.check_interval,
            age_max: spec.max_age.map(|max| spread(max, jitter)),
            age_due: None,
            generation: 1,
            start: 0,
            base: 0,
            events: Events::default(),
            mark_at: now,
            held: Held::default(),
            lost_due: None,
            writing: Retry::default(),
            stage: Stage::Idle,
            begun_at: 0,
            left_over: stat.size.saturating_sub(spec.max_bytes).min(spec.max_bytes),
            is_nameless: false,
            rotating: Retry::default(),
            backup_due: None,
            dropped: None,
            head: None,
            after: None,
        };
        log.recover(env, now)?;
        log.resume_age(env, stat.age, now);
        Ok(log)
    }

    /// Opens what the log's name now stands for, and only then lets go of the old file.
    pub(super) fn reopen(&mut self, env: &mut F, now: Moment) -> Result<(), LogError> {
        let mut opened = open_generation(env, &self.dir, &self.spec, &self.names, &self.rights);
        let parent = directory(&self.spec.path);
        let above = parent.parent().is_some_and(|above| env.has_dir(above));
        if above && opened.as_ref().is_err_and(LogError::is_not_found) {
            // The directory itself was removed, and nothing can be made in it any more. It is made
            // anew where the one above is there: a VM's that was removed whole is not brought back.
            let dir = open_directory(env, &self.spec)?;
            opened = open_generation(env, &dir, &self.spec, &self.names, &self.rights);
            if opened.is_ok() {
                self.dir = dir;
            }
        }
        let (file, stat) = opened?;
        self.file = file;
        self.id = stat.id;
        self.size = stat.size;
        self.age_due = None;
        self.check_at = now + self.spec.check_interval;
        self.start_age(now);
        Ok(())
    }

    /// Notes that the generation has bytes: from its first one on it ages.
    pub(super) fn start_age(&mut self, now: Moment) {
        if self.age_due.is_none() && self.size > 0 {
            self.age_due = self.age_max.map(|max| now + max);
        }
    }

    /// The age of a generation that was there before us: it began when `.1` was written last, and
    /// not later than its own last byte.
    fn resume_age(&mut self, env: &mut F, own_age: Duration, now: Moment) {
        let Some(max) = self.age_max.filter(|_| self.size > 0) else { return };
        let newest = self.backup(env, 1).ok().flatten();
        let age = newest.map_or(own_age, |newest| newest.stat.age.max(own_age));
        // After a long stop every log is overdue: not all in one turn.
        let spread = self.spec.max_age.unwrap_or(max).saturating_sub(max).min(AGE_SPREAD_MAX);
        self.age_due = Some(now + max.saturating_sub(age).max(spread));
    }

    /// An error about the file `name` beside the log.
    pub(super) fn error(&self, name: &str, step: Step, cause: io::Error) -> LogError {
        let cause = match cause.kind() {
            io::ErrorKind::DirectoryNotEmpty => Cause::InTheWay,
            _ => Cause::Io(cause),
        };
        LogError { path: self.spec.path.with_file_name(name), step, cause }
    }
}

/// The file at a log's path, if there is one. Makes the directory, as [`Log::open`] does.
pub fn id_at<F: Files>(env: &mut F, spec: &LogSpec) -> Option<FileId> {
    stat_log(env, spec).ok().flatten().map(|stat| stat.id)
}

/// The size of the file at a log's path, if there is one; see [`id_at`].
///
/// # Errors
/// It can't be told just now.
pub fn size_at<F: Files>(env: &mut F, spec: &LogSpec) -> Result<Option<u64>, LogError> {
    Ok(stat_log(env, spec)?.map(|stat| stat.size))
}

fn stat_log<F: Files>(env: &mut F, spec: &LogSpec) -> Result<Option<Stat>, LogError> {
    let dir = open_directory(env, spec)?;
    let Some(name) = spec.path.file_name().and_then(|name| name.to_str()) else {
        return Ok(None);
    };
    let fail =
        |error| LogError { path: spec.path.clone(), step: Step::Examine, cause: Cause::Io(error) };
    stat_if_there(env, &dir, name).map_err(fail)
}

/// Opens a log's directory, and makes what is missing of it.
fn open_directory<F: Files>(env: &mut F, spec: &LogSpec) -> Result<F::Dir, LogError> {
    let path = directory(&spec.path);
    env.open_dir(path, spec.root.as_deref(), LOG_DIR_MODE).map_err(|error| LogError {
        path: path.to_owned(),
        step: Step::OpenDirectory,
        cause: Cause::Io(error),
    })
}

pub(super) fn directory(path: &Path) -> &Path {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or(Path::new("."))
}

/// Opens the log's name to append, makes sure that it is ours alone, and takes its lock.
fn open_generation<F: Files>(
    env: &mut F,
    dir: &F::Dir,
    spec: &LogSpec,
    names: &Names,
    rights: &Rights,
) -> Result<(F::File, Stat), LogError> {
    let fail = |(step, cause)| LogError { path: spec.path.clone(), step, cause };
    let opened = open_ours(env, dir, &spec.path, &names.log, Purpose::Append, rights);
    let (file, stat) = opened?;
    let locked = env.lock(&file).map_err(|error| fail((Step::Open, Cause::Io(error))))?;
    if !locked {
        return Err(fail((Step::Open, Cause::Locked)));
    }
    rights.set(env, &file).map_err(fail)?;
    Ok((file, stat))
}

/// `max` less up to a tenth of it.
pub(super) fn spread(max: Duration, jitter: u64) -> Duration {
    let part = u32::try_from(jitter % 1024).unwrap_or(0);
    // Not zero: a deadline must lie in the future, or the loop would spin.
    (max - max / 10 * part / 1024).max(Duration::from_millis(1))
}
