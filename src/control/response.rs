//! Answers as bytes: whole, or piece by piece.
//!
//! Owns the spelling of heads, of errors and of chunks.
//! **Invariant:** pure. An answer says its length before its body, or comes in chunks with an end.

use super::frames::{FRAMES, RAW};
use std::io::Write;

/// What a client waits for that sent `Expect: 100-continue`.
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It is done; the body says what there is.
    Ok = 200,
    /// A thing was made that was not there before.
    Created = 201,
    /// It is begun, and goes on by itself.
    Accepted = 202,
    /// It makes no sense.
    BadRequest = 400,
    /// Who asks may not.
    Forbidden = 403,
    /// There is no such thing.
    NotFound = 404,
    /// The thing takes other methods.
    MethodNotAllowed = 405,
    /// The request took too long to come.
    RequestTimeout = 408,
    /// What there is stands in its way.
    Conflict = 409,
    /// A body must say its length.
    LengthRequired = 411,
    /// The body is too long.
    BodyTooLarge = 413,
    /// What is expected is not done here.
    ExpectationFailed = 417,
    /// It goes on in another protocol alone.
    UpgradeRequired = 426,
    /// The head is too long.
    HeadTooLarge = 431,
    /// It was tried and failed.
    InternalError = 500,
    /// It is not done here.
    NotImplemented = 501,
    /// The VMM was asked, and did not do it.
    BadGateway = 502,
    /// It can't be done now.
    Unavailable = 503,
    /// The VMM was asked, and does not answer.
    GatewayTimeout = 504,
    /// The version of HTTP is another.
    VersionNotSupported = 505,
}

impl Status {
    /// The number.
    pub fn code(self) -> u16 {
        self as u16
    }

    fn reason(self) -> &'static str {
        match self {
            Status::Ok => "OK",
            Status::Created => "Created",
            Status::Accepted => "Accepted",
            Status::BadRequest => "Bad Request",
            Status::Forbidden => "Forbidden",
            Status::NotFound => "Not Found",
            Status::MethodNotAllowed => "Method Not Allowed",
            Status::RequestTimeout => "Request Timeout",
            Status::Conflict => "Conflict",
            Status::LengthRequired => "Length Required",
            Status::BodyTooLarge => "Content Too Large",
            Status::ExpectationFailed => "Expectation Failed",
            Status::UpgradeRequired => "Upgrade Required",
            Status::HeadTooLarge => "Request Header Fields Too Large",
            Status::InternalError => "Internal Server Error",
            Status::NotImplemented => "Not Implemented",
            Status::BadGateway => "Bad Gateway",
            Status::Unavailable => "Service Unavailable",
            Status::GatewayTimeout => "Gateway Timeout",
            Status::VersionNotSupported => "HTTP Version Not Supported",
        }
    }
}

/// What a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// A JSON text.
    Json,
    /// A JSON text a line.
    JsonLines,
    /// Prometheus' text format.
    Metrics,
    /// Bytes, of which nothing is known.
    Octets,
}

impl Content {
    /// Its media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Content::Json => "application/json",
            Content::JsonLines => "application/jsonl",
            Content::Octets => "application/octet-stream",
            Content::Metrics => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// A whole answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// What became of the request.
    pub status: Status,
    /// What the body is.
    pub content: Content,
    /// The body.
    pub body: Vec<u8>,
    /// The methods that the thing takes, for [`Status::MethodNotAllowed`].
    pub allow: Option<String>,
}

impl Response {
    /// An answer that holds a JSON text.
    pub fn json(status: Status, body: Vec<u8>) -> Response {
        Response { status, content: Content::Json, body, allow: None }
    }

    /// An error: `{"error": {"code": .., "message": ..}}`.
    pub fn error(status: Status, code: &str, message: &str) -> Response {
        let error = serde_json::json!({"error": {"code": code, "message": message}});
        Response::json(status, error.to_string().into_bytes())
    }

    /// Appends the answer to what is to be sent. `close`: the connection ends after it.
    pub fn encode(&self, close: bool, into: &mut Vec<u8>) {
        let length = self.body.len();
        head(self.status, self.content, close, into);
        if let Some(methods) = &self.allow {
            let _ = write!(into, "Allow: {methods}\r\n");
        }
        if self.status == Status::UpgradeRequired {
            let _ = write!(into, "Connection: Upgrade\r\nUpgrade: {RAW}, {FRAMES}\r\n");
        }
        // Writing into memory never fails.
        let _ = write!(into, "Content-Length: {length}\r\n\r\n");
        into.extend_from_slice(&self.body);
    }
}

/// Changes the connection into one of another protocol: what follows is its.
pub fn switch(protocol: &str, into: &mut Vec<u8>) {
    let _ = write!(
        into,
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n\r\n"
    );
}

/// Begins an answer whose pieces are yet to come.
pub fn begin_stream(content: Content, close: bool, into: &mut Vec<u8>) {
    head(Status::Ok, content, close, into);
    into.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
}

/// Appends a piece of such an answer; an empty one would be its end, and is none.
pub fn chunk(piece: &[u8], into: &mut Vec<u8>) {
    if !piece.is_empty() {
        let _ = write!(into, "{:x}\r\n", piece.len());
        into.extend_from_slice(piece);
        into.extend_from_slice(b"\r\n");
    }
}

/// Ends such an answer.
pub fn end_stream(into: &mut Vec<u8>) {
    into.extend_from_slice(b"0\r\n\r\n");
}

fn head(status: Status, content: Content, close: bool, into: &mut Vec<u8>) {
    let (code, reason, media) = (status.code(), status.reason(), content.media_type());
    let _ = write!(into, "HTTP/1.1 {code} {reason}\r\nContent-Type: {media}\r\n");
    if close {
        into.extend_from_slice(b"Connection: close\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_answer_says_its_length_and_whether_it_is_the_last() {
        let mut sent = Vec::new();
        let refused = Response::error(Status::MethodNotAllowed, "a", "\"b\"\n");
        Response { allow: Some("GET, PUT".into()), ..refused }.encode(true, &mut sent);
        let body = r#"{"error":{"code":"a","message":"\"b\"\n"}}"#;
        let expected = format!(
            "HTTP/1.1 405 Method Not Allowed\r\nContent-Type: application/json\r\n\
             Connection: close\r\nAllow: GET, PUT\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        assert_eq!(String::from_utf8_lossy(&sent), expected);
    }

    #[test]
    fn a_streamed_answer_is_its_pieces_and_an_end() {
        let mut sent = Vec::new();
        begin_stream(Content::Metrics, false, &mut sent);
        chunk(b"", &mut sent);
        chunk(&[b'x'; 26], &mut sent);
        end_stream(&mut sent);
        let expected = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; \
                        charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n\
                        1a\r\nxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n0\r\n\r\n";
        assert_eq!(String::from_utf8_lossy(&sent), expected);
    }
}
