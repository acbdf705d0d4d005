//! Leaving consoles outside the loop: those that nobody adopted, or whose collector is gone.
//!
//! Owns the descriptors that it is given, until they are closed.
//! **Invariant:** a console that is connected is shut down, read to its end or for a bounded time,
//! and only then closed: a close with unread bytes would end the VMM's serial thread (fact 3.3).

use super::cvt;
use super::stopwatch::Stopwatch;
use crate::env::Descriptor;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

/// The path to which a socket's other end was bound.
pub(super) fn peer_path(socket: Descriptor) -> io::Result<PathBuf> {
    // SAFETY: sockaddr_un is plain memory, for which all zeroes is a valid value.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    let mut len = size_of::<libc::sockaddr_un>() as libc::socklen_t;
    // SAFETY: the address is live and as long as said.
    cvt(unsafe { libc::getpeername(socket, (&raw mut address).cast(), &mut len) })?;
    let path: Vec<u8> =
        address.sun_path.iter().map(|c| *c as u8).take_while(|byte| *byte != 0).collect();
    Ok(PathBuf::from(OsStr::from_bytes(&path)))
}

/// Leaves all of them within `limit`. Returns how many bytes they still brought.
pub(super) fn leave_all(mut sockets: Vec<OwnedFd>, limit: Duration) -> u64 {
    sockets.retain(|socket| peer_path(socket.as_raw_fd()).is_ok());
    for socket in &sockets {
        // SAFETY: shutdown(2) takes no pointer; the descriptor is open.
        unsafe { libc::shutdown(socket.as_raw_fd(), libc::SHUT_WR) };
    }
    let (clock, mut bytes) = (Stopwatch::new(), 0);
    while !sockets.is_empty() {
        let left = limit.saturating_sub(clock.elapsed());
        if left.is_zero() || !wait_for_any(&sockets, left) {
            break;
        }
        sockets.retain(|socket| match read_some(socket) {
            Ok(0) => false,
            Ok(n) => {
                bytes += n as u64;
                true
            }
            // An error that passes is no end: what is unread then would end the VMM's thread.
            Err(error) => {
                use io::ErrorKind::{Interrupted, OutOfMemory, WouldBlock};
                matches!(error.kind(), WouldBlock | Interrupted | OutOfMemory)
            }
        });
    }
    bytes
}

/// Whether one of them became readable, or a signal came, in time.
fn wait_for_any(sockets: &[OwnedFd], limit: Duration) -> bool {
    let entry = |socket: &OwnedFd| libc::pollfd {
        fd: socket.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    let mut entries: Vec<libc::pollfd> = sockets.iter().map(entry).collect();
    let millis = libc::c_int::try_from(limit.as_millis().max(1)).unwrap_or(libc::c_int::MAX);
    // SAFETY: the pointer is to as many live entries as said.
    let ready = unsafe { libc::poll(entries.as_mut_ptr(), entries.len() as u64, millis) };
    ready > 0 || (ready < 0 && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted)
}

fn read_some(socket: &OwnedFd) -> io::Result<usize> {
    let mut buffer = [0u8; 16 * 1024];
    let flags = libc::MSG_DONTWAIT;
    // SAFETY: the buffer is live and as long as said; the descriptor is open.
    let n =
        unsafe { libc::recv(socket.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), flags) };
    usize::try_from(n).map_err(|_| io::Error::last_os_error())
}
