//! SIGTERM and SIGINT as readiness: for the binary, which owns the process' signals.
//!
//! Owns the signalfd.
//! **Invariant:** made only when asked for; a library that is embedded touches no signal.

use super::{cvt, token};
use crate::env::SIGNAL_TOKEN;
use mio::unix::SourceFd;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};

/// The blocked signals that end a run. One that comes makes an event; it is never read, as which of
/// the two it is makes no difference.
pub(super) struct EndSignals {
    _file: File,
}

impl EndSignals {
    /// Blocks both and watches them.
    pub(super) fn block(registry: &mio::Registry) -> io::Result<Self> {
        // SAFETY: sigset_t is plain memory, for which all zeroes is a valid value.
        let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
        // SAFETY: each call gets a live set; signalfd returns a new descriptor that File then owns.
        let file = unsafe {
            libc::sigemptyset(&mut set);
            libc::sigaddset(&mut set, libc::SIGTERM);
            libc::sigaddset(&mut set, libc::SIGINT);
            let error = libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
            if error != 0 {
                return Err(io::Error::from_raw_os_error(error));
            }
            let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
            File::from_raw_fd(cvt(libc::signalfd(-1, &set, flags))?)
        };
        let mut source = SourceFd(&file.as_raw_fd());
        registry.register(&mut source, token(SIGNAL_TOKEN), mio::Interest::READABLE)?;
        Ok(EndSignals { _file: file })
    }
}
