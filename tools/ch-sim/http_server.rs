//! The API socket: ten connections, served in order.
//!
//! It owns the listener and the connections. What it parses waits in a queue that its instance
//! works off, one call at a time: CH has one API thread, so a call that hangs holds up all others.
//!
//! **Invariant:** never more than ten connections, idle ones included; no answer goes to a
//! connection that took another's place.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use mio::net::{UnixListener, UnixStream};
use mio::{Interest, Registry, Token};

use super::http::{self, Parsed, Parser, Request};
use super::listener::Bound;
use super::release::Release;

/// Connections that are served; one more is told 503 and closed.
pub const CONNECTIONS_MAX: usize = 10;
/// As much as the library reads at once.
const READ_BYTES: usize = 1024;

/// Which connection asked. Never reused, unlike its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker {
    place: usize,
    number: u64,
}

/// One connection.
struct Connection {
    stream: UnixStream,
    number: u64,
    parser: Parser,
    out: Vec<u8>,
    closed: bool,
}

/// The API socket of one VMM.
pub struct HttpServer {
    path: PathBuf,
    release: Release,
    listener: UnixListener,
    /// The token of the first place; the others follow.
    first: usize,
    places: [Option<Connection>; CONNECTIONS_MAX],
    numbers: u64,
}

impl HttpServer {
    /// Binds and listens.
    ///
    /// # Errors
    /// Why it could not, in CH's words where those are known.
    pub fn bind(
        registry: &Registry,
        path: &Path,
        release: Release,
        listener_token: Token,
        first: usize,
    ) -> Result<Self, String> {
        if release.replaces_stale_api_path() {
            replace_stale(path)?;
        }
        let open = || -> io::Result<UnixListener> {
            let (mut listener, _) = Bound::bind(path)?.listen()?;
            registry.register(&mut listener, listener_token, Interest::READABLE)?;
            Ok(listener)
        };
        let listener = open()
            .map_err(|error| format!("cannot bind the API socket {}: {error}", path.display()))?;
        Ok(Self {
            path: path.to_path_buf(),
            release,
            listener,
            first,
            places: Default::default(),
            numbers: 0,
        })
    }

    /// Removes the path, as CH does at an orderly exit. (v53's lock file beside it stays.)
    pub fn remove_path(&self) {
        // Somebody may have removed it already.
        let _ = fs::remove_file(&self.path);
    }

    /// Accepts all who wait.
    pub fn accept(&mut self, registry: &Registry) {
        loop {
            let mut stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    eprintln!("ch-sim: cannot accept on {}: {error}", self.path.display());
                    return;
                }
            };
            let Some(place) = self.places.iter().position(Option::is_none) else {
                // It fits into the empty socket; a client that left already need not hear it.
                let _ = stream.write(http::TOO_MANY);
                continue;
            };
            let both = Interest::READABLE | Interest::WRITABLE;
            if let Err(error) = registry.register(&mut stream, Token(self.first + place), both) {
                eprintln!("ch-sim: cannot serve {}: {error}", self.path.display());
                continue;
            }
            self.numbers += 1;
            self.places[place] = Some(Connection {
                stream,
                number: self.numbers,
                parser: Parser::new(self.release),
                out: Vec::new(),
                closed: false,
            });
        }
    }

    /// Reads and writes what one connection allows; gives its whole requests.
    pub fn serve(&mut self, place: usize) -> Vec<(Asker, Request)> {
        let mut requests = Vec::new();
        let Some(connection) = self.places.get_mut(place).and_then(Option::as_mut) else {
            return requests;
        };
        let number = connection.number;
        for one in connection.read() {
            match one {
                Parsed::Request(request) => requests.push((Asker { place, number }, request)),
                Parsed::Expects => {
                    let go_on = http::response(100, http::Server::Library, b"");
                    connection.out.extend(go_on);
                }
                Parsed::Refused(words) => connection.out.extend(http::refusal(&words)),
            }
        }
        connection.write();
        // A client that closes behind its request still has it carried out, and answered if it
        // only half-closed.
        if connection.closed && requests.is_empty() {
            self.places[place] = None;
        }
        requests
    }

    /// Answers a request, if who asked is still there.
    pub fn answer(&mut self, asker: Asker, response: &[u8]) {
        let place = &mut self.places[asker.place];
        let Some(connection) = place.as_mut().filter(|one| one.number == asker.number) else {
            return;
        };
        connection.out.extend_from_slice(response);
        connection.write();
        if connection.closed {
            *place = None;
        }
    }
}

impl Connection {
    fn read(&mut self) -> Vec<Parsed> {
        let mut parsed = Vec::new();
        let mut chunk = [0; READ_BYTES];
        while !self.closed {
            match self.stream.read(&mut chunk) {
                Ok(0) => self.closed = true,
                Ok(count) => parsed.extend(self.parser.feed(&chunk[..count])),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => self.closed = true,
            }
        }
        parsed
    }

    fn write(&mut self) {
        while !self.out.is_empty() {
            match self.stream.write(&self.out) {
                Ok(count) => drop(self.out.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.out.clear();
                    self.closed = true;
                }
            }
        }
    }
}

/// Replaces the path of a VMM that is dead. CH tells by a lock beside it, which stays; here a
/// connect() tells, which needs no lock.
fn replace_stale(path: &Path) -> Result<(), String> {
    let mut lock = path.as_os_str().to_owned();
    lock.push(".lock");
    fs::File::create(Path::new(&lock))
        .map_err(|error| format!("cannot make {}: {error}", Path::new(&lock).display()))?;
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(format!(
            "API socket {} is already in use by another running instance",
            path.display()
        ));
    }
    // Absent is as good.
    let _ = fs::remove_file(path);
    Ok(())
}
