//! A log opened by its name, and whether it is still what it was.
//!
//! Owns the file's and the directory's descriptors.
//! **Invariant:** opens nothing but a regular file, and that for reading; never waits.

use seriald::env::os::folder::Folder;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Why a log is as it was, and what to do about it.
#[derive(Debug)]
pub struct Refusal(pub String);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// For functions that refuse in the middle of others that do.
pub fn refused<T>(why: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal(why.into()))
}

/// Someone writes to it.
pub fn changed() -> Refusal {
    Refusal(
        "it changed while it was read, and is left so: try again when nobody writes to it".into(),
    )
}

/// A log that can't be read to its end.
pub fn unreadable(error: &io::Error) -> Refusal {
    match error.kind() {
        io::ErrorKind::NotFound => Refusal("no such file".into()),
        io::ErrorKind::UnexpectedEof => changed(),
        _ => Refusal(format!("cannot be read: {error}")),
    }
}

/// A regular file.
#[derive(Debug)]
pub struct Regular {
    /// The directory it lies in.
    pub folder: Folder,
    /// Its name there.
    pub name: OsString,
    /// Open for reading.
    pub file: File,
    /// What it was like before it was read.
    pub known: Metadata,
}

impl Regular {
    /// Opens it; a symbolic link is refused.
    pub fn open(path: &Path) -> Result<Regular, Refusal> {
        let Some(name) = path.file_name() else {
            return refused("it is a directory: name a log");
        };
        let cannot = |error: io::Error| unreadable(&error);
        let folder = Folder::open(path.parent().unwrap_or(Path::new("."))).map_err(cannot)?;
        // Looked at before it is opened: to open a device may do something.
        let known = folder.look(name).and_then(|file| file.metadata()).map_err(cannot)?;
        if known.is_symlink() {
            return refused("it is a symbolic link: name the file that it leads to");
        }
        if !known.is_file() {
            return refused("it is no regular file: name a log");
        }
        let file = folder.read(name).map_err(cannot)?;
        if !same(&known, &file.metadata().map_err(cannot)?) {
            return Err(changed());
        }
        Ok(Regular { folder, name: name.to_os_string(), file, known })
    }

    /// The same of whatever a symbolic link leads to.
    pub fn open_linked(path: &Path) -> Result<Regular, Refusal> {
        Regular::open(&path.canonicalize().map_err(|error| unreadable(&error))?)
    }

    /// What has this name in its directory, if anything.
    pub fn look(&self, name: &OsStr) -> io::Result<Metadata> {
        self.folder.look(name)?.metadata()
    }

    /// Its name still leads to it, and nobody wrote to it or linked it.
    pub fn is_unchanged(&self) -> bool {
        self.look(&self.name).is_ok_and(|there| same(&self.known, &there))
    }
}

/// Whether these are of one file, and nothing was done to it between them. (A write changes the
/// size or both times, a link the number and one time.)
fn same(one: &Metadata, other: &Metadata) -> bool {
    let parts = |of: &Metadata| {
        let times = (of.mtime(), of.mtime_nsec(), of.ctime(), of.ctime_nsec());
        (of.dev(), of.ino(), of.size(), of.nlink(), of.mode(), times)
    };
    parts(one) == parts(other)
}
