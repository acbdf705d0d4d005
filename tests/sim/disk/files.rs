//! Open files, and names below an open directory: what [`seriald::env::Files`] does.
//!
//! **Invariant:** a write puts at most as many bytes as the disk has room for.

use super::contents::Contents;
use super::{Content, DEVICE, Description, DirHandle, Disk, FileHandle, Kind, errno};
use seriald::env::{FileId, Open, Stat};
use std::ffi::OsStr;
use std::io;

/// What a copy moves at once where the kernel can't copy by itself.
const COPY_CHUNK: u64 = 64 * 1024;

impl Disk {
    /// Opens a file by its name in a directory; a link is refused, a directory only read.
    pub fn open(&mut self, dir: DirHandle, name: &str, how: Open) -> io::Result<FileHandle> {
        let (dir, name) = (self.dir_inode(dir)?, one_name(name)?);
        let inode = match how {
            Open::New(mode) | Open::NewToAppend(mode) => {
                self.make(dir, name, Content::File(Contents::default()), mode)?
            }
            _ => self.child(dir, name)?.ok_or_else(|| errno(libc::ENOENT))?,
        };
        if self.is_link_inode(inode) {
            return Err(io::Error::other("it is a symbolic link"));
        }
        self.open_inode(dir, inode, how, false)
    }

    pub(super) fn open_inode(
        &mut self,
        dir: u64,
        inode: u64,
        how: Open,
        outside: bool,
    ) -> io::Result<FileHandle> {
        match self.node(inode)?.kind() {
            Kind::Socket => return Err(errno(libc::ENXIO)),
            Kind::Dir if how != Open::Read => return Err(errno(libc::EISDIR)),
            _ => {}
        }
        let append = matches!(how, Open::Append | Open::NewToAppend(_));
        let write = how != Open::Read;
        self.hold(inode)?;
        self.hold(dir)?;
        let handle = FileHandle(self.next_number());
        let description = Description { inode, dir, write, append, position: 0, outside };
        self.files.insert(handle, description);
        Ok(handle)
    }

    /// Closes a file, and gives its lock up. EBADF: it is not open.
    pub fn close(&mut self, file: FileHandle) -> io::Result<()> {
        let closed = self.files.remove(&file).ok_or_else(|| errno(libc::EBADF))?;
        if let Some(node) = self.inodes.get_mut(&closed.inode).filter(|n| n.lock == Some(file)) {
            node.lock = None;
        }
        self.let_go(closed.inode);
        self.let_go(closed.dir);
        Ok(())
    }

    /// What a file's descriptor stands for.
    pub fn stat(&self, file: FileHandle) -> io::Result<Stat> {
        self.stat_of(self.description(file)?.inode)
    }

    /// What a name stands for, itself if it is a link.
    pub fn stat_at(&self, dir: DirHandle, name: &str) -> io::Result<Stat> {
        let found = self.child(self.dir_inode(dir)?, one_name(name)?)?;
        self.stat_of(found.ok_or_else(|| errno(libc::ENOENT))?)
    }

    /// All names in the directory that are UTF-8, in order.
    pub fn names(&self, dir: DirHandle) -> io::Result<Vec<String>> {
        let Content::Dir { entries, .. } = &self.node(self.dir_inode(dir)?)?.content else {
            return Err(errno(libc::ENOTDIR));
        };
        Ok(entries.keys().filter_map(|name| name.to_str().map(str::to_owned)).collect())
    }

    /// One write(2): at the end if the file was opened to append, else at its position. It takes as
    /// much as there is room for; ENOSPC, EFBIG: there is room for none.
    pub fn write(&mut self, file: FileHandle, bytes: &[u8]) -> io::Result<usize> {
        let open = self.description(file)?;
        if !open.write {
            return Err(errno(libc::EBADF));
        }
        let at = if open.append { self.bytes_of(open.inode)?.size() } else { open.position };
        if bytes.is_empty() {
            return Ok(0);
        }
        let allowed = self.within_limit(&open, at, bytes.len() as u64)?;
        let written = self.put(open.inode, at, &bytes[..allowed as usize])?;
        self.move_to(file, at + written as u64);
        Ok(written)
    }

