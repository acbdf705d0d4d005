//! The server's half of HTTP/1.1: the bytes of a connection in, requests out.
//!
//! Owns the bytes of one request until it is complete; never a connection.
//! **Invariant:** pure. Holds at most [`limits::CONTROL_HEAD_BYTES_MAX`] and
//! [`limits::CONTROL_BODY_BYTES_MAX`], whatever the client sends; no input panics; how the bytes
//! were cut into chunks never changes the requests.

use super::response::{Response, Status};
use crate::http::{HeadBytes, Taken, content_length, take_bytes};
use crate::limits;
use std::fmt;

/// What a request wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Asks.
    Get,
    /// Makes a thing be as it says.
    Put,
    /// Has something done.
    Post,
    /// Takes a thing away.
    Delete,
}

impl Method {
    /// All of them.
    pub const ALL: [Method; 4] = [Method::Get, Method::Put, Method::Post, Method::Delete];

    /// Its name, as HTTP has it.
    pub fn name(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Put => "PUT",
            Method::Post => "POST",
            Method::Delete => "DELETE",
        }
    }
}

/// One complete request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What it wants done.
    pub method: Method,
    /// The path, beginning with `/`, as it was sent.
    pub path: String,
    /// What follows a `?`, as it was sent.
    pub query: String,
    /// At most [`limits::CONTROL_BODY_BYTES_MAX`]; empty where there is none.
    pub body: Vec<u8>,
    /// The client sends no other request on this connection.
    pub close: bool,
    /// The protocols that it would go on in, the dearest first (RFC 9110, 7.8); empty: none.
    pub upgrade: Vec<String>,
}

/// What [`RequestParser::feed`] made of a chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fed {
    /// The whole chunk was taken; the request is not complete.
    More,
    /// The client waits for [`CONTINUE`](super::response::CONTINUE) before it sends the body.
    Continue {
        /// Bytes of this chunk that were taken. The rest were not looked at.
        used: usize,
    },
    /// The request is complete, and the parser is ready for the next one.
    Done {
        /// What was asked.
        request: Request,
        /// Bytes of this chunk that belong to it. The rest were not looked at.
        used: usize,
    },
}

/// Why no request can be had from this connection any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestError {
    /// What came is not the head of an HTTP/1 request.
    BadHead(httparse::Error),
    /// It is of another version than HTTP/1.1.
    Version,
    /// The head exceeds [`limits::CONTROL_HEAD_BYTES_MAX`].
    HeadTooLong,
    /// It has more than [`limits::CONTROL_HEADERS_MAX`] header lines.
    TooManyHeaders,
    /// A method that is none of [`Method`].
    Method,
    /// There is not exactly one `Host`.
    Host,
    /// Neither a path nor an `http` address with one.
    Target,
    /// A `Content-Length` is no number, or two of them disagree, or a `Transfer-Encoding` comes
    /// with one.
    Length,
    /// The body comes chunked, without a length.
    Chunked,
    /// A `Transfer-Encoding` that is not `chunked`.
    TransferEncoding,
    /// An `Expect` that is not `100-continue`.
    Expectation,
    /// The body exceeds [`limits::CONTROL_BODY_BYTES_MAX`], or was announced to.
    BodyTooLong,
}

