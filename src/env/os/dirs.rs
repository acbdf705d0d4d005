//! Directories on the way to a log or a socket: no planted link leads elsewhere.
//!
//! Owns nothing but what it returns.
//! **Invariant:** below a root no symbolic link is followed at all; elsewhere the last directory
//! is none. What is missing is made by its name below a descriptor that is held, never by a path.

use super::cvt;
use super::files::{c_path, open_at, retried};
use crate::env::Refused;
use std::ffi::{CStr, c_int};
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

/// Opens a log's directory, and makes what is missing of it with `mode`. Below `root`, which is
/// taken as it stands, no link is followed; without one the directory itself may be none.
pub(super) fn open_log_dir(path: &Path, root: Option<&Path>, mode: u32) -> io::Result<OwnedFd> {
    if let Some(root) = root {
        return open_below(root, path, mode);
    }
    match open_unlinked(path, 0) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => make_log_dir(path, mode),
        opened => opened,
    }
}

/// Makes what is missing of a log's directory: as a rule its last part alone.
fn make_log_dir(path: &Path, mode: u32) -> io::Result<OwnedFd> {
    if let (Some(above), Some(name)) = (path.parent(), path.file_name())
        && let Ok(opened) = start_at(above, Path::new(name))
    {
        return go_down(opened, above, Path::new(name), Links::Above, mode);
    }
    let start = if path.is_absolute() { "/" } else { "." };
    go_down(start_at(Path::new(start), path)?, Path::new(""), path, Links::Above, mode)
}

/// Opens a directory that is no symbolic link itself; links on the way to it are followed.
pub(super) fn open_unlinked(path: &Path, how: c_int) -> io::Result<OwnedFd> {
    // Without a slash at its end, which would have the kernel follow a link all the same.
    let plain: PathBuf = path.components().collect();
    let whole = if plain.as_os_str().is_empty() { Path::new(".") } else { &plain };
    let name = c_path(whole)?;
    let opened = open_directory(None, &name, how | libc::O_NOFOLLOW);
    opened.map_err(|error| name_link(None, &name, whole, error))
}

/// Opens a directory by its name below `parent`, or by its path.
pub(super) fn open_directory(
    parent: Option<&OwnedFd>,
    name: &CStr,
    how: c_int,
) -> io::Result<OwnedFd> {
    open_at(
        parent.map(AsFd::as_fd),
        name,
        libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC | how,
        0,
    )
}

/// Which links are followed on the way down.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Links {
    /// Those above the last directory.
    Above,
    /// None.
    None,
}

fn open_below(root: &Path, path: &Path, mode: u32) -> io::Result<OwnedFd> {
    let below = path.strip_prefix(root).ok().filter(|below| {
        let mut parts = below.components();
        parts.all(|part| matches!(part, Component::Normal(_)))
    });
    let Some(below) = below else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not below log.root"));
    };
    let top = start_at(root, below).map_err(|error| {
        io::Error::new(error.kind(), format!("log.root {}: {error}", root.display()))
    })?;
    if below.as_os_str().is_empty() {
        return Ok(top);
    }
    match open_at_once(&top, &c_path(below)?) {
        Ok(opened) => Ok(opened),
        // A link, which is to be named; or something is missing; or there is no openat2(2) here,
        // or none that a sandbox allows: step by step it says, and comes to, the same.
        Err(_) => go_down(top, root, below, Links::None, mode),
    }
}

/// A directory to go down from; only the last one of all is read, others may be searchable alone.
fn start_at(start: &Path, below: &Path) -> io::Result<OwnedFd> {
    let is_last = parts_of(below).next().is_none();
    open_directory(None, &c_path(start)?, if is_last { 0 } else { libc::O_PATH })
}

fn parts_of(path: &Path) -> impl Iterator<Item = Component<'_>> {
    path.components().filter(|part| !matches!(part, Component::RootDir | Component::CurDir))
}

