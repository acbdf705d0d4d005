//! HTTP/1.1 as Cloud Hypervisor's API socket speaks it: request bytes out, an incremental response
//! parser in.
//!
//! Owns the bytes of one response until it is complete; never a connection, which belongs to the
//! caller: one short-lived connection a question, because CH serves ten at most, idle ones
//! included.
//!
//! **Invariant:** pure. Holds at most [`HEAD_BYTES_MAX`] and [`BODY_BYTES_MAX`], whatever the peer
//! sends; no input panics; how the bytes were cut into chunks never changes the response.

use crate::http::{HeadBytes, Taken, content_length, take_bytes};
use std::fmt;

/// Longest head, in bytes, informational heads before it included. CH's heads are below 200 bytes.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Longest response body, in bytes. A `vm.info` of a VM with many devices takes some 100 KiB.
pub const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Most header lines in one head. CH sends five.
pub const HEADERS_MAX: usize = 64;

/// Longest request body that CH takes, in bytes (measured, v52 and v53). It refuses 51,201 with a
/// 400 and then reads the refused body as further requests, so such a request must never be sent.
pub const REQUEST_BODY_BYTES_MAX: usize = 51_200;

/// The methods of CH's API; it answers all others with a 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Asks.
    Get,
    /// Acts.
    Put,
}

/// One question to CH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Whether it asks or acts.
    pub method: Method,
    /// The path, such as `/api/v1/vm.boot`. CH answers one with a query string with a 404.
    pub path: &'static str,
    /// A JSON text; CH answers a body where none is due, and the reverse, with a 400.
    pub body: Option<Vec<u8>>,
}

impl Request {
    /// The bytes to send, complete.
    ///
    /// # Errors
    /// [`HttpError::RequestTooLong`] if the body exceeds [`REQUEST_BODY_BYTES_MAX`].
    pub fn encode(&self) -> Result<Vec<u8>, HttpError> {
        let method = match self.method {
            Method::Get => "GET",
            Method::Put => "PUT",
        };
        let mut head = format!(
            "{method} {} HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n",
            self.path
        );
        let body = self.body.as_deref();
        if let Some(body) = body {
            if body.len() > REQUEST_BODY_BYTES_MAX {
                return Err(HttpError::RequestTooLong { bytes: body.len() });
            }
            head.push_str(&format!(
                "Content-Type: application/json\r\nContent-Length: {}\r\n",
                body.len()
            ));
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(body.unwrap_or_default());
        Ok(bytes)
    }
}

/// One complete answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status code, 200 to 999.
    pub status: u16,
    /// The body as sent, at most [`BODY_BYTES_MAX`]; empty where there is none.
    pub body: Vec<u8>,
    /// The peer said `Connection: close`. CH says so only in the 503 that it gives, unasked, to the
    /// eleventh connection.
    pub close: bool,
}

/// What [`ResponseParser::feed`] made of a chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fed {
    /// The whole chunk was taken; the response is not complete.
    More,
    /// The response is complete, and the parser is ready for the next one.
    Done {
        /// The answer.
        response: Response,
        /// Bytes of this chunk that belong to the answer. The rest were not looked at.
        used: usize,
    },
}

