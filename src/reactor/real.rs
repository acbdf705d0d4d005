//! The loop over the real system: what only a process of its own asks for.
//!
//! Owns nothing.
//! **Invariant:** a library that is embedded touches no signal, no environment variable and no
//! service manager; each of these is a call of its own here.

use super::store::Kept;
use super::{Error, Reactor};
use crate::config::Config;
use crate::env::Descriptor;
use crate::env::os::OsEnv;
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

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

    /// Connects to the service manager at `address` (NOTIFY_SOCKET: a path, or `@` and an abstract
    /// name). `watchdog`: how often it wants a sign of life, half of its WATCHDOG_USEC.
    ///
    /// # Errors
    /// Nobody is there.
    pub fn connect_service(
        &mut self,
        address: &OsStr,
        watchdog: Option<Duration>,
    ) -> Result<(), Error> {
        let opened = self.env.open_notify(address);
        opened.map_err(|cause| Error { what: "connect to the service manager", cause })?;
        self.serve(watchdog);
        Ok(())
    }

    /// From now on every serial stream is kept in the service manager's descriptor store, so that a
    /// crash of this process costs no byte. `kept`: the names and numbers of what it has kept for a
    /// predecessor (LISTEN_FDS); a VM that is then adopted gets its own back, and what is left is
    /// for [`Reactor::leave_unclaimed`].
    ///
    /// # Errors
    /// The memory that goes to the store can't be made.
    pub fn keep_in_store(&mut self, kept: Vec<(String, Descriptor)>) -> Result<(), Error> {
        let kept = Kept::sort(kept);
        let own = self.memory_left.take();
        let memory = own.or(kept.memory);
        let opened = self.env.open_remains(memory);
        let (number, is_new, found) =
            opened.map_err(|cause| Error { what: "make memory for a successor", cause })?;
        if own.is_some() {
            self.go_on_with_store(number, is_new, &found);
            return Ok(());
        }
        let useless = self.begin_store(number, is_new, found, kept);
        self.leave_numbers(useless);
        Ok(())
    }
}

impl AsFd for Reactor<OsEnv> {
    /// The epoll instance, to nest the loop in another: when it is readable, or
    /// [`Reactor::next_wake`] has passed, call [`Reactor::turn`] with `Some(Duration::ZERO)`.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.env.as_fd()
    }
}
