//! A log rewritten without its runs, in place of the old one.
//!
//! Owns the new file until it has its place, and the lock on the old one.
//! **Invariant:** at every moment the log's name leads to the old file or to the whole new one; who
//! is refused finds everything as it was; no existing file is overwritten.

use crate::cli::log::nul_runs::Piece;
use crate::cli::log::regular::{Refusal, Regular, changed, refused, unreadable};
use crate::cli::log::scan::{Sum, has_run, scan};
use seriald::env::os::folder::{has_writer, lock};
use std::ffi::{OsStr, OsString};
use std::fs::{File, FileTimes, Permissions};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

/// Ends the name of the new file while it is written.
const REPAIRING: &str = ".repairing";
/// Ends the name of the old file.
const BEFORE: &str = ".before-repair";

/// What is written at once, in bytes.
const CHUNK: usize = 256 * 1024;

/// What became of a log.
#[derive(Debug)]
pub enum Repaired {
    /// It has no run, and is as it was.
    Untouched,
    /// It was replaced.
    Replaced {
        /// What was taken out.
        removed: Sum,
        /// How many bytes are left.
        left: u64,
        /// Where the old file is.
        backup: Option<PathBuf>,
        /// Its owner or group could not be kept.
        owner_lost: bool,
    },
}

/// Takes the runs of at least `min_run` NULs out of a log.
///
/// # Errors
/// All that speaks against it, or failed. But for a failure of the very last step, which says so,
/// nothing was changed then.
pub fn repair(path: &Path, min_run: u64, keep_old: bool) -> Result<Repaired, Refusal> {
    let old = Regular::open(path)?;
    check(&old)?;
    if !has_run(&old.file, old.known.size(), min_run).map_err(|error| unreadable(&error))? {
        return Ok(Repaired::Untouched);
    }
    let backup = keep_old.then(|| beside(&old, BEFORE));
    if let Some(name) = &backup
        && old.look(name).is_ok()
    {
        return Err(is_there(name));
    }
    let mut new = NewLog::create(&old)?;
    let (removed, left) = new.fill(min_run)?;
    let owner_lost = new.finish()?;
    if !old.is_unchanged() {
        return Err(changed());
    }
    check_no_writer(&old)?;
    new.replace(backup.as_deref())?;
    let backup = backup.map(|name| path.with_file_name(name));
    Ok(Repaired::Replaced { removed, left, backup, owner_lost })
}

/// What speaks against a repair, before anything is read.
fn check(old: &Regular) -> Result<(), Refusal> {
    let links = old.known.nlink();
    if links != 1 {
        let backup = beside(old, BEFORE);
        let is_it = old.look(&backup).is_ok_and(|there| there.ino() == old.known.ino());
        return refused(if is_it {
            let backup = backup.display();
            format!(
                "{backup} is the same file, as an interrupted repair leaves it: remove {backup}"
            )
        } else {
            format!("it has {links} hard links, and the others would keep the NULs: repair a copy")
        });
    }
    match lock(&old.file) {
        Ok(true) => check_no_writer(old),
        Ok(false) => refused(
            "it is locked, by a running seriald (whose logs have no holes) or another repair: \
             let that end first",
        ),
        Err(error) => refused(format!("cannot be locked: {error}")),
    }
}

/// Whoever has it open would write on to the old file, where nobody would look for it.
fn check_no_writer(old: &Regular) -> Result<(), Refusal> {
    if has_writer(&old.file) {
        return refused(
            "a process has it open for writing (a VM in mode File?): let that end first",
        );
    }
    Ok(())
}

/// A name beside the log's.
fn beside(old: &Regular, ending: &str) -> OsString {
    let mut name = old.name.clone();
    name.push(ending);
    name
}

fn is_there(backup: &OsStr) -> Refusal {
    let backup = backup.display();
    Refusal(format!("{backup} exists already: move that away, or give --no-backup"))
}

/// The file that takes the log's place; removed unless it did.
struct NewLog<'o> {
    old: &'o Regular,
    name: OsString,
    file: File,
    in_place: bool,
}