    /// One pread(2); 0 at the end of the file.
    pub fn read_at(&self, file: FileHandle, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        within_offsets(offset)?;
        let open = self.description(file)?;
        if self.is_dir_inode(open.inode) {
            return Err(errno(libc::EISDIR));
        }
        Ok(self.bytes_of(open.inode)?.read(offset, into))
    }

    /// copy_file_range(2) to the position of `to`, which must not be open to append (EBADF); within
    /// one file, where the kernel refuses what overlaps, by reads and writes.
    pub fn copy(
        &mut self,
        from: FileHandle,
        offset: u64,
        to: FileHandle,
        len: u64,
    ) -> io::Result<u64> {
        within_offsets(offset)?;
        let (source, target) = (self.description(from)?, self.description(to)?);
        if self.is_dir_inode(source.inode) || self.is_dir_inode(target.inode) {
            return Err(errno(libc::EISDIR));
        }
        if !target.write || target.append {
            return Err(errno(libc::EBADF));
        }
        let at = target.position;
        if offset.checked_add(len).is_none() || at.checked_add(len).is_none() {
            return Err(errno(libc::EOVERFLOW));
        }
        let left = self.bytes_of(source.inode)?.size().saturating_sub(offset);
        let count = self.within_limit(&target, at, len.min(left))?;
        let overlaps = at + count > offset && at < offset + count;
        if source.inode == target.inode && overlaps {
            return self.copy_by_hand(from, offset, to, len);
        }
        let mut bytes = vec![0; usize::try_from(count).expect("what fits memory")];
        self.bytes_of(source.inode)?.read(offset, &mut bytes);
        let copied = self.put(target.inode, at, &bytes)?;
        self.move_to(to, at + copied as u64);
        Ok(copied as u64)
    }

    /// Cuts or extends; what is added is a hole.
    pub fn truncate(&mut self, file: FileHandle, len: u64) -> io::Result<()> {
        within_offsets(len)?;
        let open = self.description(file)?;
        if !open.write {
            return Err(errno(libc::EINVAL));
        }
        let grows = len > self.bytes_of(open.inode)?.size();
        if grows && !open.outside && self.file_max.is_some_and(|max| len > max) {
            return Err(errno(libc::EFBIG));
        }
        self.cut(open.inode, len)
    }

    /// Renames within a directory; an existing `to` is replaced.
    pub fn rename(&mut self, dir: DirHandle, from: &str, to: &str) -> io::Result<()> {
        let (from, to, dir) = (one_name(from)?, one_name(to)?, self.dir_inode(dir)?);
        self.move_name((dir, from), (dir, to))
    }

    /// Removes a name, a directory's only if it is empty.
    pub fn unlink(&mut self, dir: DirHandle, name: &str) -> io::Result<()> {
        self.remove_name(self.dir_inode(dir)?, one_name(name)?)
    }

    /// flock(LOCK_EX | LOCK_NB), held until the file is closed; `false`: another has it.
    pub fn lock(&mut self, file: FileHandle) -> io::Result<bool> {
        let inode = self.description(file)?.inode;
        Ok(*self.node_mut(inode)?.lock.get_or_insert(file) == file)
    }

    /// fchmod(2).
    pub fn set_mode(&mut self, file: FileHandle, mode: u32) -> io::Result<()> {
        let inode = self.description(file)?.inode;
        self.node_mut(inode)?.mode = mode & 0o7777;
        Ok(())
    }

    /// Gives a file the time of the last modification of another.
    pub fn set_modified_as(&mut self, file: FileHandle, other: FileHandle) -> io::Result<()> {
        let modified = self.stat(other)?.modified;
        let inode = self.description(file)?.inode;
        self.node_mut(inode)?.modified = modified;
        Ok(())
    }

    /// fchown(2) of the group.
    pub fn set_group(&mut self, file: FileHandle, gid: u32) -> io::Result<()> {
        let inode = self.description(file)?.inode;
        self.own(inode, None, Some(gid))
    }

    /// fchown(2) of the owner.
    pub fn set_owner(&mut self, file: FileHandle, uid: u32) -> io::Result<()> {
        let inode = self.description(file)?.inode;
        self.own(inode, Some(uid), None)
    }

