//! Files by libc, each reached by its name below a directory's descriptor.
//!
//! Owns nothing; an [`OsDir`] or [`OsFile`] owns one descriptor and closes it when dropped.
//! **Invariant:** no call follows a symbolic link in a file's place, blocks on a FIFO, hands a
//! descriptor to a child, or leaves a permission to the umask.

use super::accounts;
use super::dirs::{open_directory, open_log_dir};
use super::remains::Kept;
use crate::env::{FileId, Files, Open, Stat};
use std::ffi::{CStr, CString, OsStr, c_int};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What [`Files::copy`] moves at once where the kernel can't copy by itself, in bytes.
const COPY_CHUNK: usize = 64 * 1024;

/// The file system of the machine.
#[derive(Default)]
pub struct OsFiles {
    /// Where a successor finds what is being written.
    pub(super) kept: Option<Kept>,
}

/// An open directory.
#[derive(Debug)]
pub struct OsDir(pub(super) OwnedFd);

/// An open file.
#[derive(Debug)]
pub struct OsFile(pub(super) OwnedFd);

impl Drop for OsFile {
    /// Gives its lock up, if it has one. The close alone would not, while a child that another
    /// thread has just forked still holds a copy of the descriptor, up to its exec: a lock is the
    /// open file description's (flock(2)).
    fn drop(&mut self) {
        // SAFETY: the descriptor is open; flock touches no memory of ours.
        unsafe { libc::flock(self.0.as_raw_fd(), libc::LOCK_UN) };
    }
}

impl Files for OsFiles {
    type Dir = OsDir;
    type File = OsFile;

    fn open_dir(&mut self, path: &Path, root: Option<&Path>, mode: u32) -> io::Result<OsDir> {
        open_log_dir(path, root, mode).map(OsDir)
    }

    fn has_dir(&mut self, path: &Path) -> bool {
        let whole = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        whole.is_dir()
    }

    fn open(&mut self, dir: &OsDir, name: &str, how: Open) -> io::Result<OsFile> {
        // O_NONBLOCK: the open of a FIFO must not wait for its other end. Regular files ignore it.
        let safe = libc::O_CLOEXEC | libc::O_NOFOLLOW | libc::O_NOCTTY;
        let new = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL;
        let (flags, mode) = match how {
            Open::Append => (libc::O_RDWR | libc::O_APPEND, 0),
            Open::NewToAppend(mode) => (new | libc::O_APPEND, mode),
            Open::New(mode) => (new, mode),
            Open::Existing => (libc::O_RDWR, 0),
            Open::Read => (libc::O_RDONLY, 0),
        };
        let opened =
            open_at(Some(dir.0.as_fd()), &c_name(name)?, safe | libc::O_NONBLOCK | flags, mode);
        opened.map(OsFile).map_err(|error| match error.raw_os_error() {
            // A single component was opened: ELOOP can only mean that it is a link itself.
            Some(libc::ELOOP) => io::Error::other("it is a symbolic link"),
            _ => error,
        })
    }

    fn stat(&mut self, file: &OsFile) -> io::Result<Stat> {
        let mut raw = std::mem::MaybeUninit::<libc::stat>::uninit();
        // SAFETY: the descriptor is open and `raw` has the room that fstat(2) fills.
        retried(|| unsafe { libc::fstat(file.0.as_raw_fd(), raw.as_mut_ptr()) })?;
        // SAFETY: fstat succeeded, so it has filled `raw`.
        Ok(stat_of(unsafe { raw.assume_init_ref() }))
    }

    fn stat_at(&mut self, dir: &OsDir, name: &str) -> io::Result<Stat> {
        let name = c_name(name)?;
        let mut raw = std::mem::MaybeUninit::<libc::stat>::uninit();
        let (fd, flags) = (dir.0.as_raw_fd(), libc::AT_SYMLINK_NOFOLLOW);
        // SAFETY: the descriptor is open, `name` ends with NUL, `raw` has the room that is filled.
        retried(|| unsafe { libc::fstatat(fd, name.as_ptr(), raw.as_mut_ptr(), flags) })?;
        // SAFETY: fstatat succeeded, so it has filled `raw`.
        Ok(stat_of(unsafe { raw.assume_init_ref() }))
    }

