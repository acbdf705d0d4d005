//! Sockets of a test's own: whoever reads from one waits no longer than a test may.
//!
//! **Invariant:** an accept, a read and a write each have a deadline.

use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use super::wait::{PATIENCE, READ_PATIENCE, wait_for};

/// The next client.
pub fn accept(listener: &UnixListener) -> UnixStream {
    listener.set_nonblocking(true).expect("a non-blocking listener");
    let stream = wait_for(PATIENCE, "a client", || listener.accept().ok()).0;
    stream.set_nonblocking(false).expect("a blocking stream");
    patient(stream)
}

/// A connection to whoever listens there.
pub fn connect(path: &Path) -> UnixStream {
    patient(UnixStream::connect(path).expect("connected"))
}

fn patient(stream: UnixStream) -> UnixStream {
    stream.set_read_timeout(Some(READ_PATIENCE)).expect("set");
    stream.set_write_timeout(Some(READ_PATIENCE)).expect("set");
    stream
}
