//! What others do on the same disk, by path: operators, VMMs, logrotate. All paths begin at the
//! root directory.
//!
//! **Invariant:** none of it is counted as opened by the process, or bound by its limits.

use super::contents::Contents;
use super::walk::Place;
use super::{Content, Disk, FileHandle, Info, Kind, errno};
use seriald::env::Open;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

impl Disk {
    /// mkdir -p.
    pub fn make_dir_all(&mut self, path: &Path) -> io::Result<()> {
        if path.as_os_str().is_empty() {
            return Ok(());
        }
        match self.make_dir_at(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(_) if self.is_dir(path, true) => return Ok(()),
            made => return made,
        }
        match path.parent() {
            Some(parent) => self.make_dir_all(parent)?,
            None => return Err(errno(libc::ENOENT)),
        }
        match self.make_dir_at(path) {
            Err(_) if self.is_dir(path, true) => Ok(()),
            made => made,
        }
    }

    /// mkdir(2).
    pub fn make_dir_at(&mut self, path: &Path) -> io::Result<()> {
        let place = self.new_place(path)?;
        self.make_dir(place.dir, &place.name, 0o777).map(drop)
    }

    /// Opens a file by its path for an actor outside; links are followed unless it is made anew.
    /// It is read, written and closed as any other.
    pub fn open_path(&mut self, path: &Path, how: Open) -> io::Result<FileHandle> {
        let (dir, inode) = match how {
            Open::New(mode) | Open::NewToAppend(mode) => {
                let place = self.new_place(path)?;
                let content = Content::File(Contents::default());
                (place.dir, self.make(place.dir, &place.name, content, mode)?)
            }
            _ => {
                let place = self.walk(path, true)?;
                (place.dir, place.inode.ok_or_else(|| errno(libc::ENOENT))?)
            }
        };
        self.open_inode(dir, inode, how, true)
    }

    /// Makes a file, or cuts it to nothing, and writes all bytes; a link to nowhere is followed.
    /// After an error a part may be written.
    pub fn write_file(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let place = self.walk(path, true)?;
        let inode = match place.inode {
            Some(inode) => self.writable(inode)?,
            None => {
                let content = Content::File(Contents::default());
                self.make(place.dir, &place.name, content, 0o666)?
            }
        };
        self.cut(inode, 0)?;
        self.put_all(inode, 0, bytes)
    }

    /// Appends to a file that is there (O_APPEND).
    pub fn append(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let inode = self.writable(self.find(path, true)?)?;
        let end = self.bytes_of(inode)?.size();
        self.put_all(inode, end, bytes)
    }

    /// Writes to a place in a file that is there, as whoever keeps an offset of his own does.
    pub fn write_at(&mut self, path: &Path, at: u64, bytes: &[u8]) -> io::Result<()> {
        let inode = self.writable(self.find(path, true)?)?;
        self.put_all(inode, at, bytes)
    }

    /// Cuts or extends a file.
    pub fn truncate_path(&mut self, path: &Path, len: u64) -> io::Result<()> {
        let inode = self.writable(self.find(path, true)?)?;
        self.cut(inode, len)
    }

    /// rename(2), from directory to directory too.
    pub fn rename_path(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (self.walk(from, false)?, self.walk(to, false)?);
        if from.name.is_empty() || to.name.is_empty() {
            return Err(errno(libc::EBUSY));
        }
        self.move_name((from.dir, &from.name), (to.dir, &to.name))
    }

    /// Removes a name, a directory's only if it is empty.
    pub fn remove_path(&mut self, path: &Path) -> io::Result<()> {
        let place = self.walk(path, false)?;
        if place.name.is_empty() {
            return Err(errno(libc::EBUSY));
        }
        self.remove_name(place.dir, &place.name)
    }

    /// rm -r.
    pub fn remove_all(&mut self, path: &Path) -> io::Result<()> {
        if self.is_dir(path, false) {
            for (name, _) in self.list(path)? {
                self.remove_all(&path.join(name))?;
            }
        }
        self.remove_path(path)
    }

