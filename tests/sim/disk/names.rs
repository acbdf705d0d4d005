//! Names in directories: made, linked, renamed, removed.
//!
//! **Invariant:** every change of a name is told in the order in which inotify tells it.

use super::walk::is_dots;
use super::{Content, Disk, DiskChange, Inode, errno};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;

/// The bit by which a directory hands its group on.
const SETGID: u32 = 0o2000;

impl Disk {
    /// Makes an inode with a name that is not taken.
    pub(super) fn make(
        &mut self,
        dir: u64,
        name: &OsStr,
        content: Content,
        mode: u32,
    ) -> io::Result<u64> {
        self.must_be_new(dir, name)?;
        let mut made: Inode = self.fresh(content, mode & 0o7777 & !self.umask);
        let above = self.node(dir)?;
        if above.mode & SETGID != 0 {
            made.gid = above.gid;
        }
        if let Content::Dir { parent, .. } = &mut made.content {
            *parent = dir;
            made.links = 2;
            made.mode |= above.mode & SETGID;
            let made = self.store(made)?;
            let above = self.node_mut(dir)?;
            above.links += 1;
            above.held += 1;
            self.add_name(dir, name, made);
            return Ok(made);
        }
        made.links = 1;
        let made = self.store(made)?;
        self.add_name(dir, name, made);
        Ok(made)
    }

    /// Makes a directory.
    pub(super) fn make_dir(&mut self, dir: u64, name: &OsStr, mode: u32) -> io::Result<u64> {
        let content = Content::Dir { entries: BTreeMap::new(), parent: dir };
        self.make(dir, name, content, mode)
    }

    /// Gives an inode, no directory, one more name.
    pub(super) fn link_name(&mut self, dir: u64, name: &OsStr, inode: u64) -> io::Result<()> {
        self.must_be_new(dir, name)?;
        if self.is_dir_inode(inode) {
            return Err(errno(libc::EPERM));
        }
        self.node_mut(inode)?.links += 1;
        self.add_name(dir, name, inode);
        Ok(())
    }

    /// Removes a name; a directory's only if it is empty.
    pub(super) fn remove_name(&mut self, dir: u64, name: &OsStr) -> io::Result<()> {
        if name == "." {
            return Err(errno(libc::EINVAL));
        }
        if name == ".." {
            return Err(errno(libc::ENOTEMPTY));
        }
        let inode = self.child(dir, name)?.ok_or_else(|| errno(libc::ENOENT))?;
        let is_dir = self.is_dir_inode(inode);
        self.must_be_empty(inode)?;
        self.take_name(dir, name);
        self.drop_link(dir, inode)?;
        // A directory that nobody has open ends before its name is told to be gone.
        self.settle(inode);
        self.changes.push(DiskChange::Vanished { dir, name: name.to_owned(), is_dir });
        Ok(())
    }

    /// Moves a name, in place of another if that is taken.
    pub(super) fn move_name(
        &mut self,
        (from_dir, from): (u64, &OsStr),
        (to_dir, to): (u64, &OsStr),
    ) -> io::Result<()> {
        if from.is_empty() || to.is_empty() {
            return Err(errno(libc::ENOENT));
        }
        if is_dots(from) || is_dots(to) {
            return Err(errno(libc::EBUSY));
        }
        let moved = self.child(from_dir, from)?.ok_or_else(|| errno(libc::ENOENT))?;
        let replaced = self.child(to_dir, to)?;
        let is_dir = self.is_dir_inode(moved);
        if is_dir && self.is_within(to_dir, moved) {
            return Err(errno(libc::EINVAL));
        }
        if replaced.is_some_and(|replaced| self.is_within(from_dir, replaced)) {
            return Err(errno(libc::ENOTEMPTY));
        }
        if replaced == Some(moved) {
            // Two names of one file: nothing is done (rename(2)).
            return Ok(());
        }
        if self.node(to_dir)?.links == 0 {
            return Err(errno(libc::ENOENT));
        }
        if let Some(replaced) = replaced {
            match (is_dir, self.is_dir_inode(replaced)) {
                (true, false) => return Err(errno(libc::ENOTDIR)),
                (false, true) => return Err(errno(libc::EISDIR)),
                _ => self.must_be_empty(replaced)?,
            }
            self.drop_link(to_dir, replaced)?;
        }
        self.take_name(from_dir, from);
        self.put_name(to_dir, to, moved);
        if from_dir != to_dir {
            self.change_parent(moved, from_dir, to_dir)?;
        }
        self.changes.push(DiskChange::Vanished { dir: from_dir, name: from.to_owned(), is_dir });
        self.changes.push(DiskChange::Appeared { dir: to_dir, name: to.to_owned(), is_dir });
        if is_dir {
            self.changes.push(DiskChange::Moved { dir: moved });
        }
        replaced.into_iter().for_each(|replaced| self.settle(replaced));
        Ok(())
    }

