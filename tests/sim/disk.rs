//! A file system in memory, as the kernel's behaves: names, links, open file descriptions, locks,
//! space that runs out, and the changes that inotify would tell of.
//!
//! Owns all inodes and all open descriptions; whoever uses it owns the handles and closes each once.
//! **Invariant:** pure: the same calls give the same results. An inode lives exactly as long as a
//! name, a handle, a hold or (a directory) a child that lives on leads to it.

mod contents;
mod dirs;
mod files;
mod names;
mod outside;
mod sockets;
#[cfg(test)]
mod tests;
mod walk;

use contents::Contents;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// The number of the root directory, as on ext4.
pub const ROOT: u64 = 2;

/// The device number of every file here.
pub const DEVICE: u64 = 1;

/// An open file description that can be read, and perhaps written. Numbers are never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileHandle(pub u64);

/// An open directory. Numbers are never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DirHandle(pub u64);

/// One thing that inotify tells whoever watches the directory `dir` (an inode's number).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskChange {
    /// IN_CREATE, IN_MOVED_TO.
    Appeared { dir: u64, name: OsString, is_dir: bool },
    /// IN_DELETE, IN_MOVED_FROM.
    Vanished { dir: u64, name: OsString, is_dir: bool },
    /// IN_MOVE_SELF: the directory has another name or parent now.
    Moved { dir: u64 },
    /// IN_IGNORED: the directory has ended, which it does not before nobody has it open.
    Removed { dir: u64 },
}

/// What kind of file an inode is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    File,
    Dir,
    Link,
    Socket,
}

/// What statx(2) tells of an inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Info {
    pub inode: u64,
    pub kind: Kind,
    pub size: u64,
    pub links: u64,
    pub uid: u32,
    pub gid: u32,
    /// Permission bits alone.
    pub mode: u32,
    pub modified: Duration,
    pub born: Duration,
}

/// The file system, and what a process has open in it.
pub struct Disk {
    /// How many bytes of file contents it can hold; holes in files take none.
    pub capacity: u64,
    /// How many inodes it can hold, the root directory among them.
    pub inodes_max: u64,
    /// A new inode takes the lowest number that is free, as on ext4; else each number is new.
    pub reuse_inodes: bool,
    /// RLIMIT_FSIZE of the process; actors outside have none.
    pub file_max: Option<u64>,
    /// The wall clock, which is written into inodes and against which ages are told.
    pub wall: Duration,
    /// The user and the group of whoever makes files here, and their umask.
    pub user: u32,
    pub group: u32,
    pub umask: u32,
    inodes: BTreeMap<u64, Inode>,
    free: BTreeSet<u64>,
    next_inode: u64,
    files: BTreeMap<FileHandle, Description>,
    dirs: BTreeMap<DirHandle, u64>,
    next_handle: u64,
    used: u64,
    changes: Vec<DiskChange>,
}

/// An open file description.
#[derive(Clone, Copy)]
struct Description {
    inode: u64,
    /// The directory in which it was opened: a name that is open keeps its directory in memory.
    dir: u64,
    write: bool,
    append: bool,
    position: u64,
    /// An outside actor's: not bound by `file_max`, nor counted as ours.
    outside: bool,
}

enum Content {
    File(Contents),
    Dir { entries: BTreeMap<OsString, u64>, parent: u64 },
    Link(PathBuf),
    Socket,
}

struct Inode {
    content: Content,
    uid: u32,
    gid: u32,
    mode: u32,
    /// Names; of a directory also its own `.` and the `..` of those in it. 0: it has been removed.
    links: u64,
    /// Handles, holds and children by which it lives without a name.
    held: u64,
    /// Who has it locked (flock).
    lock: Option<FileHandle>,
    modified: Duration,
    born: Duration,
}

impl Inode {
    fn kind(&self) -> Kind {
        match self.content {
            Content::File(_) => Kind::File,
            Content::Dir { .. } => Kind::Dir,
            Content::Link(_) => Kind::Link,
            Content::Socket => Kind::Socket,
        }
    }
}