impl<'o> NewLog<'o> {
    fn create(old: &'o Regular) -> Result<NewLog<'o>, Refusal> {
        let name = beside(old, REPAIRING);
        match old.folder.create_new(&name) {
            Ok(file) => Ok(NewLog { old, name, file, in_place: false }),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => refused(format!(
                "{} exists already, as an interrupted repair leaves it: remove that",
                name.display()
            )),
            Err(error) => refused(format!("{} cannot be made: {error}", name.display())),
        }
    }

    /// Writes all but the runs; returns what was left out, and how many bytes are left.
    fn fill(&mut self, min_run: u64) -> Result<(Sum, u64), Refusal> {
        let (mut removed, mut left) = (Sum::default(), 0);
        let mut out = BufWriter::with_capacity(CHUNK, &self.file);
        let filled = scan(&self.old.file, self.old.known.size(), min_run, &mut |piece| {
            match piece {
                Piece::Text(text) => {
                    out.write_all(text).map_err(Failed::Writing)?;
                    left += text.len() as u64;
                }
                Piece::Nuls(count) => {
                    let mut nuls = io::repeat(0).take(count);
                    left += io::copy(&mut nuls, &mut out).map_err(Failed::Writing)?;
                }
                Piece::Run(run) => removed.add(run),
            }
            Ok(())
        });
        match filled.and_then(|()| out.flush().map_err(Failed::Writing)) {
            Ok(()) => Ok((removed, left)),
            Err(Failed::Reading(error)) => Err(unreadable(&error)),
            Err(Failed::Writing(error)) => Err(self.unwritable(&error)),
        }
    }

    /// Gives it the old one's owner, mode and times, and brings it to the disk. Returns whether
    /// the owner or the group is another one now.
    fn finish(&self) -> Result<bool, Refusal> {
        let (file, known) = (&self.file, &self.old.known);
        let unwritable = |error: io::Error| self.unwritable(&error);
        // Only root gives files away; a group that one is a member of can be set by anybody.
        let owned = fchown(file, Some(known.uid()), Some(known.gid()))
            .or_else(|_| fchown(file, None, Some(known.gid())));
        let is = file.metadata().map_err(unwritable)?;
        let lost = owned.is_err() || is.uid() != known.uid();
        // A bit that lends the owner's rights is for that owner alone.
        let mode = known.mode() & if lost { 0o777 } else { 0o7777 };
        // After the owner: to change that takes bits of the mode away.
        file.set_permissions(Permissions::from_mode(mode)).map_err(unwritable)?;
        if let (Ok(read), Ok(written)) = (known.accessed(), known.modified()) {
            let times = FileTimes::new().set_accessed(read).set_modified(written);
            file.set_times(times).map_err(unwritable)?;
        }
        file.sync_all().map_err(unwritable)?;
        Ok(lost)
    }

    /// Puts it in the old one's place, which becomes the backup.
    fn replace(mut self, backup: Option<&OsStr>) -> Result<(), Refusal> {
        let Regular { folder, name, .. } = self.old;
        if let Some(backup) = backup {
            // A second name, so that there is no moment without a log, and never over a file.
            folder.link(name, backup).map_err(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => is_there(backup),
                _ => Refusal(format!(
                    "cannot be kept as {}: {error}: --no-backup goes without",
                    backup.display()
                )),
            })?;
        }
        if let Err(error) = folder.rename(&self.name, name) {
            if let Some(backup) = backup {
                // If it fails, the next repair says what to do.
                let _ = folder.unlink(backup);
            }
            return refused(format!("cannot be replaced: {error}"));
        }
        self.in_place = true;
        folder.sync().map_err(|error| {
            Refusal(format!(
                "it was repaired, but its directory can't be brought to the disk: {error}: after a \
                 power loss the old file may be back"
            ))
        })
    }

    fn unwritable(&self, error: &io::Error) -> Refusal {
        let name = self.name.display();
        let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
        let way_out = if full.contains(&error.kind()) {
            ": nothing was changed, make room first"
        } else {
            ": nothing was changed"
        };
        Refusal(format!("{name} cannot be written: {error}{way_out}"))
    }
}

impl Drop for NewLog<'_> {
    fn drop(&mut self) {
        if !self.in_place {
            // What can't be removed, the next repair names.
            let _ = self.old.folder.unlink(&self.name);
        }
    }
}

/// Which side of the copying failed.
enum Failed {
    Reading(io::Error),
    Writing(io::Error),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Failed {
        Failed::Reading(error)
    }
}
