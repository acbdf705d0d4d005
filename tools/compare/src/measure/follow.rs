//! A log and its backups, looked at from outside while a collector appends and rotates.
//!
//! Owns a descriptor of the generation that is appended to.
//! **Invariant:** nothing is written, locked or renamed; a byte is counted once, in whatever
//! generation it lies.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The name of a log's backup.
pub fn backup(log: &Path, number: u32) -> PathBuf {
    let mut name = log.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

/// A log's generations that are there, the oldest first.
pub fn generations(log: &Path) -> Vec<PathBuf> {
    let backups = (1..).map(|number| backup(log, number)).take_while(|path| path.exists());
    let mut generations: Vec<_> = backups.collect();
    generations.reverse();
    generations.push(log.to_path_buf());
    generations
}

/// Bytes in all of a log's generations; those of one that is not there are 0.
pub fn bytes_in(log: &Path) -> u64 {
    generations(log).iter().filter_map(|path| fs::metadata(path).ok()).map(|m| m.len()).sum()
}

/// How much a log has grown since it began to be followed.
pub struct Follow {
    log: PathBuf,
    file: Option<File>,
    /// Its size when it was looked at last: one that is smaller now was truncated.
    size: u64,
    /// Bytes in the generations before it, since the beginning.
    older: u64,
    /// What was there at the beginning and is not the guest's.
    start: u64,
    /// The newest backup, as far as it has been counted.
    backup_inode: Option<u64>,
}

impl Follow {
    /// Follows a log from its end as it is now, which holds `start` bytes.
    pub fn new(log: &Path, start: u64) -> Follow {
        let backup_inode = fs::metadata(backup(log, 1)).ok().map(|found| found.ino());
        let file = File::open(log).ok();
        let size = file.as_ref().and_then(|file| file.metadata().ok()).map_or(0, |f| f.len());
        Follow { log: log.into(), file, size, older: 0, start, backup_inode }
    }

    /// Whether so many bytes have been appended.
    ///
    /// # Errors
    /// Those of fstat(2).
    pub fn has(&mut self, bytes: u64) -> io::Result<bool> {
        if self.file.is_none() && !self.open() {
            return Ok(false);
        }
        let wanted = bytes + self.start;
        let Some(file) = self.look()? else { return Ok(false) };
        if self.older + file.len() >= wanted {
            return Ok(true);
        }
        // Not in this one: perhaps it was renamed, and the rest is in its successor.
        let Ok(named) = fs::metadata(&self.log) else { return Ok(false) };
        if named.ino() == file.ino() {
            return Ok(false);
        }
        // The successor is made before the old one is let go of, and nothing is written between:
        // what we know of the old one is from before, so it is looked at once more.
        let Some(file) = self.look()? else { return Ok(false) };
        self.older += file.len();
        self.size = 0;
        Ok(self.open() && self.older + self.look()?.map_or(0, |file| file.len()) >= wanted)
    }

    fn open(&mut self) -> bool {
        self.file = File::open(&self.log).ok();
        self.file.is_some()
    }

    /// The file that is appended to. `None`: it was truncated, and the copy is not in place yet.
    fn look(&mut self) -> io::Result<Option<Metadata>> {
        let Some(file) = &self.file else { return Ok(None) };
        let found = file.metadata()?;
        if found.len() < self.size {
            let Ok(copy) = fs::metadata(backup(&self.log, 1)) else { return Ok(None) };
            if self.backup_inode == Some(copy.ino()) {
                return Ok(None);
            }
            self.backup_inode = Some(copy.ino());
            self.older += copy.len();
        }
        self.size = found.len();
        Ok(Some(found))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    struct Place {
        _dir: tempfile::TempDir,
        log: PathBuf,
    }

    fn place() -> Place {
        let dir = tempfile::tempdir().expect("a directory");
        let log = dir.path().join("app.log");
        Place { _dir: dir, log }
    }

    fn append(path: &Path, bytes: &[u8]) {
        let mut how = File::options();
        let mut file = how.append(true).create(true).open(path).expect("a file");
        file.write_all(bytes).expect("room");
    }

    #[test]
    fn what_was_there_before_is_not_counted() {
        let place = place();
        append(&place.log, b"old");
        let mut follow = Follow::new(&place.log, 3);
        assert!(!follow.has(1).expect("a look"));
        append(&place.log, b"n");
        assert!(follow.has(1).expect("a look"));
        assert!(!follow.has(2).expect("a look"));
    }

    #[test]
    fn a_log_that_comes_later_is_found() {
        let place = place();
        let mut follow = Follow::new(&place.log, 0);
        assert!(!follow.has(1).expect("a look"));
        append(&place.log, b"n");
        assert!(follow.has(1).expect("a look"));
    }

    #[test]
    fn a_renamed_log_counts_with_its_successor() {
        let place = place();
        append(&place.log, b"12345");
        let mut follow = Follow::new(&place.log, 2);
        fs::rename(&place.log, backup(&place.log, 1)).expect("a rename");
        append(&backup(&place.log, 1), b"6");
        append(&place.log, b"78");
        assert!(follow.has(6).expect("a look"));
        assert!(!follow.has(7).expect("a look"));
        assert_eq!(bytes_in(&place.log), 8);
    }

    #[test]
    fn a_truncated_log_counts_with_its_copy_once_that_is_in_place() {
        let place = place();
        append(&place.log, b"12345");
        append(&backup(&place.log, 1), b"of long ago");
        let mut follow = Follow::new(&place.log, 0);
        let copying = place.log.with_extension("copying");
        fs::copy(&place.log, &copying).expect("a copy");
        File::options().write(true).truncate(true).open(&place.log).expect("a log");
        assert!(!follow.has(5).expect("a look"), "the backup is the old one still");
        fs::rename(&copying, backup(&place.log, 1)).expect("a rename");
        append(&place.log, b"67");
        assert!(follow.has(7).expect("a look"));
        assert!(!follow.has(8).expect("a look"));
    }

    #[test]
    fn generations_are_told_from_the_oldest_on() {
        let place = place();
        for path in [&place.log, &backup(&place.log, 1), &backup(&place.log, 2)] {
            append(path, b"x");
        }
        append(&place.log.with_extension("log.events"), b"not the guest's");
        let expected = [backup(&place.log, 2), backup(&place.log, 1), place.log.clone()];
        assert_eq!(generations(&place.log), expected);
        assert_eq!(bytes_in(&place.log), 3);
    }
}
