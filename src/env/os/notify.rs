//! The service manager's notification socket, sd_notify(3).
//!
//! Owns the socket.
//! **Invariant:** a send never blocks; a descriptor is handed over with its message or not at all.

use super::{OsEnv, cvt, token};
use crate::env::{Descriptor, NOTIFY_TOKEN, Notify};
use mio::unix::SourceFd;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Room for one descriptor's control message, aligned as cmsghdr is.
#[repr(C, align(8))]
struct Control([u8; 64]);

// SAFETY: CMSG_SPACE only computes.
const _: () = assert!(unsafe { libc::CMSG_SPACE(size_of::<RawFd>() as u32) } as usize <= 64);

/// Of sendmsg(2): no memory, or too many descriptors under way.
const PASSING: [libc::c_int; 3] = [libc::ENOBUFS, libc::ENOMEM, libc::ETOOMANYREFS];

impl Notify for OsEnv {
    fn open_notify(&mut self, address: &OsStr) -> io::Result<()> {
        let address = match address.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            path => SocketAddr::from_pathname(OsStr::from_bytes(path))?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        socket.connect_addr(&address)?;
        let mut source = SourceFd(&socket.as_raw_fd());
        let interest = mio::Interest::WRITABLE;
        self.poll.registry().register(&mut source, token(NOTIFY_TOKEN), interest)?;
        self.notify = Some(socket);
        Ok(())
    }

    fn notify(&mut self, message: &[u8], number: Option<Descriptor>) -> io::Result<()> {
        let socket = self.notify.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        loop {
            match send(socket.as_raw_fd(), message, number) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The kernel is short of something: that passes, as a full socket does.
                Err(error) if error.raw_os_error().is_some_and(|code| PASSING.contains(&code)) => {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                sent => return sent,
            }
        }
    }
}

/// One sendmsg(2), with a descriptor as SCM_RIGHTS (unix(7)).
pub(super) fn send(socket: RawFd, message: &[u8], fd: Option<RawFd>) -> io::Result<()> {
    let mut part =
        libc::iovec { iov_base: message.as_ptr().cast_mut().cast(), iov_len: message.len() };
    let mut control = Control([0; 64]);
    // SAFETY: msghdr is plain memory, for which all zeroes is a valid value.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &mut part;
    header.msg_iovlen = 1;
    if let Some(fd) = fd {
        // SAFETY: the control buffer is live, aligned and has room for one descriptor (asserted
        // above), so the first header lies in it, and its number behind that.
        unsafe {
            header.msg_control = control.0.as_mut_ptr().cast();
            header.msg_controllen = libc::CMSG_SPACE(size_of::<RawFd>() as u32) as usize;
            let first = libc::CMSG_FIRSTHDR(&header);
            (*first).cmsg_level = libc::SOL_SOCKET;
            (*first).cmsg_type = libc::SCM_RIGHTS;
            (*first).cmsg_len = libc::CMSG_LEN(size_of::<RawFd>() as u32) as usize;
            libc::CMSG_DATA(first).cast::<RawFd>().write_unaligned(fd);
        }
    }
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the header's parts are live; the kernel reads the message and the control buffer.
    let sent = unsafe { libc::sendmsg(socket, &header, flags) };
    cvt(sent as libc::c_int).map(drop)
}

/// A connected datagram is dropped with its socket; nothing else is owned here.
pub(super) type NotifySocket = UnixDatagram;

/// What was received with a message: the sender's pid, and descriptors.
pub(super) struct Received {
    pub length: usize,
    pub pid: Option<u32>,
    pub descriptors: Vec<OwnedFd>,
}

/// Most descriptors that one message can bring (SCM_MAX_FD, unix(7)).
const RIGHTS_MAX: usize = 253;

#[repr(C, align(8))]
struct WideControl([u8; 2048]);

const _: () = assert!(
    // SAFETY: CMSG_SPACE only computes.
    unsafe {
        libc::CMSG_SPACE((RIGHTS_MAX * size_of::<RawFd>()) as u32)
            + libc::CMSG_SPACE(size_of::<libc::ucred>() as u32)
    } as usize
        <= 2048
);

/// One recvmsg(2) on the manager's side; WouldBlock if nothing waits.
pub(super) fn receive(socket: RawFd, into: &mut [u8]) -> io::Result<Received> {
    let mut part = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
    let mut control = WideControl([0; 2048]);
    // SAFETY: msghdr is plain memory, for which all zeroes is a valid value.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = control.0.len();
    let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
    // SAFETY: the buffers are live and as long as said.
    let length = unsafe { libc::recvmsg(socket, &mut header, flags) };
    let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
    let mut received = Received { length, pid: None, descriptors: Vec::new() };
    // SAFETY: the kernel has filled the control buffer up to msg_controllen with whole headers,
    // over which the macros walk; descriptors in it are new and ours.
    unsafe {
        let mut next = libc::CMSG_FIRSTHDR(&header);
        while !next.is_null() {
            let (level, kind) = ((*next).cmsg_level, (*next).cmsg_type);
            let bytes = (*next).cmsg_len - libc::CMSG_LEN(0) as usize;
            if (level, kind) == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
                for n in 0..bytes / size_of::<RawFd>() {
                    let fd = libc::CMSG_DATA(next).cast::<RawFd>().add(n).read_unaligned();
                    received.descriptors.push(OwnedFd::from_raw_fd(fd));
                }
            } else if (level, kind) == (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) {
                let sender = libc::CMSG_DATA(next).cast::<libc::ucred>().read_unaligned();
                received.pid = u32::try_from(sender.pid).ok();
            }
            next = libc::CMSG_NXTHDR(&header, next);
        }
    }
    Ok(received)
}
