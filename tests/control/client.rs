//! A client that knows nothing of the codec under test: it reads heads and chunks by itself.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::Value;

use super::support::sockets::connect;
use super::support::wait::READ_PATIENCE;

/// One answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
    /// It came in so many chunks, if it did.
    pub chunks: Option<usize>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let line = self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then_some(value)
        });
        line.map(str::trim)
    }

    pub fn json(&self) -> Value {
        let text = String::from_utf8_lossy(&self.body);
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// The JSON texts of a body that has one a line.
    pub fn json_lines(&self) -> Vec<Value> {
        let text = std::str::from_utf8(&self.body).expect("UTF-8");
        assert!(text.is_empty() || text.ends_with('\n'), "{text}");
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    /// The word for programs of an error.
    pub fn code(&self) -> String {
        self.json()["error"]["code"].as_str().expect("a code").to_owned()
    }
}

/// A connection to the API.
pub struct Client<S = UnixStream> {
    pub stream: S,
    /// Read, and belonging to the next answer.
    rest: Vec<u8>,
}

impl Client {
    pub fn connect(path: &Path) -> Client {
        Client { stream: connect(path), rest: Vec::new() }
    }
}

impl Client<TcpStream> {
    /// A connection to the address for counters; `None`: it is refused.
    pub fn try_tcp(address: SocketAddr) -> Option<Self> {
        let stream = match TcpStream::connect(address) {
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => return None,
            connected => connected.expect("connected"),
        };
        stream.set_read_timeout(Some(READ_PATIENCE)).expect("set");
        stream.set_write_timeout(Some(READ_PATIENCE)).expect("set");
        Some(Client { stream, rest: Vec::new() })
    }

    pub fn tcp(address: SocketAddr) -> Self {
        Self::try_tcp(address).expect("it is listened on")
    }
}

impl<S: Read + Write> Client<S> {
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("sent");
    }

    pub fn ask(&mut self, method: &str, path: &str, body: &str) -> Answer {
        let length = body.len();
        let head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n");
        self.send(format!("{head}\r\n{body}").as_bytes());
        self.answer().expect("an answer")
    }

    pub fn get(&mut self, path: &str) -> Answer {
        self.ask("GET", path, "")
    }

    /// The status of an answer that another may come before, or an end.
    pub fn try_get(&mut self, path: &str) -> Option<u16> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        // Whoever was sent away already can't be told anything.
        let _ = self.stream.write_all(request.as_bytes());
        self.answer().map(|answer| answer.status)
    }

    /// The next answer; `None`: the stream ends.
    pub fn answer(&mut self) -> Option<Answer> {
        let mut answer = self.try_head()?;
        if answer.header("Transfer-Encoding") == Some("chunked") {
            let mut chunks = 0;
            while let Some(piece) = self.chunk() {
                chunks += 1;
                answer.body.extend_from_slice(&piece);
            }
            answer.chunks = Some(chunks);
        } else if !matches!(answer.status, 100 | 101) {
            let length = answer.header("Content-Length").expect("a length");
            answer.body = self.take(length.parse().expect("a number"));
        }
        Some(answer)
    }

    /// The head of the next answer, whose body is yet to be read.
    pub fn head(&mut self) -> Answer {
        self.try_head().expect("an answer")
    }

    fn try_head(&mut self) -> Option<Answer> {
        let head = self.take_to(b"\r\n\r\n")?;
        let head = String::from_utf8(head).expect("a head in UTF-8");
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
        Some(Answer { status, head, body: Vec::new(), chunks: None })
    }

    /// The next chunk of a body; `None`: it was the last, or the stream ends.
    pub fn chunk(&mut self) -> Option<Vec<u8>> {
        let size = self.take_to(b"\r\n")?;
        let size = String::from_utf8(size).expect("digits");
        let size = usize::from_str_radix(size.trim_end(), 16).expect("a chunk's size");
        let mut piece = self.take(size + 2);
        piece.truncate(size);
        (size > 0).then_some(piece)
    }

    /// Whether the stream ends here. An end with bytes that nobody read is a reset.
    pub fn is_at_end(&mut self) -> bool {
        self.rest.is_empty() && !self.read_more()
    }

    fn read_more(&mut self) -> bool {
        let mut piece = [0; 65536];
        match self.stream.read(&mut piece) {
            Ok(n) => {
                self.rest.extend_from_slice(&piece[..n]);
                n > 0
            }
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => false,
            Err(error) => {
                let rest = String::from_utf8_lossy(&self.rest);
                panic!("waited {READ_PATIENCE:?} in vain for more than {rest:?}: {error}")
            }
        }
    }

    /// Bytes up to this end; `None`: the stream ends.
    pub fn take_to(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        loop {
            if let Some(at) = self.rest.windows(end.len()).position(|window| window == end) {
                return Some(self.rest.drain(..at + end.len()).collect());
            }
            if !self.read_more() {
                assert!(self.rest.is_empty(), "cut off: {:?}", String::from_utf8_lossy(&self.rest));
                return None;
            }
        }
    }

    /// So many bytes.
    pub fn take(&mut self, bytes: usize) -> Vec<u8> {
        self.try_take(bytes).expect("cut off")
    }

    /// So many bytes; `None`: the stream ends before.
    pub fn try_take(&mut self, bytes: usize) -> Option<Vec<u8>> {
        while self.rest.len() < bytes {
            if !self.read_more() {
                return None;
            }
        }
        Some(self.rest.drain(..bytes).collect())
    }
}
