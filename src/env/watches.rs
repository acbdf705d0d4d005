//! What is told of directories: names that come and go, and what is below a directory now.
//!
//! Owns the words for it.
//! **Invariant:** a change is a hint; what is at a path, a call on that path says.

use std::ffi::OsString;
use std::io;
use std::path::Path;

/// A directory that is watched. Paths that lead to the same directory have the same one, and it is
/// not given again while the process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WatchId(pub i32);

/// What has happened in a watched directory, or to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A name was made, or moved in.
    Appeared {
        /// The directory.
        dir: WatchId,
        /// The name in it.
        name: OsString,
        /// It is a directory itself, not a link to one.
        is_dir: bool,
    },
    /// A name was removed, or moved away.
    Vanished {
        /// The directory.
        dir: WatchId,
        /// The name in it.
        name: OsString,
    },
    /// The directory was removed, moved or unmounted: its path leads elsewhere, or nowhere.
    Ended(WatchId),
    /// More has happened than the kernel could note: nothing that was known may be true any more.
    Overflow,
}

/// Directories, watched for what comes and goes.
pub trait Watches {
    /// Watches a directory; its changes are announced by [`super::CHANGES_TOKEN`].
    ///
    /// # Errors
    /// NotFound, NotADirectory, PermissionDenied (it must be readable); StorageFull: as many are
    /// watched as this user may (fs.inotify.max_user_watches).
    fn watch_dir(&mut self, path: &Path) -> io::Result<WatchId>;
    /// Ends a watch; one that has ended is no error.
    fn unwatch_dir(&mut self, dir: WatchId);
    /// Takes a bounded number of changes. `true`: there may be more.
    fn take_changes(&mut self, into: &mut Vec<Change>) -> bool;
    /// The names in a directory, with whether each is a directory itself, in no order.
    fn entries(&mut self, path: &Path) -> io::Result<Vec<(OsString, bool)>>;
    /// Whether the path leads to a directory; a link at its end counts only if `through_link`.
    fn is_dir(&mut self, path: &Path, through_link: bool) -> bool;
}
