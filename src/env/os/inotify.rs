//! Directories watched by inotify: one instance for all.
//!
//! Owns the inotify descriptor, made at the first watch.
//! **Invariant:** a read is bounded and never blocks; what it brings is parsed by a pure function.

use super::{OsEnv, cvt, token};
use crate::env::{CHANGES_TOKEN, Change, WatchId, Watches};
use crate::limits::CHANGES_CHUNK;
use mio::unix::SourceFd;
use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The fixed part of an event: wd, mask, cookie and the name's length (inotify(7)).
const HEAD: usize = 16;

/// The longest event: its head, a name of 255 bytes and a NUL.
const EVENT_MAX: usize = HEAD + 256;

const _: () = assert!(CHANGES_CHUNK >= 2 * EVENT_MAX);

/// Names that come and go, and the directory's own end. IN_EXCL_UNLINK: files that are written on
/// after their removal tell nothing.
const MASK: u32 = libc::IN_CREATE
    | libc::IN_MOVED_TO
    | libc::IN_DELETE
    | libc::IN_MOVED_FROM
    | libc::IN_MOVE_SELF
    | libc::IN_ONLYDIR
    | libc::IN_EXCL_UNLINK;

/// The instance.
pub(super) struct Inotify {
    file: File,
}

impl Inotify {
    fn new(registry: &mio::Registry) -> io::Result<Self> {
        let flags = libc::IN_CLOEXEC | libc::IN_NONBLOCK;
        // SAFETY: inotify_init1(2) takes no pointer; its result is a new descriptor that File owns.
        let file = unsafe { File::from_raw_fd(cvt(libc::inotify_init1(flags))?) };
        let mut source = SourceFd(&file.as_raw_fd());
        registry.register(&mut source, token(CHANGES_TOKEN), mio::Interest::READABLE)?;
        Ok(Inotify { file })
    }
}

impl Watches for OsEnv {
    fn watch_dir(&mut self, path: &Path) -> io::Result<WatchId> {
        let name = CString::new(path.as_os_str().as_bytes())?;
        let inotify = match &self.inotify {
            Some(inotify) => inotify,
            None => self.inotify.insert(Inotify::new(self.poll.registry())?),
        };
        let fd = inotify.file.as_raw_fd();
        // SAFETY: the path is a live C string; the descriptor is open.
        cvt(unsafe { libc::inotify_add_watch(fd, name.as_ptr(), MASK) }).map(WatchId)
    }

    fn unwatch_dir(&mut self, dir: WatchId) {
        let Some(inotify) = &self.inotify else { return };
        // SAFETY: inotify_rm_watch(2) takes no pointer. EINVAL: the watch has ended by itself.
        unsafe { libc::inotify_rm_watch(inotify.file.as_raw_fd(), dir.0) };
    }

    fn take_changes(&mut self, into: &mut Vec<Change>) -> bool {
        let Some(inotify) = &self.inotify else { return false };
        let mut bytes = [0; CHANGES_CHUNK];
        match (&inotify.file).read(&mut bytes) {
            Ok(n) => {
                parse(&bytes[..n], into);
                // The kernel stops at an event that does not fit, or at the end.
                n + EVENT_MAX > bytes.len()
            }
            Err(error) => error.kind() == io::ErrorKind::Interrupted,
        }
    }

    fn entries(&mut self, path: &Path) -> io::Result<Vec<(OsString, bool)>> {
        let entries = std::fs::read_dir(path)?;
        // One that goes away meanwhile is not there.
        let known = entries.flatten().map(|entry| {
            let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
            (entry.file_name(), is_dir)
        });
        Ok(known.collect())
    }

    fn is_dir(&mut self, path: &Path, through_link: bool) -> bool {
        if through_link {
            return path.is_dir();
        }
        std::fs::symlink_metadata(path).is_ok_and(|stat| stat.is_dir())
    }
}

/// The changes that a read has brought: events of variable length, none of them cut in two.
fn parse(mut bytes: &[u8], into: &mut Vec<Change>) {
    while let Some((head, rest)) = bytes.split_first_chunk::<HEAD>() {
        let word =
            |at: usize| u32::from_ne_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let (dir, mask) = (WatchId(word(0).cast_signed()), word(4));
        let len = usize::try_from(word(12)).unwrap_or(usize::MAX).min(rest.len());
        let (name, next) = rest.split_at(len);
        bytes = next;
        into.extend(change(dir, mask, name));
    }
}

fn change(dir: WatchId, mask: u32, padded: &[u8]) -> Option<Change> {
    // The name is padded with NULs up to the next event.
    let name = padded.split(|byte| *byte == 0).next().unwrap_or_default();
    let name = || OsStr::from_bytes(name).to_owned();
    if mask & libc::IN_Q_OVERFLOW != 0 {
        Some(Change::Overflow)
    } else if mask & (libc::IN_IGNORED | libc::IN_MOVE_SELF) != 0 {
        Some(Change::Ended(dir))
    } else if mask & (libc::IN_CREATE | libc::IN_MOVED_TO) != 0 {
        Some(Change::Appeared { dir, name: name(), is_dir: mask & libc::IN_ISDIR != 0 })
    } else if mask & (libc::IN_DELETE | libc::IN_MOVED_FROM) != 0 {
        Some(Change::Vanished { dir, name: name() })
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(dir: i32, mask: u32, name: &str, padding: usize) -> Vec<u8> {
        let len = name.len() + padding;
        let mut bytes = dir.to_ne_bytes().to_vec();
        for word in [mask, 7, len as u32] {
            bytes.extend_from_slice(&word.to_ne_bytes());
        }
        bytes.extend_from_slice(name.as_bytes());
        bytes.resize(bytes.len() + padding, 0);
        bytes
    }

    fn parsed(bytes: &[u8]) -> Vec<Change> {
        let mut changes = Vec::new();
        parse(bytes, &mut changes);
        changes
    }

    #[test]
    fn events_of_any_length_are_told_apart_and_named_without_their_padding() {
        let dir = WatchId(3);
        let bytes = [
            event(3, libc::IN_CREATE, "serial.sock", 5),
            event(3, libc::IN_MOVED_TO | libc::IN_ISDIR, "a", 15),
            event(3, libc::IN_DELETE, "sixteen-bytes-na", 0),
            event(3, libc::IN_MOVED_FROM | libc::IN_ISDIR, "b", 15),
            event(3, libc::IN_MOVE_SELF, "", 0),
            event(4, libc::IN_IGNORED, "", 0),
            event(-1, libc::IN_Q_OVERFLOW, "", 0),
            event(3, libc::IN_OPEN, "c", 15),
        ]
        .concat();
        let name = OsString::from;
        let appeared = |name, is_dir| Change::Appeared { dir, name, is_dir };
        let expected = [
            appeared(name("serial.sock"), false),
            appeared(name("a"), true),
            Change::Vanished { dir, name: name("sixteen-bytes-na") },
            Change::Vanished { dir, name: name("b") },
            Change::Ended(dir),
            Change::Ended(WatchId(4)),
            Change::Overflow,
        ];
        assert_eq!(parsed(&bytes), expected);
    }

    #[test]
    fn bytes_that_end_too_early_are_no_reason_to_fail() {
        let whole = event(3, libc::IN_CREATE, "serial.sock", 5);
        for len in 0..whole.len() {
            assert!(parsed(&whole[..len]).len() <= 1, "{len}");
        }
    }
}
