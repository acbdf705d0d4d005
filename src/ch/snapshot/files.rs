//! The files of a snapshot: read whole, replaced whole.
//!
//! Owns a temporary file beside the one it replaces, for the length of one call.
//!
//! **Invariant:** a name always shows the old text or the new one, complete, with the same mode and
//! owner; a symbolic link, or anything else that is no regular file, is neither read nor replaced;
//! a failure leaves no temporary file. (A crash may leave one, `.NAME.<16 digits>.seriald`, of no
//! further use.)

use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use super::SnapshotError;

/// Largest file that is read, in bytes. `state.json` of a VM with hundreds of vCPUs takes some MiB.
pub const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// A file's text, and what must stay the same about the file.
#[derive(Debug)]
pub struct Text {
    /// Where it stands.
    pub path: PathBuf,
    /// All of it.
    pub text: String,
    meta: Metadata,
}

/// Reads a file of the snapshot in `dir`.
///
/// # Errors
/// [`SnapshotError`] if it is missing, no regular file, too large, not UTF-8, or can't be read.
pub fn read(dir: &Path, name: &str) -> Result<Text, SnapshotError> {
    let path = dir.join(name);
    let failed = |op, source| SnapshotError::Io { op, path: dir.join(name), source };
    let named = match fs::symlink_metadata(&path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(SnapshotError::Missing { path });
        }
        Err(error) => return Err(failed("look at", error)),
    };
    if !named.is_file() {
        return Err(SnapshotError::NotRegular { path });
    }
    let file = File::open(&path).map_err(|error| failed("open", error))?;
    let meta = file.metadata().map_err(|error| failed("look at", error))?;
    if !same_file(&meta, &named) {
        return Err(SnapshotError::Changed { path });
    }
    // The length may be stale by the time of the read: the bound is on what is read.
    let mut bytes = Vec::new();
    let mut bounded = file.take(FILE_BYTES_MAX + 1);
    bounded.read_to_end(&mut bytes).map_err(|error| failed("read", error))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(SnapshotError::TooLarge { path });
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Text { path, text, meta }),
        Err(error) => {
            Err(SnapshotError::NotUtf8 { path, offset: error.utf8_error().valid_up_to() })
        }
    }
}

/// Puts `text` in the place of the file: a temporary file in the same directory, fsync, rename,
/// fsync of the directory.
///
/// # Errors
/// [`SnapshotError::Changed`] if another file has taken the name since [`read`], and
/// [`SnapshotError::Io`] for whatever fails; the old file then stands as it was, except that a
/// failed fsync of the directory comes after the rename.
pub fn replace(old: &Text, text: &str) -> Result<(), SnapshotError> {
    let failed = |op, path: &Path| {
        let path = path.to_owned();
        move |source| SnapshotError::Io { op, path, source }
    };
    let dir = match old.path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    let name = old.path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = Temporary(dir.join(format!(".{name}.{:016x}.seriald", unpredictable())));
    let at = temporary.0.as_path();
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(at)
        .map_err(failed("create", at))?;
    let made = file.metadata().map_err(failed("look at", at))?;
    if (made.uid(), made.gid()) != (old.meta.uid(), old.meta.gid()) {
        fchown(&file, Some(old.meta.uid()), Some(old.meta.gid()))
            .map_err(failed("give the old owner to", at))?;
    }
    // After the owner, because a change of owner clears the set-id bits.
    file.set_permissions(Permissions::from_mode(old.meta.mode() & 0o7777))
        .map_err(failed("set the mode of", at))?;
    file.write_all(text.as_bytes()).map_err(failed("write", at))?;
    file.sync_all().map_err(failed("fsync", at))?;
    let named = fs::symlink_metadata(&old.path).map_err(failed("look at", &old.path))?;
    if !same_file(&named, &old.meta) || !same_content(&named, &old.meta) {
        return Err(SnapshotError::Changed { path: old.path.clone() });
    }
    fs::rename(at, &old.path).map_err(failed("replace", &old.path))?;
    let dir_file = File::open(dir).map_err(failed("open", dir))?;
    dir_file.sync_all().map_err(failed("fsync", dir))
}

/// A name that is gone at the end: renamed away, or removed.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // Renamed or never made, it is not there; any other failure comes on top of one under way.
        let _ = fs::remove_file(&self.0);
    }
}

fn same_file(a: &Metadata, b: &Metadata) -> bool {
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

fn same_content(a: &Metadata, b: &Metadata) -> bool {
    (a.len(), a.mtime(), a.mtime_nsec()) == (b.len(), b.mtime(), b.mtime_nsec())
}

/// Keys of the standard library's hash tables are random, from the kernel.
fn unpredictable() -> u64 {
    RandomState::new().build_hasher().finish()
}