impl Disk {
    /// An empty disk without bounds, of user and group 0, umask 022; numbers are reused.
    pub fn new() -> Disk {
        let mut disk = Disk {
            capacity: u64::MAX,
            inodes_max: u64::MAX,
            reuse_inodes: true,
            file_max: None,
            wall: Duration::ZERO,
            user: 0,
            group: 0,
            umask: 0o022,
            inodes: BTreeMap::new(),
            free: BTreeSet::new(),
            next_inode: ROOT + 1,
            files: BTreeMap::new(),
            dirs: BTreeMap::new(),
            next_handle: 0,
            used: 0,
            changes: Vec::new(),
        };
        let content = Content::Dir { entries: BTreeMap::new(), parent: ROOT };
        let root = disk.fresh(content, 0o755);
        disk.inodes.insert(ROOT, Inode { links: 2, ..root });
        disk
    }

    /// How many bytes the contents of files take.
    pub fn used(&self) -> u64 {
        self.used
    }

    /// How many inodes there are, removed ones that are still open among them.
    pub fn inodes(&self) -> u64 {
        self.inodes.len() as u64
    }

    /// How many files the process has open, those of outside actors aside.
    pub fn open_files(&self) -> usize {
        self.files.values().filter(|file| !file.outside).count()
    }

    /// How many directories the process has open.
    pub fn open_dirs(&self) -> usize {
        self.dirs.len()
    }

    /// What has changed since the last call, in order. (inotify also merges a change with the one
    /// right before it in the queue if they are equal. What nobody asks for is kept.)
    pub fn take_changes(&mut self) -> Vec<DiskChange> {
        std::mem::take(&mut self.changes)
    }

    /// What is known of an inode; `None`: there is none of that number now.
    pub fn info(&self, inode: u64) -> Option<Info> {
        let node = self.inodes.get(&inode)?;
        let size = match &node.content {
            Content::File(contents) => contents.size(),
            Content::Link(target) => target.as_os_str().len() as u64,
            Content::Dir { .. } | Content::Socket => 0,
        };
        Some(Info {
            inode,
            kind: node.kind(),
            size,
            links: node.links,
            uid: node.uid,
            gid: node.gid,
            mode: node.mode,
            modified: node.modified,
            born: node.born,
        })
    }

    /// Keeps an inode alive, as an O_PATH descriptor does, until [`Disk::let_go`]. (Not its
    /// directory, which in the kernel would end later too.)
    pub fn hold(&mut self, inode: u64) -> io::Result<()> {
        self.node_mut(inode)?.held += 1;
        Ok(())
    }

    /// Ends a [`Disk::hold`].
    pub fn let_go(&mut self, inode: u64) {
        if let Some(node) = self.inodes.get_mut(&inode) {
            node.held = node.held.saturating_sub(1);
            self.settle(inode);
        }
    }

    fn node(&self, inode: u64) -> io::Result<&Inode> {
        self.inodes.get(&inode).ok_or_else(|| errno(libc::ENOENT))
    }

    fn node_mut(&mut self, inode: u64) -> io::Result<&mut Inode> {
        self.inodes.get_mut(&inode).ok_or_else(|| errno(libc::ENOENT))
    }

    /// An inode as it is made, with no name yet.
    fn fresh(&self, content: Content, mode: u32) -> Inode {
        Inode {
            content,
            uid: self.user,
            gid: self.group,
            mode,
            links: 0,
            held: 0,
            lock: None,
            modified: self.wall,
            born: self.wall,
        }
    }

    /// Stores a new inode.
    fn store(&mut self, inode: Inode) -> io::Result<u64> {
        if self.inodes.len() as u64 >= self.inodes_max {
            return Err(errno(libc::ENOSPC));
        }
        let reused = if self.reuse_inodes { self.free.pop_first() } else { None };
        let number = reused.unwrap_or(self.next_inode);
        self.next_inode = self.next_inode.max(number + 1);
        self.inodes.insert(number, inode);
        Ok(number)
    }

    /// Frees an inode that nothing leads to, and then directories that only it kept.
    fn settle(&mut self, mut number: u64) {
        while let Some(node) = self.inodes.get(&number) {
            if node.links > 0 || node.held > 0 {
                return;
            }
            let Some(node) = self.inodes.remove(&number) else { return };
            self.free.insert(number);
            match node.content {
                Content::File(contents) => self.used -= contents.allocated(),
                Content::Dir { parent, .. } => {
                    self.changes.push(DiskChange::Removed { dir: number });
                    if let Some(above) = self.inodes.get_mut(&parent) {
                        above.held -= 1;
                    }
                    number = parent;
                }
                Content::Link(_) | Content::Socket => {}
            }
        }
    }
}

/// An error as the kernel names it.
fn errno(code: i32) -> io::Error {
    io::Error::from_raw_os_error(code)
}