    fn must_be_new(&self, dir: u64, name: &OsStr) -> io::Result<()> {
        if self.child(dir, name)?.is_some() {
            return Err(errno(libc::EEXIST));
        }
        // In a directory that has been removed nothing can be made.
        if self.node(dir)?.links == 0 { Err(errno(libc::ENOENT)) } else { Ok(()) }
    }

    fn must_be_empty(&self, inode: u64) -> io::Result<()> {
        match &self.node(inode)?.content {
            Content::Dir { entries, .. } if !entries.is_empty() => Err(errno(libc::ENOTEMPTY)),
            _ => Ok(()),
        }
    }

    /// Whether a directory is `above` or below it.
    fn is_within(&self, mut dir: u64, above: u64) -> bool {
        loop {
            if dir == above {
                return true;
            }
            match self.inodes.get(&dir).map(|node| &node.content) {
                Some(Content::Dir { parent, .. }) if *parent != dir => dir = *parent,
                _ => return false,
            }
        }
    }

    fn add_name(&mut self, dir: u64, name: &OsStr, inode: u64) {
        self.put_name(dir, name, inode);
        let is_dir = self.is_dir_inode(inode);
        self.changes.push(DiskChange::Appeared { dir, name: name.to_owned(), is_dir });
    }

    fn put_name(&mut self, dir: u64, name: &OsStr, inode: u64) {
        let wall = self.wall;
        if let Some(Inode { content: Content::Dir { entries, .. }, modified, .. }) =
            self.inodes.get_mut(&dir)
        {
            entries.insert(name.to_owned(), inode);
            *modified = wall;
        }
    }

    fn take_name(&mut self, dir: u64, name: &OsStr) {
        let wall = self.wall;
        if let Some(Inode { content: Content::Dir { entries, .. }, modified, .. }) =
            self.inodes.get_mut(&dir)
        {
            entries.remove(name);
            *modified = wall;
        }
    }

    /// Counts a name less; a directory, which has one, is removed by that.
    fn drop_link(&mut self, dir: u64, inode: u64) -> io::Result<()> {
        if self.is_dir_inode(inode) {
            self.node_mut(inode)?.links = 0;
            self.node_mut(dir)?.links -= 1;
        } else {
            self.node_mut(inode)?.links -= 1;
        }
        Ok(())
    }

    /// What was moved keeps its new directory in memory, not its old one.
    fn change_parent(&mut self, moved: u64, from: u64, to: u64) -> io::Result<()> {
        if let Content::Dir { parent, .. } = &mut self.node_mut(moved)?.content {
            *parent = to;
            self.node_mut(from)?.links -= 1;
            self.node_mut(to)?.links += 1;
            self.node_mut(to)?.held += 1;
            self.let_go(from);
            return Ok(());
        }
        // (A file of which two names in one directory are open, and one is moved: both go along.)
        let open = self.files.values_mut().filter(|open| open.inode == moved && open.dir == from);
        let count = open.map(|open| open.dir = to).count();
        for _ in 0..count {
            self.hold(to)?;
            self.let_go(from);
        }
        Ok(())
    }
}
