//! Opening a generation: ours alone, regular, with its mode and group.
//!
//! Owns nothing.
//! **Invariant:** a file that is not ours (a link, a FIFO, locked by another) is not changed.

use super::Log;
use super::error::{Cause, LogError, Step};
use super::ours::{Purpose, Rights, open_ours, stat_if_there};
use super::terms::Terms;
use crate::config::{LogSpec, VmPaths};
use crate::env::{FileId, Files, Moment, Stat};
use crate::limits::{AGE_SPREAD_MAX, LOG_DIR_MODE};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How many jitters there are.
const JITTERS: u16 = 1024;

impl<F: Files> Log<F> {
    /// Opens the log, makes its directory where that is absent, and finishes what a predecessor
    /// was interrupted at. `jitter` is any number that differs from VM to VM: it spreads the
    /// rotations by age.
    ///
    /// # Errors
    /// The file, the step and the cause; nothing is left open then.
    pub fn open(env: &mut F, spec: &LogSpec, jitter: u64, now: Moment) -> Result<Log<F>, LogError> {
        let terms = Terms::of(env, spec)?;
        Log::open_at(env, VmPaths::of_log(&spec.path), Arc::new(terms), jitter, now)
    }

    /// The same for a VM's log, under terms that it shares with others.
    ///
    /// # Errors
    /// As [`Log::open`].
    pub(crate) fn open_at(
        env: &mut F,
        paths: VmPaths,
        terms: Arc<Terms>,
        jitter: u64,
        now: Moment,
    ) -> Result<Log<F>, LogError> {
        let (path, spec) = (paths.log(), &terms.spec);
        if path.file_name().and_then(|name| name.to_str()).is_none() {
            return Err(LogError { path, step: Step::Open, cause: Cause::NoName });
        }
        let dir = open_directory(env, &path, spec.root.as_deref())?;
        let (file, stat) = open_generation(env, &dir, &path, &terms.rights)?;
        let max_bytes = spec.max_bytes;
        let mut log = Log {
            check_at: (now + spec.check_interval).into(),
            terms,
            paths,
            file,
            dir,
            events: None,
            jitter: kept(jitter),
            size: stat.size,
            mark_at: now.into(),
            marked: u16::MAX,
            age_due: None,
            written_bytes: 0,
            unrest: None,
            id: stat.id,
            generation: 1,
            base: 0,
            events_inode: 0,
            events_size: 0,
            rotations: 0,
            extra: None,
        };
        if stat.size > max_bytes {
            log.unrest().left_over = (stat.size - max_bytes).min(max_bytes);
        }
        log.recover(env, now)?;
        log.resume_age(env, stat.age, now);
        Ok(log)
    }

    /// Opens what the log's name now stands for, and only then lets go of the old file.
    pub(super) fn reopen(&mut self, env: &mut F, now: Moment) -> Result<(), LogError> {
        let (path, rights) = (self.path(), &self.terms.rights);
        let mut opened = open_generation(env, &self.dir, &path, rights);
        let parent = directory(&path);
        let above = parent.parent().is_some_and(|above| env.has_dir(above));
        if above && opened.as_ref().is_err_and(LogError::is_not_found) {
            // The directory itself was removed, and nothing can be made in it any more. It is made
            // anew where the one above is there: a VM's that was removed whole is not brought back.
            let dir = open_directory(env, &path, self.terms.spec.root.as_deref())?;
            opened = open_generation(env, &dir, &path, rights);
            if opened.is_ok() {
                self.dir = dir;
            }
        }
        let (file, stat) = opened?;
        self.file = file;
        self.id = stat.id;
        self.size = stat.size;
        self.age_due = None;
        self.check_at = (now + self.terms.spec.check_interval).into();
        self.start_age(now);
        Ok(())
    }

    /// Notes that the generation has bytes: from its first one on it ages.
    pub(super) fn start_age(&mut self, now: Moment) {
        if self.age_due.is_none() && self.size > 0 {
            self.age_due = self.age_max().map(|max| (now + max).into());
        }
    }

    /// `spec.max_age`, less a part that differs from VM to VM.
    pub(super) fn age_max(&self) -> Option<Duration> {
        self.terms.spec.max_age.map(|max| spread(max, self.jitter))
    }

    /// The age of a generation that was there before us: it began when `.1` was written last, and
    /// not later than its own last byte.
    fn resume_age(&mut self, env: &mut F, own_age: Duration, now: Moment) {
        let Some(max) = self.age_max().filter(|_| self.size > 0) else { return };
        let newest = self.backup(env, 1).ok().flatten();
        let age = newest.map_or(own_age, |newest| newest.stat.age.max(own_age));
        // After a long stop every log is overdue: not all in one turn.
        let whole = self.terms.spec.max_age.unwrap_or(max);
        let (tenth, own) = (whole / 10, whole.saturating_sub(max));
        let spread = match tenth > AGE_SPREAD_MAX {
            // In proportion: what was cut off at the bound would be due in one moment.
            true => own.mul_f64(AGE_SPREAD_MAX.as_secs_f64() / tenth.as_secs_f64()),
            false => own,
        };
        self.age_due = Some((now + max.saturating_sub(age).max(spread)).into());
    }

    /// An error about the file `name` beside the log.
    pub(super) fn error(&self, name: &str, step: Step, cause: io::Error) -> LogError {
        let cause = match cause.kind() {
            io::ErrorKind::DirectoryNotEmpty => Cause::InTheWay,
            _ => Cause::Io(cause),
        };
        LogError { path: self.path().with_file_name(name), step, cause }
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
    let dir = open_directory(env, &spec.path, spec.root.as_deref())?;
    let Some(name) = spec.path.file_name().and_then(|name| name.to_str()) else {
        return Ok(None);
    };
    let fail =
        |error| LogError { path: spec.path.clone(), step: Step::Examine, cause: Cause::Io(error) };
    stat_if_there(env, &dir, name).map_err(fail)
}

/// Opens a log's directory, and makes what is missing of it.
fn open_directory<F: Files>(
    env: &mut F,
    log: &Path,
    root: Option<&Path>,
) -> Result<F::Dir, LogError> {
    let path = directory(log);
    env.open_dir(path, root, LOG_DIR_MODE).map_err(|error| LogError {
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
    path: &Path,
    rights: &Rights,
) -> Result<(F::File, Stat), LogError> {
    let fail = |(step, cause)| LogError { path: path.to_owned(), step, cause };
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let opened = open_ours(env, dir, path, name, Purpose::Append, rights);
    let (file, stat) = opened?;
    let locked = env.lock(&file).map_err(|error| fail((Step::Open, Cause::Io(error))))?;
    if !locked {
        return Err(fail((Step::Open, Cause::Locked)));
    }
    rights.set(env, &file).map_err(fail)?;
    Ok((file, stat))
}

/// What is kept of a jitter: one of [`JITTERS`].
pub(super) fn kept(jitter: u64) -> u16 {
    (jitter % u64::from(JITTERS)) as u16
}

/// `max` less up to a tenth of it.
pub(super) fn spread(max: Duration, jitter: u16) -> Duration {
    // Not zero: a deadline must lie in the future, or the loop would spin.
    (max - max / 10 * u32::from(jitter) / u32::from(JITTERS)).max(Duration::from_millis(1))
}
