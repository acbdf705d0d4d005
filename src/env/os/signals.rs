//! The process' signals as readiness: for the binary, which owns them.
//!
//! Owns the signalfd.
//! **Invariant:** made only when asked for; a library that is embedded touches no signal. A signal
//! that was ignored at the start (nohup) stays ignored: it is never queued.

use super::{cvt, token};
use crate::env::{ProcessSignal, SIGNAL_TOKEN};
use mio::unix::SourceFd;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};

type Watched = &'static [(libc::c_int, fn(u32) -> ProcessSignal)];

/// What ends a program in order: a hung up terminal too.
pub(super) const TO_END: Watched = &[
    (libc::SIGTERM, |_| ProcessSignal::End),
    (libc::SIGINT, |_| ProcessSignal::End),
    (libc::SIGHUP, |_| ProcessSignal::End),
];

/// What a daemon is told.
pub(super) const ALL: Watched = &[
    (libc::SIGTERM, |_| ProcessSignal::End),
    (libc::SIGINT, |_| ProcessSignal::End),
    (libc::SIGHUP, |_| ProcessSignal::Hangup),
    (libc::SIGUSR1, |_| ProcessSignal::User1),
    (libc::SIGUSR2, ProcessSignal::User2),
];

/// The blocked signals, read one by one.
pub(super) struct Signals {
    file: File,
    watched: Watched,
}

impl Signals {
    /// Blocks all of them and watches them.
    pub(super) fn block(registry: &mio::Registry, watched: Watched) -> io::Result<Self> {
        // SAFETY: sigset_t is plain memory, for which all zeroes is a valid value.
        let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
        // SAFETY: each call gets a live set; signalfd returns a new descriptor that File then owns.
        let file = unsafe {
            libc::sigemptyset(&mut set);
            for (number, _) in watched {
                libc::sigaddset(&mut set, *number);
            }
            // Blocked and never read: a log that reaches RLIMIT_FSIZE shall be an error, EFBIG, and
            // not the end of all (setrlimit(2)).
            let mut blocked = set;
            libc::sigaddset(&mut blocked, libc::SIGXFSZ);
            let error = libc::pthread_sigmask(libc::SIG_BLOCK, &blocked, std::ptr::null_mut());
            if error != 0 {
                return Err(io::Error::from_raw_os_error(error));
            }
            let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
            File::from_raw_fd(cvt(libc::signalfd(-1, &set, flags))?)
        };
        let mut source = SourceFd(&file.as_raw_fd());
        registry.register(&mut source, token(SIGNAL_TOKEN), mio::Interest::READABLE)?;
        Ok(Signals { file, watched })
    }

    /// The next one that has come; several of one kind may come as one (signal(7)).
    pub(super) fn next(&self) -> Option<ProcessSignal> {
        loop {
            let mut info = std::mem::MaybeUninit::<libc::signalfd_siginfo>::uninit();
            let size = size_of::<libc::signalfd_siginfo>();
            // SAFETY: the buffer is live and of the one size that a read of a signalfd fills.
            let n = unsafe { libc::read(self.file.as_raw_fd(), info.as_mut_ptr().cast(), size) };
            if n < 0 && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted {
                continue;
            }
            if usize::try_from(n) != Ok(size) {
                return None;
            }
            // SAFETY: the read has filled all of it.
            let info = unsafe { info.assume_init() };
            let number = info.ssi_signo;
            let known =
                self.watched.iter().find(|(watched, _)| u32::try_from(*watched) == Ok(number));
            if let Some((_, signal)) = known {
                return Some(signal(info.ssi_pid));
            }
        }
    }
}
