//! One request to a running seriald, and its answer as it comes.
//!
//! Owns the connection and what was read of it.
//! **Invariant:** a piece is given on as soon as it is there; an answer that is cut off is told.

use crate::cli::Failure;
use seriald::control::answer::{AnswerParser, Part};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longest answer that is taken as a whole, in bytes: 10,000 VMs take some 10 MB.
const BODY_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Most bytes that are read at once.
const READ_BYTES: usize = 64 * 1024;

/// What is asked.
pub struct Question<'q> {
    pub method: &'q str,
    /// The path, and a query if there is one.
    pub path: &'q str,
    pub body: &'q str,
    /// What the connection is to be changed into.
    pub upgrade: Option<&'q str>,
    /// How long the answer may take to go on; `None`: for ever.
    pub patience: Option<Duration>,
}

impl<'q> Question<'q> {
    /// One without a body, whose answer may take its time.
    pub fn of(method: &'q str, path: &'q str) -> Self {
        Question { method, path, body: "", upgrade: None, patience: None }
    }

    fn bytes(&self) -> Vec<u8> {
        let Question { method, path, body, .. } = self;
        let connection = match self.upgrade {
            Some(protocol) => format!("Upgrade\r\nUpgrade: {protocol}"),
            None => "close".to_owned(),
        };
        let head =
            format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: {connection}");
        format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
    }
}

/// A request that was answered, at least in part.
pub struct Exchange {
    place: PathBuf,
    stream: UnixStream,
    parser: AnswerParser,
    read: Vec<u8>,
    /// So much of `read` was looked at.
    used: usize,
    status: u16,
}

impl Exchange {
    /// Asks, and waits until the answer begins.
    pub fn begin(socket: &Path, question: &Question<'_>) -> Result<Exchange, Failure> {
        let stream = UnixStream::connect(socket).map_err(|error| unreachable(socket, &error))?;
        stream.set_read_timeout(question.patience).map_err(Failure::failed)?;
        let mut exchange = Exchange {
            place: socket.to_owned(),
            stream,
            parser: AnswerParser::new(),
            read: Vec::new(),
            used: 0,
            status: 0,
        };
        // Who is sent away at once is told why, which is to be read all the same.
        let sent = exchange.stream.write_all(&question.bytes());
        let begun = exchange.next_piece();
        match (sent, begun) {
            (_, Ok(_)) => Ok(exchange),
            (Err(error), Err(_)) => Err(exchange.failed(&error)),
            (Ok(()), Err(why)) => Err(why),
        }
    }

    /// How it was answered. 101: the connection was changed, see [`Self::into_stream`].
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The next piece of the body, as soon as it comes; empty only where the body is yet to come.
    /// `None`: that was all.
    pub fn next_piece(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        loop {
            let mut rest = &self.read[self.used..];
            let part = self.parser.next(&mut rest);
            let part = match part {
                Ok(Some(Part::Head { status })) => {
                    self.status = status;
                    Some(Some(Vec::new()))
                }
                Ok(Some(Part::Body(piece))) => Some(Some(piece.to_vec())),
                Ok(Some(Part::End)) => Some(None),
                Ok(None) if self.parser.is_at_end() => Some(None),
                Ok(None) => None,
                Err(why) => return Err(self.failed(&format!("no answer of seriald's: {why}"))),
            };
            self.used = self.read.len() - rest.len();
            match part {
                Some(part) => return Ok(part),
                None => self.read_more()?,
            }
        }
    }

    /// All that is left of the body.
    pub fn whole_body(&mut self) -> Result<Vec<u8>, Failure> {
        let mut body = Vec::new();
        while let Some(piece) = self.next_piece()? {
            body.extend_from_slice(&piece);
            if body.len() > BODY_BYTES_MAX {
                return Err(self.failed(&format!("its answer exceeds {BODY_BYTES_MAX} bytes")));
            }
        }
        Ok(body)
    }

    /// The connection, behind a 101, and what has come on it already.
    pub fn into_stream(mut self) -> (UnixStream, Vec<u8>) {
        self.read.drain(..self.used);
        (self.stream, self.read)
    }

    /// Whether all that was read has been given on: what is to come has to be waited for.
    pub fn is_drained(&self) -> bool {
        self.used == self.read.len()
    }

    /// A failure of this exchange.
    pub fn failed(&self, why: &dyn std::fmt::Display) -> Failure {
        Failure::Failed(format!("{}: {why}", self.place.display()))
    }

    fn read_more(&mut self) -> Result<(), Failure> {
        self.read.resize(READ_BYTES, 0);
        self.used = 0;
        let read = loop {
            match self.stream.read(&mut self.read) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        self.read.truncate(*read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) if self.status == 0 => Err(self.failed(&"it ended without an answer")),
            Ok(0) => Err(self.failed(&"no answer of seriald's: it is cut off")),
            Ok(_) => Ok(()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Err(self.failed(&"it does not answer in time"))
            }
            Err(error) => Err(self.failed(&error)),
        }
    }
}

impl AsFd for Exchange {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

fn unreachable(socket: &Path, error: &std::io::Error) -> Failure {
    let place = socket.display();
    let why = match error.kind() {
        ErrorKind::NotFound => "nothing is there",
        ErrorKind::ConnectionRefused => "nobody listens there any more",
        ErrorKind::PermissionDenied => {
            let why = "this user may not connect to it; root and seriald's own user may, others by \
                       \"mode\", \"group\" and the roles of \"control\" in its configuration";
            return Failure::Failed(format!("{place}: {why}"));
        }
        _ => return Failure::Failed(format!("{place}: {error}")),
    };
    let way_out = "name the running one's socket by --control, as its configuration does by \
                   \"control\"";
    Failure::Failed(format!("no seriald can be asked at {place}: {why}; {way_out}"))
}
