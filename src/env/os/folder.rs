//! A directory held open, the names in it, and who else has a file of it open: what it takes to
//! put a file in another's place.
//!
//! Owns the directory's descriptor.
//! **Invariant:** a name is one component and no call follows a link in its place, so that whoever
//! owns the directory can't lead a call out of it.

use super::cvt;
use super::files::{c_name, c_path, open_at, try_lock};
use std::ffi::{OsStr, c_int};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

/// An open directory.
#[derive(Debug)]
pub struct Folder(File);

impl Folder {
    /// Opens a directory by its path; an empty one is the current directory.
    ///
    /// # Errors
    /// Those of open(2).
    pub fn open(path: &Path) -> io::Result<Folder> {
        let whole = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC;
        open_at(None, &c_path(whole)?, flags, 0).map(|fd| Folder(fd.into()))
    }

    /// What lies at a name, whatever it is: good for its metadata and nothing else.
    ///
    /// # Errors
    /// Those of openat(2).
    pub fn look(&self, name: &OsStr) -> io::Result<File> {
        self.open_file(name, libc::O_PATH, 0)
    }

    /// Opens a regular file for reading. (A FIFO is opened too, without waiting for a writer: what
    /// was opened, its metadata say.)
    ///
    /// # Errors
    /// Those of openat(2).
    pub fn read(&self, name: &OsStr) -> io::Result<File> {
        self.open_file(name, libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY, 0)
    }

    /// Makes a file for writing, which only its owner may read.
    ///
    /// # Errors
    /// Those of openat(2); `AlreadyExists` if anything has that name, a link to nowhere included.
    pub fn create_new(&self, name: &OsStr) -> io::Result<File> {
        self.open_file(name, libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL, 0o600)
    }

    fn open_file(&self, name: &OsStr, flags: c_int, mode: libc::mode_t) -> io::Result<File> {
        let flags = flags | libc::O_NOFOLLOW | libc::O_CLOEXEC;
        open_at(Some(self.0.as_fd()), &c_name(name)?, flags, mode).map(File::from)
    }

    /// Gives a file a second name.
    ///
    /// # Errors
    /// Those of linkat(2); `AlreadyExists` if anything has the new name.
    pub fn link(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        let (from, to, dir) = (c_name(from)?, c_name(to)?, self.0.as_raw_fd());
        // SAFETY: the descriptor is open and both names end with NUL.
        cvt(unsafe { libc::linkat(dir, from.as_ptr(), dir, to.as_ptr(), 0) }).map(drop)
    }

    /// Renames a file; one that has the new name is replaced in the same moment.
    ///
    /// # Errors
    /// Those of renameat(2).
    pub fn rename(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        let (from, to, dir) = (c_name(from)?, c_name(to)?, self.0.as_raw_fd());
        // SAFETY: the descriptor is open and both names end with NUL.
        cvt(unsafe { libc::renameat(dir, from.as_ptr(), dir, to.as_ptr()) }).map(drop)
    }

    /// Removes a name.
    ///
    /// # Errors
    /// Those of unlinkat(2).
    pub fn unlink(&self, name: &OsStr) -> io::Result<()> {
        let name = c_name(name)?;
        // SAFETY: the descriptor is open and the name ends with NUL.
        cvt(unsafe { libc::unlinkat(self.0.as_raw_fd(), name.as_ptr(), 0) }).map(drop)
    }

    /// Brings the names to the disk.
    ///
    /// # Errors
    /// Those of fsync(2).
    pub fn sync(&self) -> io::Result<()> {
        self.0.sync_all()
    }
}

/// Locks a file as seriald locks its logs, until it is closed; `false`: another has it locked.
///
/// # Errors
/// Those of flock(2).
pub fn lock(file: &File) -> io::Result<bool> {
    try_lock(file.as_fd())
}

