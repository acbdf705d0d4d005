//! Somebody else's log rotation, as logrotate's copytruncate does it: copy, then truncate.
//!
//! Owns a thread, so that it runs beside the loop as another process would.
//! **Invariant:** knows nothing of seriald; it has a path.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How long he takes between his copy and his truncation. What is printed meanwhile is lost.
const GAP: Duration = Duration::from_millis(20);

/// One copytruncate under way.
pub struct Rotation(JoinHandle<io::Result<PathBuf>>);

impl Rotation {
    /// Starts to copy `log` to `copy` and to truncate it.
    pub fn start(log: PathBuf, copy: PathBuf) -> Rotation {
        Rotation(thread::spawn(move || copytruncate(&log, copy)))
    }

    /// Waits for its end; returns the copy.
    pub fn join(self) -> io::Result<PathBuf> {
        self.0.join().unwrap_or_else(|_| Err(io::Error::other("the outsider's thread has ended")))
    }
}

fn copytruncate(log: &Path, copy: PathBuf) -> io::Result<PathBuf> {
    fs::copy(log, &copy)?;
    thread::sleep(GAP);
    fs::OpenOptions::new().write(true).open(log)?.set_len(0)?;
    Ok(copy)
}