    /// symlink(2): a link at `path` to `target`.
    pub fn symlink(&mut self, target: &Path, path: &Path) -> io::Result<()> {
        if target.as_os_str().is_empty() {
            return Err(errno(libc::ENOENT));
        }
        let place = self.new_place(path)?;
        let made =
            self.make(place.dir, &place.name, Content::Link(PathBuf::from(target)), 0o777)?;
        self.node_mut(made)?.mode = 0o777;
        Ok(())
    }

    /// link(2): a second name; a link at `from` gets it itself.
    pub fn hard_link(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let inode = self.find(from, false)?;
        let place = self.new_place(to)?;
        self.link_name(place.dir, &place.name, inode)
    }

    /// lchown(2): gives what is at a path, a link itself, to a user and a group.
    pub fn chown(&mut self, path: &Path, uid: u32, gid: u32) -> io::Result<()> {
        let inode = self.find(path, false)?;
        self.own(inode, Some(uid), Some(gid))
    }

    /// A file's bytes.
    pub fn read_file(&self, path: &Path) -> io::Result<Vec<u8>> {
        let inode = self.find(path, true)?;
        match self.node(inode)?.kind() {
            Kind::Socket => Err(errno(libc::ENXIO)),
            _ => self.read_inode(inode),
        }
    }

    /// The bytes of a file that need not have a name any more.
    pub fn read_inode(&self, inode: u64) -> io::Result<Vec<u8>> {
        Ok(self.bytes_of(inode)?.whole())
    }

    /// Where a link leads; EINVAL: it is none.
    pub fn read_link(&self, path: &Path) -> io::Result<PathBuf> {
        match &self.node(self.find(path, false)?)?.content {
            Content::Link(target) => Ok(target.clone()),
            _ => Err(errno(libc::EINVAL)),
        }
    }

    /// The directory that a path leads to, which may then be watched.
    pub fn dir_at(&self, path: &Path) -> io::Result<u64> {
        self.must_be_dir(self.find(path, true)?)
    }

    /// Whether the path leads anywhere, through links.
    pub fn exists(&self, path: &Path) -> bool {
        self.find(path, true).is_ok()
    }

    /// Whether the path leads to a directory; a link at its end counts only if `through_link`.
    pub fn is_dir(&self, path: &Path, through_link: bool) -> bool {
        self.find(path, through_link).is_ok_and(|found| self.is_dir_inode(found))
    }

    /// The names in a directory, with whether each is a directory itself, in order.
    pub fn list(&self, path: &Path) -> io::Result<Vec<(OsString, bool)>> {
        let dir = self.find(path, true)?;
        let Content::Dir { entries, .. } = &self.node(dir)?.content else {
            return Err(errno(libc::ENOTDIR));
        };
        Ok(entries.iter().map(|(name, inode)| (name.clone(), self.is_dir_inode(*inode))).collect())
    }

    /// What the path leads to; a link at its end is followed if `follow`.
    pub fn lookup(&self, path: &Path, follow: bool) -> io::Result<Info> {
        let inode = self.find(path, follow)?;
        self.info(inode).ok_or_else(|| errno(libc::ENOENT))
    }

    /// A place for a new name; EEXIST if anything has it, a link to nowhere included.
    pub(super) fn new_place(&self, path: &Path) -> io::Result<Place> {
        let place = self.walk(path, false)?;
        if place.inode.is_some() { Err(errno(libc::EEXIST)) } else { Ok(place) }
    }

    fn writable(&self, inode: u64) -> io::Result<u64> {
        match self.node(inode)?.kind() {
            Kind::File => Ok(inode),
            Kind::Socket => Err(errno(libc::ENXIO)),
            Kind::Dir | Kind::Link => Err(errno(libc::EISDIR)),
        }
    }

    fn put_all(&mut self, inode: u64, at: u64, bytes: &[u8]) -> io::Result<()> {
        let mut done = 0;
        while done < bytes.len() {
            done += self.put(inode, at + done as u64, &bytes[done..])?;
        }
        Ok(())
    }
}
