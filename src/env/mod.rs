//! What the operating system does for the loop, as traits: files, sockets, processes, the clock.
//!
//! Owns nothing; [`os`] is the real one. The loop takes the world as a type parameter, so that it
//! can also run over a simulated one.
//! **Invariant:** nothing above this folder asks the kernel or the clock for anything but through
//! these traits. (Reading a configuration or a snapshot, outside the loop, is `std::fs`' business.)

pub mod os;

use std::io;
use std::path::Path;
use std::time::Duration;

/// A moment: the time since the environment began, monotonic.
pub type Moment = Duration;

/// Which file a descriptor or a name stands for: device and inode number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId {
    /// The device number.
    pub device: u64,
    /// The inode number, unique within the device while the file exists.
    pub inode: u64,
}

/// What [`Files::stat`] knows of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Device and inode.
    pub id: FileId,
    /// Size in bytes.
    pub size: u64,
    /// A regular file: not a link, FIFO, device, socket or directory.
    pub regular: bool,
    /// Number of hard links.
    pub links: u64,
    /// Time since the last modification by the wall clock; zero if that lies in the future.
    pub age: Duration,
}

/// How [`Files::open`] opens a file. None follows a symbolic link, none is inherited by a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// For reading and appending (O_APPEND), made with this mode if absent.
    Append(u32),
    /// For writing, without O_APPEND (copy_file_range refuses such a destination); it must not
    /// exist yet, and is made with this mode.
    New(u32),
    /// For reading and writing; it must exist.
    Existing,
}

/// Files, each reached by its name below a directory's descriptor.
pub trait Files {
    /// An open directory.
    type Dir;
    /// An open file, closed when dropped.
    type File;

    /// Opens a directory; it and its parents are made with `mode` where they are absent.
    fn open_dir(&mut self, path: &Path, mode: u32) -> io::Result<Self::Dir>;
    /// Opens a file. Never blocks on a FIFO; the caller checks [`Stat::regular`]. A symbolic link
    /// is refused, with an error that says so.
    fn open(&mut self, dir: &Self::Dir, name: &str, how: Open) -> io::Result<Self::File>;
    /// What the descriptor stands for.
    fn stat(&mut self, file: &Self::File) -> io::Result<Stat>;
    /// What the name stands for, itself if it is a symbolic link.
    fn stat_at(&mut self, dir: &Self::Dir, name: &str) -> io::Result<Stat>;
    /// All names in the directory that are UTF-8, in no order.
    fn names(&mut self, dir: &Self::Dir) -> io::Result<Vec<String>>;
    /// One write(2): it may take less than all.
    fn write(&mut self, file: &Self::File, bytes: &[u8]) -> io::Result<usize>;
    /// One pread(2); 0 at the end of the file.
    fn read_at(&mut self, file: &Self::File, offset: u64, into: &mut [u8]) -> io::Result<usize>;
    /// Copies up to `len` bytes from `offset` on to the end position of `to`, in the kernel where
    /// it can; 0 at the end of the file.
    fn copy(
        &mut self,
        from: &Self::File,
        offset: u64,
        to: &Self::File,
        len: u64,
    ) -> io::Result<u64>;
    /// Cuts or extends the file to `len` bytes.
    fn truncate(&mut self, file: &Self::File, len: u64) -> io::Result<()>;
    /// Renames within the directory; an existing `to` is replaced.
    fn rename(&mut self, dir: &Self::Dir, from: &str, to: &str) -> io::Result<()>;
    /// Removes a name that is not a directory.
    fn unlink(&mut self, dir: &Self::Dir, name: &str) -> io::Result<()>;
    /// Takes flock(LOCK_EX | LOCK_NB); `false` if another open file description has it.
    fn lock(&mut self, file: &Self::File) -> io::Result<bool>;
    /// Sets the permission bits (fchmod), whatever the umask.
    fn set_mode(&mut self, file: &Self::File, mode: u32) -> io::Result<()>;
    /// Sets the group (fchown).
    fn set_group(&mut self, file: &Self::File, gid: u32) -> io::Result<()>;
    /// The number of a group; a decimal number stands for itself. `None`: there is no such group.
    fn group_id(&mut self, name: &str) -> io::Result<Option<u32>>;
}
