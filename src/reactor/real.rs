//! The loop over the real system: what only a process of its own asks for.
//!
//! Owns nothing.
//! **Invariant:** a library that is embedded touches no signal, no environment variable and no
//! service manager; each of these is a call of its own here.

use super::{Error, Reactor};
use crate::config::Config;
use crate::env::os::OsEnv;
use std::os::fd::{AsFd, BorrowedFd};

impl Reactor<OsEnv> {
    /// Opens the loop over the real system, and raises RLIMIT_NOFILE to its hard limit. It dials
    /// nothing and touches no signal.
    ///
    /// # Errors
    /// The system call that failed.
    pub fn bind(config: Config) -> Result<Self, Error> {
        let env = OsEnv::new().map_err(|cause| Error { what: "open the event loop", cause })?;
        Self::with_env(config, env)
    }

    /// From now on SIGTERM, SIGINT and SIGHUP do what [`Reactor::stop`] does. For a binary: signals
    /// are the process', so a library leaves them alone.
    ///
    /// # Errors
    /// The system call that failed.
    pub fn stop_on_signals(&mut self) -> Result<(), Error> {
        self.env.watch_signals(false).map_err(|cause| Error { what: "watch signals", cause })
    }

    /// From now on SIGTERM and SIGINT do what [`Reactor::stop`] does, and SIGHUP, SIGUSR1 and
    /// SIGUSR2 are for [`Reactor::next_signal`]. For a daemon.
    ///
    /// # Errors
    /// The system call that failed.
    pub fn watch_signals(&mut self) -> Result<(), Error> {
        self.env.watch_signals(true).map_err(|cause| Error { what: "watch signals", cause })
    }
}

impl AsFd for Reactor<OsEnv> {
    /// The epoll instance, to nest the loop in another: when it is readable, or
    /// [`Reactor::next_wake`] has passed, call [`Reactor::turn`] with `Some(Duration::ZERO)`.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.env.as_fd()
    }
}
