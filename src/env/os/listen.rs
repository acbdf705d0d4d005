//! The socket on which our own API is asked for.
//!
//! Owns the listening socket, and the name that it has.
//! **Invariant:** nobody can connect before the permissions are what they are to be; only a socket
//! that nobody listens on is removed for it, and at the end only its own.

use super::dirs::open_unlinked;
use super::files::{c_path, retried, try_lock};
use super::heritage::take;
use super::socket::{connect_fd, credentials, examine, open_socket_path, socket_address, visible};
use super::{OsEnv, OsStream, cvt, token};
use crate::env::{Caller, Descriptor, LISTEN_TOKEN, Listens, SocketId, Sockets};
use mio::unix::SourceFd;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Clients that may wait to be accepted.
const BACKLOG: libc::c_int = 128;

pub(super) struct Listener {
    fd: OwnedFd,
    path: PathBuf,
    id: SocketId,
}

impl Listens for OsEnv {
    fn listen(&mut self, path: &Path, mode: u32, group: Option<u32>) -> io::Result<SocketId> {
        let parent = open_unlinked(path.parent().unwrap_or(Path::new("")), 0)?;
        // Of two that start at once each could remove what the other has just bound.
        if !try_lock(parent.as_fd())? {
            return Err(in_use("another process is binding a socket in its directory just now"));
        }
        let address = SocketAddr::from_pathname(path)?;
        let fd = socket()?;
        // A bound socket's file takes these bits over, less the umask.
        // SAFETY: fchmod(2) takes no pointer; the descriptor is open.
        retried(|| unsafe { libc::fchmod(fd.as_raw_fd(), mode) })?;
        match bind(&fd, &address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                check_dead(path)?;
                self.unlink_socket(path)?;
                bind(&fd, &address)?;
            }
            bound => bound?,
        }
        let opened = give_permissions(path, mode, group).and_then(|id| {
            // SAFETY: listen(2) takes no pointer; the descriptor is open.
            cvt(unsafe { libc::listen(fd.as_raw_fd(), BACKLOG) })?;
            self.watch_listener(fd.as_raw_fd())?;
            Ok(id)
        });
        let id = opened.inspect_err(|_| drop(self.unlink_socket(path)))?;
        self.stop_listening();
        self.listener = Some(Listener { fd, path: path.to_owned(), id });
        Ok(id)
    }

    fn accept(&mut self, watched_as: u64) -> io::Result<(OsStream, Caller)> {
        let listener = self.listener.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        let stream = loop {
            let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
            let (address, length) = (std::ptr::null_mut(), std::ptr::null_mut());
            // SAFETY: no address is asked for; the result is a new descriptor that we own.
            let fd = unsafe { libc::accept4(listener.fd.as_raw_fd(), address, length, flags) };
            match cvt(fd) {
                // SAFETY: the kernel has just made it, so nobody else owns it.
                Ok(fd) => break OsStream { fd: unsafe { OwnedFd::from_raw_fd(fd) } },
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => {}
                    _ => return Err(error),
                },
            }
        };
        let interest = mio::Interest::READABLE | mio::Interest::WRITABLE;
        let mut source = SourceFd(&stream.fd.as_raw_fd());
        self.poll.registry().register(&mut source, token(watched_as), interest)?;
        let caller = caller(stream.fd.as_raw_fd())?;
        Ok((stream, caller))
    }

    fn stop_listening(&mut self) {
        if let Some(listener) = self.listener.take()
            && self.socket_id(&listener.path).is_ok_and(|id| id == listener.id)
            && let Err(error) = self.unlink_socket(&listener.path)
        {
            log::warn!("{}: not removed: {error}", listener.path.display());
        }
    }

    fn listener_number(&self) -> Option<Descriptor> {
        self.listener.as_ref().map(|listener| listener.fd.as_raw_fd())
    }

    fn take_listener(&mut self, number: Descriptor, path: &Path, id: SocketId) -> io::Result<()> {
        let fd = take(number, libc::S_IFSOCK)?;
        self.watch_listener(fd.as_raw_fd())?;
        self.listener = Some(Listener { fd, path: path.to_owned(), id });
        Ok(())
    }
}

impl OsEnv {
    fn watch_listener(&mut self, fd: RawFd) -> io::Result<()> {
        let interest = mio::Interest::READABLE;
        self.poll.registry().register(&mut SourceFd(&fd), token(LISTEN_TOKEN), interest)
    }
}

fn in_use(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::AddrInUse, why)
}

fn socket() -> io::Result<OwnedFd> {
    let flags = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: socket(2) takes no pointer; its result is a new descriptor that we own.
    unsafe { Ok(OwnedFd::from_raw_fd(cvt(libc::socket(libc::AF_UNIX, flags, 0))?)) }
}

fn bind(fd: &OwnedFd, to: &SocketAddr) -> io::Result<()> {
    let (address, length) = socket_address(to);
    // SAFETY: the address is live and as long as said.
    cvt(unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), length) }).map(drop)
}

/// Whether the path is a socket on which nobody listens; an error that says so if not.
fn check_dead(path: &Path) -> io::Result<()> {
    let target = open_socket_path(path)?;
    if examine(&target).is_err() {
        let why = "what is there is no socket, and is left alone";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, why));
    }
    let link = SocketAddr::from_pathname(format!("/proc/self/fd/{}", target.as_raw_fd()))?;
    match connect_fd(socket()?.as_raw_fd(), &link) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
        _ => Err(in_use("another process listens there")),
    }
}

/// Gives the bound socket its group and then its mode.
fn give_permissions(path: &Path, mode: u32, group: Option<u32>) -> io::Result<SocketId> {
    let file = open_socket_path(path)?;
    let seen = examine(&file)?;
    if let Some(gid) = group {
        let (keep, flags) = (libc::uid_t::MAX, libc::AT_EMPTY_PATH);
        // SAFETY: the empty path is a live C string; the descriptor is open.
        retried(|| unsafe { libc::fchownat(file.as_raw_fd(), c"".as_ptr(), keep, gid, flags) })?;
    }
    let link = c_path(Path::new(&format!("/proc/self/fd/{}", file.as_raw_fd())))?;
    // SAFETY: the path is a live C string.
    retried(|| unsafe { libc::chmod(link.as_ptr(), mode) })?;
    Ok(seen.id)
}

/// Who has connected, with all groups that he is in.
fn caller(fd: RawFd) -> io::Result<Caller> {
    let peer = credentials(fd)?;
    let mut groups: Vec<libc::gid_t> = vec![0; 64];
    loop {
        let room = groups.len() * size_of::<libc::gid_t>();
        let mut length = room as libc::socklen_t;
        // SAFETY: the buffer is live and as long as said.
        let asked = unsafe {
            let into = groups.as_mut_ptr().cast();
            libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_PEERGROUPS, into, &mut length)
        };
        let needed = length as usize / size_of::<libc::gid_t>();
        match cvt(asked) {
            Ok(_) => {
                groups.truncate(needed);
                break;
            }
            // ERANGE: then the length is what is needed (socket(7)).
            Err(error) if error.raw_os_error() == Some(libc::ERANGE) && needed > groups.len() => {
                groups.resize(needed, 0);
            }
            Err(error) => return Err(error),
        }
    }
    groups.push(peer.gid);
    Ok(Caller { pid: visible(peer.pid), uid: peer.uid, gids: groups })
}