/// openat2(2): the whole way in one call.
fn open_at_once(top: &OwnedFd, below: &CStr) -> io::Result<OwnedFd> {
    // SAFETY: open_how is plain memory, for which all zeroes is a valid value.
    let mut how: libc::open_how = unsafe { std::mem::zeroed() };
    how.flags = (libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC) as u64;
    how.resolve = libc::RESOLVE_NO_SYMLINKS | libc::RESOLVE_BENEATH;
    let (fd, size) = (top.as_raw_fd(), size_of::<libc::open_how>());
    // SAFETY: the descriptor is open, the name ends with NUL, `how` is live and as long as said;
    // the result is a new descriptor that we own.
    unsafe {
        let opened = libc::syscall(libc::SYS_openat2, fd, below.as_ptr(), &raw const how, size);
        Ok(OwnedFd::from_raw_fd(cvt(opened as c_int)?))
    }
}

/// Step by step from `at`, which is at `place`; what is absent is made.
fn go_down(
    mut at: OwnedFd,
    place: &Path,
    below: &Path,
    links: Links,
    mode: u32,
) -> io::Result<OwnedFd> {
    let mut place = place.to_owned();
    if below.has_root() {
        place.push("/");
    }
    let mut parts = parts_of(below).peekable();
    while let Some(part) = parts.next() {
        place.push(part);
        let is_last = parts.peek().is_none();
        let mut how = if is_last { 0 } else { libc::O_PATH };
        if is_last || links == Links::None {
            how |= libc::O_NOFOLLOW;
        }
        let name = c_path(Path::new(part.as_os_str()))?;
        let opened = match open_directory(Some(&at), &name, how) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make_directory(&at, &name, how, mode)
            }
            opened => opened,
        };
        at = opened.map_err(|error| name_link(Some(&at), &name, &place, error))?;
    }
    Ok(at)
}

/// Makes one directory and opens it. One that another made meanwhile keeps its mode.
fn make_directory(parent: &OwnedFd, name: &CStr, how: c_int, mode: u32) -> io::Result<OwnedFd> {
    // SAFETY: the descriptor is open and the name ends with NUL.
    let made = retried(|| unsafe { libc::mkdirat(parent.as_raw_fd(), name.as_ptr(), mode) });
    match made {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return open_directory(Some(parent), name, how);
        }
        made => made?,
    }
    let opened = open_directory(Some(parent), name, libc::O_NOFOLLOW)?;
    // Whoever owns the one above may have put something else there by now.
    // SAFETY: geteuid takes nothing and always succeeds.
    if super::fstat(opened.as_raw_fd())?.st_uid == unsafe { libc::geteuid() } {
        // SAFETY: the descriptor is open; fchmod touches no memory of ours.
        retried(|| unsafe { libc::fchmod(opened.as_raw_fd(), mode) })?;
    }
    Ok(opened)
}

/// The error of an open, or that its last part is a link: the kernel says ENOTDIR of one too.
fn name_link(parent: Option<&OwnedFd>, name: &CStr, place: &Path, error: io::Error) -> io::Error {
    let may_be_link = matches!(error.raw_os_error(), Some(libc::ELOOP | libc::ENOTDIR));
    if may_be_link && is_link(parent, name) {
        return io::Error::other(Refused::LinkedDirectory(place.to_owned()));
    }
    error
}

fn is_link(parent: Option<&OwnedFd>, name: &CStr) -> bool {
    let fd = parent.map_or(libc::AT_FDCWD, AsRawFd::as_raw_fd);
    let mut raw = std::mem::MaybeUninit::<libc::stat>::uninit();
    let flags = libc::AT_SYMLINK_NOFOLLOW;
    // SAFETY: the name ends with NUL, and `raw` has the room that fstatat(2) fills if it succeeds.
    unsafe {
        libc::fstatat(fd, name.as_ptr(), raw.as_mut_ptr(), flags) == 0
            && raw.assume_init_ref().st_mode & libc::S_IFMT == libc::S_IFLNK
    }
}

#[cfg(test)]
#[path = "dirs_tests.rs"]
mod tests;