    fn names(&mut self, dir: &OsDir) -> io::Result<Vec<String>> {
        // A description of its own, so that the position of the caller's directory stays.
        let stream = Stream::open(open_directory(Some(&dir.0), c".", 0)?)?;
        let mut names = Vec::new();
        while let Some(name) = stream.next()? {
            if name != "." && name != ".." {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn write(&mut self, file: &OsFile, bytes: &[u8], size: u64) -> io::Result<usize> {
        if let Some(kept) = &self.kept {
            kept.writing(size);
        }
        let written = write_once(file, bytes);
        if let Some(kept) = &self.kept {
            kept.wrote(*written.as_ref().unwrap_or(&0));
        }
        written
    }

    fn write_beside(&mut self, file: &OsFile, bytes: &[u8]) -> io::Result<usize> {
        write_once(file, bytes)
    }

    fn wall(&mut self) -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }

    fn read_at(&mut self, file: &OsFile, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let at = offset_of(offset)?;
        let (fd, room) = (file.0.as_raw_fd(), into.len());
        loop {
            // SAFETY: the descriptor is open and `into` is writable for its length.
            match counted(unsafe { libc::pread(fd, into.as_mut_ptr().cast(), room, at) }) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => return read,
            }
        }
    }

    fn copy(&mut self, from: &OsFile, offset: u64, to: &OsFile, len: u64) -> io::Result<u64> {
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        match copy_in_kernel(from, offset, to, len) {
            Err(error) if kernel_cannot_copy(&error) => self.copy_by_hand(from, offset, to, len),
            copied => copied.map(|n| n as u64),
        }
    }

    fn truncate(&mut self, file: &OsFile, len: u64) -> io::Result<()> {
        let len = offset_of(len)?;
        // SAFETY: the descriptor is open; ftruncate touches no memory of ours.
        retried(|| unsafe { libc::ftruncate(file.0.as_raw_fd(), len) })
    }

    fn rename(&mut self, dir: &OsDir, from: &str, to: &str) -> io::Result<()> {
        let (from, to, fd) = (c_name(from)?, c_name(to)?, dir.0.as_raw_fd());
        // SAFETY: the descriptor is open and both names end with NUL.
        retried(|| unsafe { libc::renameat(fd, from.as_ptr(), fd, to.as_ptr()) })
    }

    fn unlink(&mut self, dir: &OsDir, name: &str) -> io::Result<()> {
        let name = c_name(name)?;
        let fd = dir.0.as_raw_fd();
        // SAFETY: the descriptor is open and the name ends with NUL.
        let remove = |how| retried(|| unsafe { libc::unlinkat(fd, name.as_ptr(), how) });
        match remove(0) {
            Err(error) if error.raw_os_error() == Some(libc::EISDIR) => remove(libc::AT_REMOVEDIR),
            removed => removed,
        }
    }

    fn lock(&mut self, file: &OsFile) -> io::Result<bool> {
        try_lock(file.0.as_fd())
    }

    fn set_mode(&mut self, file: &OsFile, mode: u32) -> io::Result<()> {
        // SAFETY: the descriptor is open; fchmod touches no memory of ours.
        retried(|| unsafe { libc::fchmod(file.0.as_raw_fd(), mode) })
    }

    fn set_modified_as(&mut self, file: &OsFile, other: &OsFile) -> io::Result<()> {
        let modified = self.stat(other)?.modified;
        let omitted = libc::timespec { tv_sec: 0, tv_nsec: libc::UTIME_OMIT };
        let modified = libc::timespec {
            tv_sec: libc::time_t::try_from(modified.as_secs()).unwrap_or(0),
            tv_nsec: modified.subsec_nanos().into(),
        };
        let times = [omitted, modified];
        // SAFETY: the descriptor is open, and the pointer is to two live timespecs.
        retried(|| unsafe { libc::futimens(file.0.as_raw_fd(), times.as_ptr()) })
    }

    fn set_group(&mut self, file: &OsFile, gid: u32) -> io::Result<()> {
        // SAFETY: the descriptor is open; the owner -1 stays as it is (chown(2)).
        retried(|| unsafe { libc::fchown(file.0.as_raw_fd(), u32::MAX, gid) })
    }

    fn set_owner(&mut self, file: &OsFile, uid: u32) -> io::Result<()> {
        // SAFETY: the descriptor is open; the group -1 stays as it is (chown(2)).
        retried(|| unsafe { libc::fchown(file.0.as_raw_fd(), uid, u32::MAX) })
    }

    fn group_id(&mut self, name: &str) -> io::Result<Option<u32>> {
        accounts::group_id(name)
    }

    fn user_id(&mut self, name: &str) -> io::Result<Option<u32>> {
        accounts::user_id(name)
    }

    fn own_user(&mut self) -> u32 {
        // SAFETY: geteuid takes nothing and always succeeds.
        unsafe { libc::geteuid() }
    }
}

impl OsFiles {
    /// Copies by read and write. What was copied before an error is reported as copied.
    fn copy_by_hand(
        &mut self,
        from: &OsFile,
        offset: u64,
        to: &OsFile,
        len: usize,
    ) -> io::Result<u64> {
        let mut buffer = vec![0; len.min(COPY_CHUNK)];
        let mut copied = 0;
        while copied < len {
            let want = buffer.len().min(len - copied);
            let step = match self.read_at(from, offset + copied as u64, &mut buffer[..want]) {
                // A short write is no matter: the rest is read again.
                Ok(read) if read > 0 => write_once(to, &buffer[..read]),
                end_or_error => end_or_error,
            };
            match step {
                Ok(0) => break,
                Ok(written) => copied += written,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if copied == 0 => return Err(error),
                Err(_) => break,
            }
        }
        Ok(copied as u64)
    }
}

/// One copy_file_range(2) from `offset` to the position of `to`.
fn copy_in_kernel(from: &OsFile, offset: u64, to: &OsFile, len: usize) -> io::Result<usize> {
    let mut at = offset_of(offset)?;
    let (source, target) = (from.0.as_raw_fd(), to.0.as_raw_fd());
    loop {
        // SAFETY: both descriptors are open; `at` outlives the call; a null offset means the
        // target's own position.
        let copied = counted(unsafe {
            libc::copy_file_range(source, &mut at, target, std::ptr::null_mut(), len, 0)
        });
        match copied {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// Whether copy_file_range(2) refused these files as such, and not for want of space or the like.
fn kernel_cannot_copy(error: &io::Error) -> bool {
    let refusals = [libc::EXDEV, libc::EINVAL, libc::ENOSYS, libc::EOPNOTSUPP, libc::EPERM];
    error.raw_os_error().is_some_and(|code| refusals.contains(&code))
}

/// openat(2).
pub(super) fn open_at(
    dir: Option<BorrowedFd<'_>>,
    name: &CStr,
    flags: c_int,
    mode: u32,
) -> io::Result<OwnedFd> {
    let dir = dir.map_or(libc::AT_FDCWD, |dir| dir.as_raw_fd());
    loop {
        // SAFETY: `dir` is open or AT_FDCWD, and the name ends with NUL.
        let fd = unsafe { libc::openat(dir, name.as_ptr(), flags, mode) };
        if fd >= 0 {
            // SAFETY: the kernel has just made this descriptor, so nobody else owns it.
            return Ok(unsafe { OwnedFd::from_raw_fd(fd) });
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// A directory stream, closed when dropped.
struct Stream(*mut libc::DIR);

impl Stream {
    /// Takes the descriptor over.
    fn open(dir: OwnedFd) -> io::Result<Stream> {
        // SAFETY: the descriptor is an open directory; on success the stream owns it.
        let stream = unsafe { libc::fdopendir(dir.as_raw_fd()) };
        if stream.is_null() {
            return Err(io::Error::last_os_error());
        }
        let _owned_by_the_stream = dir.into_raw_fd();
        Ok(Stream(stream))
    }

    /// The next name in UTF-8; `None` at the end.
    fn next(&self) -> io::Result<Option<String>> {
        loop {
            // SAFETY: errno is this thread's own; readdir leaves it alone at the end.
            unsafe { *libc::__errno_location() = 0 };
            // SAFETY: the stream is open, and no other thread has it.
            let entry = unsafe { libc::readdir(self.0) };
            if entry.is_null() {
                let error = io::Error::last_os_error();
                return if error.raw_os_error() == Some(0) { Ok(None) } else { Err(error) };
            }
            // SAFETY: readdir returned an entry, whose name ends with NUL and which stays until
            // the next readdir; the name is copied before.
            let name = unsafe { CStr::from_ptr((*entry).d_name.as_ptr()) };
            if let Ok(name) = name.to_str() {
                return Ok(Some(name.to_owned()));
            }
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // SAFETY: the stream is open and is used no more.
        unsafe { libc::closedir(self.0) };
    }
}

/// Our part of a kernel's stat.
fn stat_of(raw: &libc::stat) -> Stat {
    let seconds = Duration::from_secs(u64::try_from(raw.st_mtime).unwrap_or(0));
    let nanos = Duration::from_nanos(u64::try_from(raw.st_mtime_nsec).unwrap_or(0));
    let modified = seconds + nanos;
    Stat {
        id: FileId { device: raw.st_dev, inode: raw.st_ino },
        size: u64::try_from(raw.st_size).unwrap_or(0),
        regular: raw.st_mode & libc::S_IFMT == libc::S_IFREG,
        link: raw.st_mode & libc::S_IFMT == libc::S_IFLNK,
        links: raw.st_nlink,
        uid: raw.st_uid,
        modified,
        age: SystemTime::now().duration_since(UNIX_EPOCH + modified).unwrap_or_default(),
    }
}

/// write(2). By itself it tells no successor.
fn write_once(file: &OsFile, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: the descriptor is open and `bytes` is readable for its length.
    counted(unsafe { libc::write(file.0.as_raw_fd(), bytes.as_ptr().cast(), bytes.len()) })
}

/// A call that returns 0 or -1, repeated while a signal interrupts it.
pub(super) fn retried(mut call: impl FnMut() -> c_int) -> io::Result<()> {
    loop {
        if call() == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// What a call that returns a number of bytes or -1 returned.
fn counted(result: libc::ssize_t) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// An offset as the kernel takes it.
fn offset_of(offset: u64) -> io::Result<libc::off_t> {
    libc::off_t::try_from(offset).map_err(|_| io::ErrorKind::FileTooLarge.into())
}

/// A file name: one component, or a tenant could lead us out of the directory.
pub(super) fn c_name(name: impl AsRef<OsStr>) -> io::Result<CString> {
    let name = name.as_ref().as_bytes();
    if name.contains(&b'/') {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a file name with a slash"));
    }
    Ok(CString::new(name)?)
}

/// flock(LOCK_EX | LOCK_NB); `false`: another open file description has it.
pub(super) fn try_lock(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let how = libc::LOCK_EX | libc::LOCK_NB;
    // SAFETY: the descriptor is open; flock touches no memory of ours.
    match retried(|| unsafe { libc::flock(fd.as_raw_fd(), how) }) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}

/// A path.
pub(super) fn c_path(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

#[cfg(test)]
#[path = "files_tests.rs"]
mod tests;
