//! RLIMIT_NOFILE: the soft limit goes up to the hard one, for us; children get what we got.
//!
//! Owns the limit that this process was started with.
//! **Invariant:** the hard limit is never changed.

use super::cvt;
use std::io;

/// The limit on descriptors.
#[derive(Clone, Copy)]
pub(super) struct Nofile {
    /// The soft limit in force.
    pub now: u64,
    original: libc::rlimit,
}

impl Nofile {
    /// Raises the soft limit to the hard one.
    pub(super) fn raise() -> io::Result<Self> {
        let mut original = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: the pointer is to a live rlimit, which the call fills.
        cvt(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut original) })?;
        let raised = libc::rlimit { rlim_cur: original.rlim_max, rlim_max: original.rlim_max };
        // SAFETY: the pointer is to a live rlimit, which the call reads.
        let result = cvt(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raised) });
        let now = if result.is_ok() { raised.rlim_cur } else { original.rlim_cur };
        Ok(Nofile { now, original })
    }

    /// Sets the limit back to what it was, in a child between fork and exec: a program that uses
    /// select(2) breaks with a high one. Makes one system call, allocates nothing.
    pub(super) fn restore(&self) -> io::Result<()> {
        // SAFETY: the pointer is to a live rlimit, which the call reads.
        cvt(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &self.original) }).map(drop)
    }
}