impl RequestError {
    /// The answer, after which the connection is closed.
    pub fn response(self) -> Response {
        let (status, code) = match self {
            Self::BadHead(_) | Self::Host | Self::Target | Self::Length => {
                (Status::BadRequest, "bad_request")
            }
            Self::Version => (Status::VersionNotSupported, "version_not_supported"),
            Self::HeadTooLong | Self::TooManyHeaders => (Status::HeadTooLarge, "head_too_large"),
            Self::Method | Self::TransferEncoding => (Status::NotImplemented, "not_implemented"),
            Self::Chunked => (Status::LengthRequired, "length_required"),
            Self::Expectation => (Status::ExpectationFailed, "expectation_failed"),
            Self::BodyTooLong => (Status::BodyTooLarge, "body_too_large"),
        };
        Response::error(status, code, &self.to_string())
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadHead(error) => write!(f, "not the head of an HTTP request: {error}"),
            Self::Version => f.write_str("the version is not HTTP/1.1"),
            Self::HeadTooLong => {
                write!(f, "the head exceeds {} bytes", limits::CONTROL_HEAD_BYTES_MAX)
            }
            Self::TooManyHeaders => {
                write!(f, "there are more than {} header lines", limits::CONTROL_HEADERS_MAX)
            }
            Self::Method => f.write_str("the method is none of GET, PUT, POST, DELETE"),
            Self::Host => f.write_str("there must be one Host header"),
            Self::Target => f.write_str("the target is neither a path nor an http address"),
            Self::Length => f.write_str("the Content-Length is not one number alone"),
            Self::Chunked => f.write_str("the body must come with a Content-Length, not chunked"),
            Self::TransferEncoding => f.write_str("the Transfer-Encoding is not known"),
            Self::Expectation => f.write_str("the Expect header asks for more than 100-continue"),
            Self::BodyTooLong => {
                write!(f, "the body exceeds {} bytes", limits::CONTROL_BODY_BYTES_MAX)
            }
        }
    }
}

impl std::error::Error for RequestError {}

/// A head, understood.
#[derive(Debug)]
struct Head {
    method: Method,
    path: String,
    query: String,
    close: bool,
    upgrade: Vec<String>,
    length: usize,
    waits: bool,
}

#[derive(Debug)]
enum State {
    /// Collecting a head; the bytes are in `RequestParser::head`.
    Head,
    /// Collecting the body that belongs to it.
    Body(Head, Vec<u8>),
    /// Nothing can be had any more.
    Failed(RequestError),
}

/// Turns the bytes of a connection into requests, however they are cut.
#[derive(Debug)]
pub struct RequestParser {
    state: State,
    head: HeadBytes,
}

impl Default for RequestParser {
    fn default() -> Self {
        Self::new()
    }
}

impl RequestParser {
    /// A parser that waits for the first byte of a request.
    pub fn new() -> Self {
        Self { state: State::Head, head: HeadBytes::default() }
    }

    /// Whether a request has begun to come, and is not complete.
    pub fn is_within(&self) -> bool {
        self.head.len() > 0 || matches!(self.state, State::Body(..))
    }

    /// Takes the next bytes of the connection. An empty chunk changes nothing.
    ///
    /// # Errors
    /// [`RequestError`]; the same is given to every later call.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Fed, RequestError> {
        let fed = self.advance(bytes);
        if let Err(error) = fed {
            self.state = State::Failed(error);
            self.head.forget();
        }
        fed
    }

    fn advance(&mut self, bytes: &[u8]) -> Result<Fed, RequestError> {
        let mut rest = bytes;
        if let State::Head = self.state {
            let most = limits::CONTROL_HEAD_BYTES_MAX;
            match self.head.take(&mut rest, most, check_start, parse_head)? {
                Taken::More => return Ok(Fed::More),
                Taken::TooLong => return Err(RequestError::HeadTooLong),
                Taken::Head(head, _) => {
                    let waits = head.waits && head.length > 0;
                    self.state = State::Body(head, Vec::new());
                    if waits {
                        return Ok(Fed::Continue { used: bytes.len() - rest.len() });
                    }
                }
            }
        }
        match &mut self.state {
            State::Failed(error) => Err(*error),
            State::Head => Ok(Fed::More),
            State::Body(head, body) => {
                body.extend_from_slice(take_bytes(&mut rest, head.length - body.len()));
                if body.len() < head.length {
                    return Ok(Fed::More);
                }
                let request = Request {
                    method: head.method,
                    path: std::mem::take(&mut head.path),
                    query: std::mem::take(&mut head.query),
                    body: std::mem::take(body),
                    close: head.close,
                    upgrade: std::mem::take(&mut head.upgrade),
                };
                self.state = State::Head;
                Ok(Fed::Done { request, used: bytes.len() - rest.len() })
            }
        }
    }
}

