//! Making the serial device that a configuration asks for.
//!
//! **Invariant:** a path that exists is an error and stays, whatever it is.

use std::io;
use std::path::Path;

use mio::Registry;

use super::config::{Config, Mode};
use super::line::{Line, LineTokens};
use super::listener::Bound;
use super::refusal::{Refusal, refuse};
use super::release::Release;
use super::serial::{self, Serial, Sink};

/// Binds the socket, or opens the file, of a configuration.
///
/// # Errors
/// CH's words, after `failed`, those of the call.
pub fn open(
    registry: &Registry,
    config: &Config,
    release: Release,
    tokens: LineTokens,
    failed: &str,
) -> Result<Serial, Refusal> {
    const CREATING: &str = "Error creating console devices";
    if config.wants_console_socket() {
        let why = "No socket option support for console device";
        return Err(refuse(500, &[failed, CREATING, why]));
    }
    let console = config.serial();
    let opened = match (console.mode, console.socket) {
        (Mode::Socket, None) => {
            let words = [
                "API response receive error",
                "receiving on a closed channel",
            ];
            return Err(Refusal {
                panics: true,
                ..refuse(500, &words)
            });
        }
        (Mode::Socket, Some(path)) => socket(registry, release, &path, tokens),
        (Mode::File, _) => plain(release, console.file.as_deref()),
        _ => plain(release, None),
    };
    opened.map_err(|error| {
        let device = "Error creating console device";
        refuse(500, &[failed, CREATING, device, &error.to_string()])
    })
}

/// A device that writes to a file, or nowhere.
///
/// # Errors
/// Those of open(2).
pub fn plain(release: Release, file: Option<&Path>) -> io::Result<Serial> {
    let sink = match file {
        Some(path) => Sink::File(serial::open_file(path)?),
        None => Sink::Nowhere,
    };
    Ok(Serial::new(release, sink))
}

fn socket(
    registry: &Registry,
    release: Release,
    path: &Path,
    tokens: LineTokens,
) -> io::Result<Serial> {
    let (listener, path) = Bound::bind(path)?.listen()?;
    let line = Line::new(registry, listener, path, tokens)?;
    Ok(Serial::new(release, Sink::Socket(line)))
}