/// Whether any process has this file, which was opened for reading, open for writing.
///
/// The kernel tells only its owner and root, and not on every file system: else `false`.
pub fn has_writer(file: &File) -> bool {
    let fd = file.as_raw_fd();
    // A read lease is granted only where nobody has the file open for writing (fcntl(2)). Another
    // who opens it before the lease is given back, a moment later, makes the kernel send a signal:
    // SIGURG does nothing, the usual SIGIO would end this process.
    // SAFETY: the descriptor is open while `file` lives; these commands take a number.
    let asked = unsafe {
        cvt(libc::fcntl(fd, F_SETSIG, libc::SIGURG))
            .and_then(|_| cvt(libc::fcntl(fd, libc::F_SETLEASE, libc::F_RDLCK)))
    };
    match asked {
        Ok(_) => {
            // SAFETY: as above. It can't fail for a lease that we have.
            unsafe { libc::fcntl(fd, libc::F_SETLEASE, libc::F_UNLCK) };
            false
        }
        Err(error) => error.raw_os_error() == Some(libc::EAGAIN),
    }
}

/// `<fcntl.h>`, which the libc package does not have.
const F_SETSIG: c_int = 10;

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn no_call_leaves_the_directory_or_follows_a_link() {
        let dir = tempfile::tempdir().expect("a directory");
        let outside = dir.path().join("outside");
        fs::write(&outside, "secret").expect("written");
        fs::create_dir(dir.path().join("in")).expect("made");
        symlink(&outside, dir.path().join("in/link")).expect("linked");
        symlink("/nowhere", dir.path().join("in/dangling")).expect("linked");
        let folder = Folder::open(&dir.path().join("in")).expect("opened");
        let kind = |error: io::Error| error.kind();
        let link = OsStr::new("link");
        assert_eq!(folder.read(link).err().and_then(|e| e.raw_os_error()), Some(libc::ELOOP));
        assert!(folder.look(link).and_then(|f| f.metadata()).expect("looked").is_symlink());
        let up = OsStr::new("../outside");
        assert_eq!(folder.read(up).map_err(kind).err(), Some(io::ErrorKind::InvalidInput));
        assert_eq!(folder.unlink(up).map_err(kind).err(), Some(io::ErrorKind::InvalidInput));
        let dangling = folder.create_new(OsStr::new("dangling"));
        assert_eq!(dangling.map_err(kind).err(), Some(io::ErrorKind::AlreadyExists));
        assert_eq!(fs::read(&outside).expect("read"), b"secret");
    }

    #[test]
    fn a_link_never_takes_the_place_of_a_file_and_a_rename_does() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("a"), "a").expect("written");
        fs::write(dir.path().join("b"), "b").expect("written");
        let folder = Folder::open(dir.path()).expect("opened");
        let (a, b) = (OsStr::new("a"), OsStr::new("b"));
        let refused = folder.link(a, b).expect_err("b is there").kind();
        assert_eq!(refused, io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(dir.path().join("b")).expect("read"), b"b");
        folder.rename(a, b).expect("renamed");
        assert_eq!(fs::read(dir.path().join("b")).expect("read"), b"a");
    }

    /// Another test's child may still have a copy of a descriptor that we closed, up to its exec.
    fn comes_true(mut holds: impl FnMut() -> bool) -> bool {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while !holds() {
            if std::time::Instant::now() > deadline {
                return false;
            }
            std::thread::yield_now();
        }
        true
    }

    #[test]
    fn a_writer_is_seen_and_a_reader_is_none() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("a");
        let writer = File::create(&path).expect("made");
        let folder = Folder::open(dir.path()).expect("opened");
        let file = folder.read(OsStr::new("a")).expect("opened");
        assert!(has_writer(&file));
        drop(writer);
        let _reader = File::open(&path).expect("opened");
        assert!(comes_true(|| !has_writer(&file)));
        // A lease that was kept would hold this up for 45 s.
        File::options().write(true).open(&path).expect("opened at once");
    }

    #[test]
    fn a_lock_of_another_is_seen() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("a");
        let theirs = File::create(&path).expect("made");
        assert!(lock(&theirs).expect("asked"));
        let ours = File::open(&path).expect("opened");
        assert!(!lock(&ours).expect("asked"));
        drop(theirs);
        assert!(comes_true(|| lock(&ours).expect("asked")));
    }
}