/// Refuses a client that does not speak HTTP at its first wrong byte instead of at the first line
/// end. Empty lines may come before a request (RFC 9112, 2.2).
fn check_start(head: &[u8]) -> Result<(), RequestError> {
    let mut rest = head;
    loop {
        rest = match rest {
            [b'\r', b'\n', rest @ ..] | [b'\n', rest @ ..] => rest,
            [] | [b'\r'] | [b'A'..=b'Z', ..] => return Ok(()),
            [b'\r', ..] => return Err(RequestError::BadHead(httparse::Error::NewLine)),
            _ => return Err(RequestError::BadHead(httparse::Error::Token)),
        };
    }
}

/// The head at the start of `bytes` and its length, or `None` if it is incomplete.
fn parse_head(bytes: &[u8]) -> Result<Option<(Head, usize)>, RequestError> {
    let mut headers = [httparse::EMPTY_HEADER; limits::CONTROL_HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut headers);
    let head_bytes = match parsed.parse(bytes) {
        Ok(httparse::Status::Partial) => return Ok(None),
        Ok(httparse::Status::Complete(head_bytes)) => head_bytes,
        Err(httparse::Error::TooManyHeaders) => return Err(RequestError::TooManyHeaders),
        Err(httparse::Error::Version) => return Err(RequestError::Version),
        Err(error) => return Err(RequestError::BadHead(error)),
    };
    if parsed.version != Some(1) {
        return Err(RequestError::Version);
    }
    let method = Method::ALL.into_iter().find(|method| parsed.method == Some(method.name()));
    let method = method.ok_or(RequestError::Method)?;
    let (path, query) = split_target(parsed.path.unwrap_or_default())?;
    let (path, query) = (path.to_owned(), query.to_owned());
    let upgrade = Vec::new();
    let mut head = Head { method, path, query, close: false, upgrade, length: 0, waits: false };
    read_headers(parsed.headers, &mut head)?;
    Ok(Some((head, head_bytes)))
}

/// A target's path and query. An address is a target too (RFC 9112, 3.2.2).
fn split_target(target: &str) -> Result<(&str, &str), RequestError> {
    let path = match target.strip_prefix("http://") {
        None => target,
        Some(address) => &address[address.find('/').ok_or(RequestError::Target)?..],
    };
    if !path.starts_with('/') {
        return Err(RequestError::Target);
    }
    Ok(path.split_once('?').unwrap_or((path, "")))
}

/// The elements of a list that commas part (RFC 9110, 5.6.1).
fn elements(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|element| !element.is_empty())
}

fn read_headers(headers: &[httparse::Header<'_>], head: &mut Head) -> Result<(), RequestError> {
    let (mut hosts, mut announced, mut encoding, mut upgrades) = (0, None, None, false);
    for header in headers {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        if is("host") {
            hosts += 1;
        } else if is("connection") {
            for option in elements(header.value) {
                head.close |= option.eq_ignore_ascii_case(b"close");
                upgrades |= option.eq_ignore_ascii_case(b"upgrade");
            }
        } else if is("upgrade") {
            let protocols = elements(header.value).map(String::from_utf8_lossy);
            head.upgrade.extend(protocols.map(std::borrow::Cow::into_owned));
        } else if is("expect") {
            if !header.value.eq_ignore_ascii_case(b"100-continue") {
                return Err(RequestError::Expectation);
            }
            head.waits = true;
        } else if is("transfer-encoding") {
            encoding = Some(match header.value.eq_ignore_ascii_case(b"chunked") {
                true => RequestError::Chunked,
                false => RequestError::TransferEncoding,
            });
        } else if is("content-length") {
            let length = content_length(header.value).ok_or(RequestError::Length)?;
            if announced.is_some_and(|earlier| earlier != length) {
                return Err(RequestError::Length);
            }
            announced = Some(length);
        }
    }
    if !upgrades {
        // It was meant for somebody on the way to us.
        head.upgrade.clear();
    }
    if hosts != 1 {
        return Err(RequestError::Host);
    }
    match (encoding, announced) {
        // Two sides that take a different one of them see different requests.
        (Some(_), Some(_)) => Err(RequestError::Length),
        (Some(encoding), None) => Err(encoding),
        (None, Some(length)) if length > limits::CONTROL_BODY_BYTES_MAX => {
            Err(RequestError::BodyTooLong)
        }
        (None, length) => {
            head.length = length.unwrap_or(0);
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests;