/// Why no response can be had from this connection. The connection is of no further use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpError {
    /// A request body exceeds what CH takes; nothing was sent.
    RequestTooLong {
        /// The body's length.
        bytes: usize,
    },
    /// What came is not the head of an HTTP/1 response.
    BadHead(httparse::Error),
    /// The head exceeds [`HEAD_BYTES_MAX`].
    HeadTooLong,
    /// A `Content-Length` is no number, or two of them disagree.
    BadContentLength,
    /// A `Transfer-Encoding` was announced, which CH never does and we do not read.
    TransferEncoding,
    /// The body exceeds [`BODY_BYTES_MAX`], or was announced to.
    BodyTooLong,
    /// End of stream before the first byte of an answer.
    NoResponse,
    /// End of stream in the head.
    HeadCut {
        /// Bytes of the head that had come.
        got: usize,
    },
    /// End of stream in the body.
    BodyCut {
        /// Bytes of the body that had come.
        got: usize,
        /// What `Content-Length` had announced.
        announced: usize,
    },
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RequestTooLong { bytes } => write!(
                f,
                "the request body has {bytes} bytes, Cloud Hypervisor takes \
                 {REQUEST_BODY_BYTES_MAX} at most"
            ),
            Self::BadHead(error) => write!(f, "not the head of an HTTP response: {error}"),
            Self::HeadTooLong => write!(f, "the response's head exceeds {HEAD_BYTES_MAX} bytes"),
            Self::BadContentLength => write!(f, "the response's Content-Length is not one number"),
            Self::TransferEncoding => write!(f, "the response has a Transfer-Encoding"),
            Self::BodyTooLong => write!(f, "the response's body exceeds {BODY_BYTES_MAX} bytes"),
            Self::NoResponse => write!(f, "the connection was closed without an answer"),
            Self::HeadCut { got } => {
                write!(f, "the connection was closed {got} bytes into the response's head")
            }
            Self::BodyCut { got, announced } => write!(
                f,
                "the connection was closed after {got} of the response body's {announced} bytes"
            ),
        }
    }
}

impl std::error::Error for HttpError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::BadHead(error) => Some(error),
            _ => None,
        }
    }
}

/// Where a body ends.
#[derive(Debug, Clone, Copy)]
enum Length {
    /// After that many bytes.
    Bytes(usize),
    /// At the end of the stream: neither `Content-Length` nor a status that forbids a body.
    UntilEof,
}

/// A head, understood.
#[derive(Debug, Clone, Copy)]
struct Head {
    status: u16,
    close: bool,
    length: Length,
}

#[derive(Debug)]
enum State {
    /// Collecting a head; the bytes are in `ResponseParser::head`.
    Head,
    /// Collecting the body that belongs to it.
    Body(Head, Vec<u8>),
    /// Nothing can be had any more.
    Failed(HttpError),
}

/// Turns the bytes of a connection into responses, however they are cut.
#[derive(Debug)]
pub struct ResponseParser {
    state: State,
    head: HeadBytes,
    /// Bytes of informational heads (100 Continue) skipped before this one.
    skipped: usize,
}

impl Default for ResponseParser {
    fn default() -> Self {
        Self::new()
    }
}

impl ResponseParser {
    /// A parser that waits for the first byte of a response.
    pub fn new() -> Self {
        Self { state: State::Head, head: HeadBytes::default(), skipped: 0 }
    }

    /// Takes the next bytes of the connection. An empty chunk is no end of stream and changes
    /// nothing.
    ///
    /// # Errors
    /// Any but the first of [`HttpError`] and the three of [`Self::on_eof`]. The same error is
    /// given to every later call.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Fed, HttpError> {
        let fed = self.advance(bytes);
        if let Err(error) = fed {
            self.state = State::Failed(error);
            self.head.forget();
        }
        fed
    }

    /// The connection ended. `Ok` is a response whose body was to go on until then.
    ///
    /// # Errors
    /// [`HttpError::NoResponse`], [`HttpError::HeadCut`] or [`HttpError::BodyCut`], or the error
    /// that [`Self::feed`] gave before.
    pub fn on_eof(&mut self) -> Result<Response, HttpError> {
        let got = self.skipped + self.head.len();
        let failed = match std::mem::replace(&mut self.state, State::Failed(HttpError::NoResponse))
        {
            State::Head if got == 0 => HttpError::NoResponse,
            State::Head => HttpError::HeadCut { got },
            State::Body(Head { length: Length::Bytes(announced), .. }, body) => {
                HttpError::BodyCut { got: body.len(), announced }
            }
            State::Body(head @ Head { length: Length::UntilEof, .. }, body) => {
                return Ok(Response { status: head.status, body, close: true });
            }
            State::Failed(error) => error,
        };
        self.state = State::Failed(failed);
        Err(failed)
    }

    fn advance(&mut self, bytes: &[u8]) -> Result<Fed, HttpError> {
        let mut rest = bytes;
        loop {
            match &mut self.state {
                State::Failed(error) => return Err(*error),
                State::Head => match self.take_head(&mut rest)? {
                    None => return Ok(Fed::More),
                    Some(head) if head.status < 200 => {}
                    Some(head) => self.state = State::Body(head, Vec::new()),
                },
                State::Body(head, body) => {
                    if !take_body(head.length, body, &mut rest)? {
                        return Ok(Fed::More);
                    }
                    let response = Response {
                        status: head.status,
                        body: std::mem::take(body),
                        close: head.close,
                    };
                    *self = Self::new();
                    return Ok(Fed::Done { response, used: bytes.len() - rest.len() });
                }
            }
        }
    }

    /// Moves bytes of a head out of `rest`; `Some` when the head is complete, and then `rest`
    /// begins behind it.
    fn take_head(&mut self, rest: &mut &[u8]) -> Result<Option<Head>, HttpError> {
        let most = HEAD_BYTES_MAX - self.skipped;
        match self.head.take(rest, most, check_start, parse_head)? {
            Taken::More => Ok(None),
            Taken::TooLong => Err(HttpError::HeadTooLong),
            Taken::Head(head, head_bytes) => {
                self.skipped += head_bytes;
                Ok(Some(head))
            }
        }
    }
}

