//! The files of Unix sockets: who binds makes one, and its inode and birth tell which it is.
//!
//! **Invariant:** knows nothing of connections.

use super::{Content, Disk, Info, Kind, errno};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

impl Disk {
    /// bind(2) by a user; EADDRINUSE: something is at the path. Returns the inode and its birth.
    pub fn bind_socket(&mut self, path: &Path, uid: u32) -> io::Result<(u64, Duration)> {
        let place = self.new_place(path).map_err(|error| match error.raw_os_error() {
            Some(libc::EEXIST) => errno(libc::EADDRINUSE),
            _ => error,
        })?;
        let inode = self.make(place.dir, &place.name, Content::Socket, 0o777)?;
        let node = self.node_mut(inode)?;
        node.uid = uid;
        Ok((inode, node.born))
    }

    /// The socket at a path, where neither the last name nor its directory may be a link: ELOOP,
    /// [`seriald::env::Refused::LinkedDirectory`]; ENOTSOCK: something else is there.
    pub fn socket_at(&self, path: &Path) -> io::Result<Info> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let dir = self.plain_dir(path.parent().unwrap_or(Path::new("")))?;
        let inode = self.child(dir, name)?.ok_or_else(|| errno(libc::ENOENT))?;
        let info = self.info(inode).ok_or_else(|| errno(libc::ENOENT))?;
        match info.kind {
            Kind::Socket => Ok(info),
            Kind::Link => Err(errno(libc::ELOOP)),
            Kind::File | Kind::Dir => Err(errno(libc::ENOTSOCK)),
        }
    }

    /// Removes the path if a socket is there.
    pub fn unlink_socket(&mut self, path: &Path) -> io::Result<()> {
        self.socket_at(path)?;
        self.remove_path(path)
    }

    /// A name for the place `path`: the inode of its directory and the name in it, or the plain
    /// path where there is no such directory.
    pub fn place(&self, path: &Path) -> (Option<u64>, OsString) {
        let absolute = Path::new("/").join(path);
        let parent = absolute.parent().and_then(|parent| self.find(parent, true).ok());
        match (parent, absolute.file_name()) {
            (Some(parent), Some(name)) => (Some(parent), name.to_owned()),
            _ => (None, absolute.components().collect::<PathBuf>().into_os_string()),
        }
    }
}
