//! Open directories, made on the way where they are absent, as [`seriald::env::Files::open_dir`]
//! does.
//!
//! **Invariant:** below a root no link is followed; elsewhere the last directory is none.

use super::{DirHandle, Disk, errno};
use seriald::env::Refused;
use std::io;
use std::path::{Component, Path, PathBuf};

/// Which links are followed on the way down.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Links {
    Above,
    None,
}

impl Disk {
    /// Opens a directory; it and its parents are made with `mode` where they are absent.
    pub fn open_dir(
        &mut self,
        path: &Path,
        root: Option<&Path>,
        mode: u32,
    ) -> io::Result<DirHandle> {
        let inode = match root {
            Some(root) => self.dir_below(root, path, mode)?,
            None => match self.plain_dir(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.go_down(super::ROOT, Path::new(""), path, Links::Above, mode)?
                }
                found => found?,
            },
        };
        self.hold(inode)?;
        let handle = DirHandle(self.next_number());
        self.dirs.insert(handle, inode);
        Ok(handle)
    }

    /// Closes a directory. EBADF: it is not open.
    pub fn close_dir(&mut self, dir: DirHandle) -> io::Result<()> {
        let inode = self.dirs.remove(&dir).ok_or_else(|| errno(libc::EBADF))?;
        self.let_go(inode);
        Ok(())
    }

    /// Whether the path leads to a directory; an empty one is the current directory.
    pub fn has_dir(&self, path: &Path) -> bool {
        path.as_os_str().is_empty() || self.is_dir(path, true)
    }

    /// Which inode an open directory is.
    pub fn dir_inode(&self, dir: DirHandle) -> io::Result<u64> {
        self.dirs.get(&dir).copied().ok_or_else(|| errno(libc::EBADF))
    }

    /// A directory that is no link itself; links on the way to it are followed.
    pub(super) fn plain_dir(&self, path: &Path) -> io::Result<u64> {
        // Without a slash at its end, as the real one asks for it.
        let plain: PathBuf = path.components().collect();
        let whole = if plain.as_os_str().is_empty() { Path::new(".") } else { &plain };
        let found = self.find(whole, false)?;
        if self.is_link_inode(found) {
            return Err(linked(whole));
        }
        self.must_be_dir(found)
    }

    fn dir_below(&mut self, root: &Path, path: &Path, mode: u32) -> io::Result<u64> {
        let below = path.strip_prefix(root).ok();
        let below =
            below.filter(|way| way.components().all(|part| matches!(part, Component::Normal(_))));
        let Some(below) = below else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not below log.root"));
        };
        let top = self.find(root, true).and_then(|top| self.must_be_dir(top));
        let top =
            top.map_err(|error| io::Error::new(error.kind(), format!("log.root: {error}")))?;
        self.go_down(top, root, below, Links::None, mode)
    }

    /// Step by step from `at`, which is at `place`; what is absent is made.
    fn go_down(
        &mut self,
        mut at: u64,
        place: &Path,
        below: &Path,
        links: Links,
        mode: u32,
    ) -> io::Result<u64> {
        let mut place = place.to_owned();
        if below.has_root() {
            place.push("/");
        }
        let parts = below.components();
        let parts = parts.filter(|part| !matches!(part, Component::RootDir | Component::CurDir));
        let mut parts = parts.peekable();
        while let Some(part) = parts.next() {
            place.push(part);
            let follow = parts.peek().is_some() && links == Links::Above;
            let opened = match self.step(at, part, follow) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.make_step(at, part, follow, mode)
                }
                opened => opened,
            };
            at = opened.map_err(|error| self.name_link(at, part, &place, error))?;
        }
        Ok(at)
    }

    /// One directory further.
    fn step(&self, at: u64, part: Component<'_>, follow: bool) -> io::Result<u64> {
        let found = self.walk_from(at, Path::new(part.as_os_str()), follow)?.inode;
        self.must_be_dir(found.ok_or_else(|| errno(libc::ENOENT))?)
    }

    fn make_step(
        &mut self,
        at: u64,
        part: Component<'_>,
        follow: bool,
        mode: u32,
    ) -> io::Result<u64> {
        match self.make_dir(at, part.as_os_str(), mode) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.step(at, part, follow)
            }
            made => {
                let made = made?;
                // No permission is left to the umask.
                self.node_mut(made)?.mode = mode & 0o7777;
                Ok(made)
            }
        }
    }

    /// The error of a step, or that it is a link.
    fn name_link(&self, at: u64, part: Component<'_>, place: &Path, error: io::Error) -> io::Error {
        let may_be_link = matches!(error.raw_os_error(), Some(libc::ELOOP | libc::ENOTDIR));
        let there = self.child(at, part.as_os_str()).ok().flatten();
        if may_be_link && there.is_some_and(|there| self.is_link_inode(there)) {
            return linked(place);
        }
        error
    }

    pub(super) fn must_be_dir(&self, inode: u64) -> io::Result<u64> {
        if self.is_dir_inode(inode) { Ok(inode) } else { Err(errno(libc::ENOTDIR)) }
    }
}

fn linked(place: &Path) -> io::Error {
    io::Error::other(Refused::LinkedDirectory(place.to_owned()))
}
