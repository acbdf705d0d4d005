//! The TCP socket on which counters are asked for.
//!
//! Owns the listening socket.
//! **Invariant:** never blocks; another socket is closed only once its successor is bound.

use super::heritage::take;
use super::{OsEnv, OsStream, token};
use crate::env::{Descriptor, ListensTcp, TCP_TOKEN};
use mio::unix::SourceFd;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, OwnedFd};

impl ListensTcp for OsEnv {
    fn listen_tcp(&mut self, at: SocketAddr) -> io::Result<SocketAddr> {
        // With SO_REUSEADDR: what an earlier process left in TIME-WAIT is in nobody's way.
        self.watch_tcp_listener(TcpListener::bind(at)?)
    }

    fn accept_tcp(&mut self, watched_as: u64) -> io::Result<OsStream> {
        let listener = self.tcp_listener.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        let stream = loop {
            match listener.accept() {
                Ok((stream, _)) => break stream,
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => return Err(error),
            }
        };
        stream.set_nonblocking(true)?;
        // A piece of an answer goes when it is made, and waits for no ACK of the one before.
        stream.set_nodelay(true)?;
        let stream = OsStream { fd: OwnedFd::from(stream) };
        let interest = mio::Interest::READABLE | mio::Interest::WRITABLE;
        let mut source = SourceFd(&stream.fd.as_raw_fd());
        self.poll.registry().register(&mut source, token(watched_as), interest)?;
        Ok(stream)
    }

    fn stop_listening_tcp(&mut self) {
        self.tcp_listener = None;
    }

    fn tcp_listener_number(&self) -> Option<Descriptor> {
        self.tcp_listener.as_ref().map(|listener| listener.as_raw_fd())
    }

    fn take_tcp_listener(&mut self, number: Descriptor) -> io::Result<SocketAddr> {
        let fd = take(number, libc::S_IFSOCK)?;
        self.watch_tcp_listener(TcpListener::from(fd))
    }
}

impl OsEnv {
    fn watch_tcp_listener(&mut self, listener: TcpListener) -> io::Result<SocketAddr> {
        // Of a socket of another kind this is an error.
        let address = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        let interest = mio::Interest::READABLE;
        let mut source = SourceFd(&listener.as_raw_fd());
        self.poll.registry().register(&mut source, token(TCP_TOKEN), interest)?;
        self.tcp_listener = Some(listener);
        Ok(address)
    }
}
