//! RLIMIT_NOFILE: the soft limit goes up to the hard one, for us; children get what we got. And the
//! table of descriptors, which is made large before there are many.
//!
//! Owns the limit that this process was started with.
//! **Invariant:** the hard limit is never changed.

use super::cvt;
use crate::limits::DESCRIPTORS_AT_ONCE;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

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

    /// Has the kernel make the table of descriptors as large as that of some thousand VMs. Where
    /// threads share the table each later growth would wait for all of the processors
    /// (synchronize_rcu, up to 30 ms measured), in the middle of a turn.
    pub(super) fn reserve(&self, open: RawFd) {
        let highest = DESCRIPTORS_AT_ONCE.min(self.now).saturating_sub(1);
        let Ok(highest) = libc::c_int::try_from(highest) else { return };
        // SAFETY: F_DUPFD_CLOEXEC takes no pointer; on success its result is a new descriptor that
        // we own.
        unsafe {
            let made = cvt(libc::fcntl(open, libc::F_DUPFD_CLOEXEC, highest));
            drop(made.map(|number| OwnedFd::from_raw_fd(number)));
        }
    }

    /// Sets the limit back to what it was, in a child between fork and exec: a program that uses
    /// select(2) breaks with a high one. Makes one system call, allocates nothing.
    pub(super) fn restore(&self) -> io::Result<()> {
        // SAFETY: the pointer is to a live rlimit, which the call reads.
        cvt(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &self.original) }).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn there_is_room_for_many_descriptors_before_there_are_many() {
        let nofile = Nofile::raise().expect("a limit");
        nofile.reserve(std::io::stdin().as_raw_fd());
        let status = std::fs::read_to_string("/proc/self/status").expect("our status");
        let size = status.lines().find_map(|line| line.strip_prefix("FDSize:"));
        let size: u64 = size.expect("a line").trim().parse().expect("a number");
        assert!(size >= DESCRIPTORS_AT_ONCE.min(nofile.now), "room for {size}");
    }
}
