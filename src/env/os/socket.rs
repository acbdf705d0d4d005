//! Unix stream sockets.
//!
//! Owns nothing but what it returns.
//! **Invariant:** a path is opened without following a link at its end, or at its directory's, and
//! checked to be a socket before it is connected to; the connection goes to what was checked.

use super::dirs::open_unlinked;
use super::files::{c_path, open_at, retried};
use super::{OsEnv, cvt, token};
use crate::env::{Descriptor, FileId, Interest, PeerId, Refused, SocketId, Sockets};
use mio::unix::SourceFd;
use std::ffi::{CStr, CString, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

/// A connected, non-blocking, watched socket.
pub struct OsStream {
    pub(super) fd: OwnedFd,
}

impl Sockets for OsEnv {
    type Stream = OsStream;
    type Target = OwnedFd;

    fn find(&mut self, path: &Path, owner: Option<u32>) -> io::Result<(OwnedFd, SocketId)> {
        let target = open_socket_path(path)?;
        let seen = examine(&target)?;
        if seen.links > 1 {
            return Err(io::Error::other(Refused::LinkedSocket));
        }
        match owner.filter(|owner| *owner != seen.owner) {
            Some(wanted) => Err(io::Error::other(Refused::SocketOwner { is: seen.owner, wanted })),
            None => Ok((target, seen.id)),
        }
    }

    fn open(&mut self, watched_as: u64, interest: Interest) -> io::Result<OsStream> {
        let flags = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: socket(2) takes no pointer; its result is a new descriptor that we own.
        let fd = unsafe { OwnedFd::from_raw_fd(cvt(libc::socket(libc::AF_UNIX, flags, 0))?) };
        let interest = match interest {
            Interest::Read => mio::Interest::READABLE,
            Interest::ReadWrite => mio::Interest::READABLE | mio::Interest::WRITABLE,
        };
        let mut source = SourceFd(&fd.as_raw_fd());
        self.poll.registry().register(&mut source, token(watched_as), interest)?;
        Ok(OsStream { fd })
    }

    fn connect_to(&mut self, stream: &OsStream, target: &OwnedFd) -> io::Result<()> {
        // A magic link leads to the very inode that was checked, and is short enough for sun_path
        // whatever the length of the path itself.
        let link = SocketAddr::from_pathname(format!("/proc/self/fd/{}", target.as_raw_fd()))?;
        connect_fd(stream.fd.as_raw_fd(), &link)
    }

    fn stream_number(&self, stream: &OsStream) -> Descriptor {
        stream.fd.as_raw_fd()
    }

    fn socket_id(&mut self, path: &Path) -> io::Result<SocketId> {
        examine(&open_socket_path(path)?).map(|seen| seen.id)
    }

    fn read(&mut self, stream: &OsStream, into: &mut [u8]) -> io::Result<usize> {
        loop {
            // SAFETY: the buffer is live and as long as said; the descriptor is open.
            let n =
                unsafe { libc::read(stream.fd.as_raw_fd(), into.as_mut_ptr().cast(), into.len()) };
            match usize::try_from(n) {
                Ok(n) => return Ok(n),
                Err(_) => retry_if_interrupted()?,
            }
        }
    }

    fn send(&mut self, stream: &OsStream, bytes: &[u8]) -> io::Result<usize> {
        loop {
            // SAFETY: the buffer is live and as long as said; the descriptor is open.
            let n = unsafe {
                let fd = stream.fd.as_raw_fd();
                libc::send(fd, bytes.as_ptr().cast(), bytes.len(), libc::MSG_NOSIGNAL)
            };
            match usize::try_from(n) {
                Ok(n) => return Ok(n),
                Err(_) => retry_if_interrupted()?,
            }
        }
    }

    fn shutdown_write(&mut self, stream: &OsStream) -> io::Result<()> {
        // SAFETY: shutdown(2) takes no pointer; the descriptor is open.
        cvt(unsafe { libc::shutdown(stream.fd.as_raw_fd(), libc::SHUT_WR) }).map(drop)
    }

    fn peer(&mut self, stream: &OsStream) -> io::Result<PeerId> {
        let peer = credentials(stream.fd.as_raw_fd())?;
        Ok(PeerId { pid: visible(peer.pid), uid: peer.uid })
    }

    fn unlink_socket(&mut self, path: &Path) -> io::Result<()> {
        let (dir, name) = directory_of(path)?;
        examine(&open_in(&dir, &name)?)?;
        // SAFETY: the descriptor is open and the name ends with NUL.
        retried(|| unsafe { libc::unlinkat(dir.as_raw_fd(), name.as_ptr(), 0) })
    }

    fn messages_that_fill(&mut self) -> io::Result<usize> {
        let (sender, _receiver) = UnixStream::pair()?;
        sender.set_nonblocking(true)?;
        let mut sent = 0;
        loop {
            match io::Write::write(&mut &sender, b"x") {
                Ok(_) => sent += 1,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(sent),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn place(&mut self, path: &Path) -> (Option<FileId>, OsString) {
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let parent = absolute.parent().and_then(|parent| std::fs::metadata(parent).ok());
        match (parent, absolute.file_name()) {
            (Some(parent), Some(name)) => {
                let id = FileId { device: parent.dev(), inode: parent.ino() };
                (Some(id), name.to_owned())
            }
            _ => (None, plain(&absolute).into_os_string()),
        }
    }
}

/// The path without `.` and doubled slashes.
fn plain(path: &Path) -> PathBuf {
    path.components().filter(|part| !matches!(part, Component::CurDir)).collect()
}

/// Goes on after EINTR, returns every other error.
fn retry_if_interrupted() -> io::Result<()> {
    match io::Error::last_os_error() {
        error if error.kind() == io::ErrorKind::Interrupted => Ok(()),
        error => Err(error),
    }
}

/// A path's directory, which is no link, and the last part of the path.
fn directory_of(path: &Path) -> io::Result<(OwnedFd, CString)> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let dir = open_unlinked(path.parent().unwrap_or(Path::new("")), libc::O_PATH)?;
    Ok((dir, c_path(Path::new(name))?))
}

/// Opens a name itself (O_PATH), a link's too.
fn open_in(dir: &OwnedFd, name: &CStr) -> io::Result<OwnedFd> {
    open_at(Some(dir.as_fd()), name, libc::O_PATH | libc::O_NOFOLLOW | libc::O_CLOEXEC, 0)
}

/// Opens the path itself (O_PATH), without following a link at its end.
pub(super) fn open_socket_path(path: &Path) -> io::Result<OwnedFd> {
    let (dir, name) = directory_of(path)?;
    open_in(&dir, &name)
}

/// What a socket's file says of it.
pub(super) struct Seen {
    pub(super) id: SocketId,
    links: u32,
    owner: u32,
}

/// What was opened; ENOTSOCK (ELOOP for a link) if it is no socket.
pub(super) fn examine(target: &OwnedFd) -> io::Result<Seen> {
    let mut stat = MaybeUninit::<libc::statx>::zeroed();
    // SAFETY: the empty path is a live C string and the result goes into a live statx, which is
    // plain memory, so that zeroes are valid where the kernel fills nothing.
    let stat = unsafe {
        let mask = libc::STATX_BASIC_STATS | libc::STATX_BTIME;
        let fd = target.as_raw_fd();
        cvt(libc::statx(fd, c"".as_ptr(), libc::AT_EMPTY_PATH, mask, stat.as_mut_ptr()))?;
        stat.assume_init()
    };
    match u32::from(stat.stx_mode) & libc::S_IFMT {
        libc::S_IFSOCK => {}
        libc::S_IFLNK => return Err(io::Error::from_raw_os_error(libc::ELOOP)),
        _ => return Err(io::Error::from_raw_os_error(libc::ENOTSOCK)),
    }
    // Some file systems know no birth: there the last change of the inode stands in for it.
    let has_birth = stat.stx_mask & libc::STATX_BTIME != 0;
    let born = if has_birth { stat.stx_btime } else { stat.stx_ctime };
    let device = libc::makedev(stat.stx_dev_major, stat.stx_dev_minor);
    let id = SocketId {
        file: FileId { device, inode: stat.stx_ino },
        born: Duration::new(u64::try_from(born.tv_sec).unwrap_or(0), born.tv_nsec),
    };
    Ok(Seen { id, links: stat.stx_nlink, owner: stat.stx_uid })
}

/// Who is at the other end (SO_PEERCRED).
pub(super) fn credentials(fd: RawFd) -> io::Result<libc::ucred> {
    let mut peer = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut len = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: both pointers are to live values, and len is the size of the first.
    cvt(unsafe {
        let into = (&raw mut peer).cast();
        libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_PEERCRED, into, &mut len)
    })?;
    Ok(peer)
}

/// A peer's pid. 0: it lives in a pid namespace that we can't see (unix(7)).
pub(super) fn visible(pid: libc::pid_t) -> Option<u32> {
    u32::try_from(pid).ok().filter(|pid| *pid != 0)
}

/// connect(2): on a non-blocking Unix socket it succeeds or fails at once, EAGAIN meaning that the
/// backlog is full.
pub(super) fn connect_fd(fd: RawFd, to: &SocketAddr) -> io::Result<()> {
    let (address, len) = socket_address(to);
    // SAFETY: the address is live and as long as said.
    cvt(unsafe { libc::connect(fd, (&raw const address).cast(), len) }).map(drop)
}

/// A path as the kernel takes it: it ends with a NUL, being shorter than sun_path.
pub(super) fn socket_address(of: &SocketAddr) -> (libc::sockaddr_un, libc::socklen_t) {
    let path = of.as_pathname().map(Path::as_os_str).unwrap_or_default().as_bytes();
    // SAFETY: sockaddr_un is plain memory, for which all zeroes is a valid value.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    for (slot, byte) in address.sun_path.iter_mut().zip(path) {
        *slot = *byte as libc::c_char;
    }
    (address, size_of::<libc::sockaddr_un>() as libc::socklen_t)
}