/// Refuses a peer that is no HTTP/1 server at its first wrong byte instead of at the first line
/// end.
fn check_start(head: &[u8]) -> Result<(), HttpError> {
    const START: &[u8] = b"HTTP/1.";
    let known = head.len().min(START.len());
    if head[..known] == START[..known] {
        Ok(())
    } else {
        Err(HttpError::BadHead(httparse::Error::Version))
    }
}

/// The head at the start of `bytes` and its length, or `None` if it is incomplete.
fn parse_head(bytes: &[u8]) -> Result<Option<(Head, usize)>, HttpError> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Response::new(&mut headers);
    let head_bytes = match parsed.parse(bytes).map_err(HttpError::BadHead)? {
        httparse::Status::Partial => return Ok(None),
        httparse::Status::Complete(head_bytes) => head_bytes,
    };
    let status = parsed.code.unwrap_or_default();
    if status < 100 {
        return Err(HttpError::BadHead(httparse::Error::Status));
    }
    let mut close = false;
    let mut announced = None;
    for header in parsed.headers.iter() {
        if header.name.eq_ignore_ascii_case("connection") {
            close |= header.value.eq_ignore_ascii_case(b"close");
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(HttpError::TransferEncoding);
        } else if header.name.eq_ignore_ascii_case("content-length") {
            let length = content_length(header.value).ok_or(HttpError::BadContentLength)?;
            if announced.is_some_and(|earlier| earlier != length) {
                return Err(HttpError::BadContentLength);
            }
            announced = Some(length);
        }
    }
    let length = match (status, announced) {
        // CH sends its 204 without Content-Length (measured, v52 and v53); RFC 9112, 6.3 forbids a
        // body to these three whatever the head announces.
        (100..200 | 204 | 304, _) => Length::Bytes(0),
        (_, Some(length)) if length > BODY_BYTES_MAX => return Err(HttpError::BodyTooLong),
        (_, Some(length)) => Length::Bytes(length),
        (_, None) => Length::UntilEof,
    };
    Ok(Some((Head { status, close, length }, head_bytes)))
}

/// Moves bytes of a body out of `rest`; whether the body is complete.
fn take_body(length: Length, body: &mut Vec<u8>, rest: &mut &[u8]) -> Result<bool, HttpError> {
    let wanted = match length {
        Length::Bytes(announced) => announced - body.len(),
        Length::UntilEof => usize::MAX,
    };
    let taken = take_bytes(rest, wanted);
    if taken.len() > BODY_BYTES_MAX - body.len() {
        return Err(HttpError::BodyTooLong);
    }
    body.extend_from_slice(taken);
    Ok(taken.len() == wanted)
}

#[cfg(test)]
mod tests;