    /// Writes into a file as far as there is room.
    pub(super) fn put(&mut self, inode: u64, at: u64, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        let (room, wall) = (self.capacity.saturating_sub(self.used), self.wall);
        // The kernel notes the time before it looks for room.
        self.node_mut(inode)?.modified = wall;
        let contents = self.bytes_mut(inode)?;
        let fit = contents.that_fit(at, bytes.len() as u64, room) as usize;
        if fit == 0 {
            return Err(errno(libc::ENOSPC));
        }
        self.used += contents.write(at, &bytes[..fit]);
        Ok(fit)
    }

    pub(super) fn cut(&mut self, inode: u64, len: u64) -> io::Result<()> {
        let freed = self.bytes_mut(inode)?.truncate(len);
        self.used -= freed;
        let wall = self.wall;
        self.node_mut(inode)?.modified = wall;
        Ok(())
    }

    /// chown(2): a file then runs as nobody special any more.
    pub(super) fn own(&mut self, inode: u64, uid: Option<u32>, gid: Option<u32>) -> io::Result<()> {
        let node = self.node_mut(inode)?;
        node.uid = uid.unwrap_or(node.uid);
        node.gid = gid.unwrap_or(node.gid);
        if node.kind() != Kind::Dir {
            let group_runs = node.mode & 0o2010 == 0o2010;
            node.mode &= if group_runs { !0o6000 } else { !0o4000 };
        }
        Ok(())
    }

    pub(super) fn bytes_of(&self, inode: u64) -> io::Result<&Contents> {
        match &self.node(inode)?.content {
            Content::File(contents) => Ok(contents),
            other => Err(no_file(other)),
        }
    }

    fn bytes_mut(&mut self, inode: u64) -> io::Result<&mut Contents> {
        match &mut self.node_mut(inode)?.content {
            Content::File(contents) => Ok(contents),
            other => Err(no_file(other)),
        }
    }

    pub(super) fn next_number(&mut self) -> u64 {
        self.next_handle += 1;
        self.next_handle
    }

    fn copy_by_hand(
        &mut self,
        from: FileHandle,
        offset: u64,
        to: FileHandle,
        len: u64,
    ) -> io::Result<u64> {
        let mut copied = 0;
        while copied < len {
            let mut buffer = vec![0; COPY_CHUNK.min(len - copied) as usize];
            let read = self.read_at(from, offset + copied, &mut buffer)?;
            match self.write(to, &buffer[..read]) {
                Ok(0) => break,
                Ok(written) => copied += written as u64,
                Err(error) if copied == 0 => return Err(error),
                Err(_) => break,
            }
        }
        Ok(copied)
    }

    /// How many of `len` bytes RLIMIT_FSIZE lets us put at a place.
    fn within_limit(&self, open: &Description, at: u64, len: u64) -> io::Result<u64> {
        match self.file_max.filter(|_| !open.outside) {
            Some(max) if at >= max => Err(errno(libc::EFBIG)),
            Some(max) => Ok(len.min(max - at)),
            None => Ok(len),
        }
    }

    fn move_to(&mut self, file: FileHandle, position: u64) {
        if let Some(open) = self.files.get_mut(&file) {
            open.position = position;
        }
    }

    fn description(&self, file: FileHandle) -> io::Result<Description> {
        self.files.get(&file).copied().ok_or_else(|| errno(libc::EBADF))
    }

    fn stat_of(&self, inode: u64) -> io::Result<Stat> {
        let info = self.info(inode).ok_or_else(|| errno(libc::ENOENT))?;
        Ok(Stat {
            id: FileId { device: DEVICE, inode },
            size: info.size,
            regular: info.kind == Kind::File,
            link: info.kind == Kind::Link,
            links: info.links,
            uid: info.uid,
            modified: info.modified,
            age: self.wall.saturating_sub(info.modified),
        })
    }
}

/// What reading and writing say of an inode without bytes.
fn no_file(content: &Content) -> io::Error {
    errno(if matches!(content, Content::Dir { .. }) { libc::EISDIR } else { libc::EINVAL })
}

/// A file name: one component.
fn one_name(name: &str) -> io::Result<&OsStr> {
    if name.contains(['/', '\0']) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a file name with a slash"));
    }
    Ok(OsStr::new(name))
}

/// An offset that the kernel can take.
fn within_offsets(offset: u64) -> io::Result<()> {
    i64::try_from(offset).map(drop).map_err(|_| io::ErrorKind::FileTooLarge.into())
}
