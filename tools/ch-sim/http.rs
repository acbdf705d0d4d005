//! HTTP as CH speaks it: a request parser and a response writer, both pure.
//!
//! It imitates the small server library that CH shares with Firecracker: lines end in CR LF and
//! have less than 1024 bytes, a body is counted, never chunked, and what the library itself
//! refuses comes with `Server: Firecracker API` and a body with a raw newline inside a string,
//! which is not JSON.
//!
//! **Invariant:** no byte of a client makes this panic, and it holds at most one body.

use super::release::Release;

/// The longest body that is taken.
pub(crate) const BODY_BYTES_MAX: usize = 51200;
/// A line, its end included, fits into this.
const LINE_BYTES_MAX: usize = 1024;

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The absolute path.
    pub path: String,
    /// The body; one of no length is none.
    pub body: Option<Vec<u8>>,
}

/// A method that the library knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// GET.
    Get,
    /// PUT.
    Put,
    /// PATCH or DELETE: known, and used by no call.
    Other,
}

/// What came out of the bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed {
    /// A whole request.
    Request(Request),
    /// The client waits for `100 Continue`.
    Expects,
    /// The library's refusal, in its words.
    Refused(String),
}

/// What the parser waits for.
enum State {
    RequestLine,
    Headers(Head),
    Body(Head),
}

/// A request whose head is being read.
struct Head {
    request: Request,
    length: usize,
    expects: bool,
}

/// An incremental request parser.
pub struct Parser {
    release: Release,
    /// What was fed and is not parsed yet.
    pub(crate) buffer: Vec<u8>,
    state: State,
}

impl Parser {
    /// A parser at the start of a connection.
    pub fn new(release: Release) -> Self {
        Self { release, buffer: Vec::new(), state: State::RequestLine }
    }

    /// Takes what one read gave. A refusal drops the requests that came with it, and the rest.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Parsed> {
        self.buffer.extend_from_slice(bytes);
        let mut parsed = Vec::new();
        loop {
            match self.step() {
                Ok(Some(one)) => parsed.extend(one),
                Ok(None) => return parsed,
                Err(words) => {
                    self.buffer.clear();
                    self.state = State::RequestLine;
                    parsed.retain(|one| *one == Parsed::Expects);
                    parsed.push(Parsed::Refused(words));
                    return parsed;
                }
            }
        }
    }

    /// One line or one body. `None`: more bytes are needed.
    fn step(&mut self) -> Result<Option<Vec<Parsed>>, String> {
        match std::mem::replace(&mut self.state, State::RequestLine) {
            State::RequestLine => {
                let Some(line) = self.line("Invalid request.")? else {
                    return Ok(None);
                };
                self.state = State::Headers(self.request_line(&line)?);
                Ok(Some(Vec::new()))
            }
            State::Headers(mut head) => {
                let too_long = "Invalid header. Reason: Invalid content length. Header: ";
                let Some(line) = self.line(too_long)? else {
                    self.state = State::Headers(head);
                    return Ok(None);
                };
                if !line.is_empty() {
                    header_line(&line, &mut head)?;
                    self.state = State::Headers(head);
                    return Ok(Some(Vec::new()));
                }
                self.end_of_head(head).map(Some)
            }
            State::Body(mut head) => {
                if self.buffer.len() < head.length {
                    self.state = State::Body(head);
                    return Ok(None);
                }
                head.request.body = Some(self.buffer.drain(..head.length).collect());
                Ok(Some(vec![Parsed::Request(head.request)]))
            }
        }
    }

    fn end_of_head(&mut self, head: Head) -> Result<Vec<Parsed>, String> {
        if head.length == 0 {
            return Ok(vec![Parsed::Request(head.request)]);
        }
        if head.length > BODY_BYTES_MAX {
            return Err(format!(
                "Request payload with size {} is larger than the limit of {BODY_BYTES_MAX} \
                 allowed by server.",
                head.length
            ));
        }
        let expects = head.expects;
        self.state = State::Body(head);
        Ok(if expects { vec![Parsed::Expects] } else { Vec::new() })
    }

    /// Takes a line off the buffer, its end removed.
    fn line(&mut self, too_long: &str) -> Result<Option<Vec<u8>>, String> {
        let window = &self.buffer[..self.buffer.len().min(LINE_BYTES_MAX)];
        match window.windows(2).position(|two| two == b"\r\n") {
            Some(end) => {
                let line = self.buffer[..end].to_vec();
                self.buffer.drain(..end + 2);
                Ok(Some(line))
            }
            None if window.len() == LINE_BYTES_MAX => Err(match too_long.ends_with(": ") {
                true => format!("{too_long}{}", String::from_utf8_lossy(window)),
                false => too_long.to_string(),
            }),
            None => Ok(None),
        }
    }

    fn request_line(&self, line: &[u8]) -> Result<Head, String> {
        let mut words = line.splitn(3, |byte| *byte == b' ');
        let (Some(method), Some(uri), Some(version)) = (words.next(), words.next(), words.next())
        else {
            return Err("Invalid request.".to_string());
        };
        let method = match method {
            b"GET" => Method::Get,
            b"PUT" => Method::Put,
            b"PATCH" => Method::Other,
            b"DELETE" if self.release == Release::V53 => Method::Other,
            _ => return Err("Invalid HTTP Method: Unsupported HTTP method.".to_string()),
        };
        if uri.is_empty() {
            return Err("Invalid URI: Empty URI not allowed.".to_string());
        }
        let Ok(uri) = std::str::from_utf8(uri) else {
            return Err("Invalid URI: Cannot parse URI as UTF-8.".to_string());
        };
        if version != b"HTTP/1.0" && version != b"HTTP/1.1" {
            return Err("Invalid HTTP Version: Unsupported HTTP version.".to_string());
        }
        let request = Request { method, path: absolute_path(uri).to_string(), body: None };
        Ok(Head { request, length: 0, expects: false })
    }
}

/// The path of `http://host/path` or of `/path`; of anything else none.
fn absolute_path(uri: &str) -> &str {
    let rest = match uri.strip_prefix("http://") {
        Some(rest) => rest.find('/').map_or("", |slash| &rest[slash..]),
        None => uri,
    };
    if rest.starts_with('/') { rest } else { "" }
}

fn header_line(line: &[u8], head: &mut Head) -> Result<(), String> {
    let invalid = |words: String| format!("Invalid header. Reason: {words}");
    let line = std::str::from_utf8(line)
        .map_err(|error| invalid(format!("Header contains invalid characters. Key: {error}")))?;
    let Some((name, value)) = line.split_once(':') else {
        return Err(invalid(format!("Header is incorrectly formatted. Key: {line}")));
    };
    match name.trim().to_ascii_lowercase().as_str() {
        "content-length" => {
            let length: u32 = value.trim().parse().map_err(|_| {
                invalid(format!("Invalid value. Key:Content-Length; Value:{value}"))
            })?;
            head.length = length as usize;
        }
        "expect" => head.expects |= value.trim() == "100-continue",
        // Transfer-Encoding too: the chunks are then taken for requests.
        _ => {}
    }
    Ok(())
}

/// Who answers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Server {
    /// CH itself.
    CloudHypervisor,
    /// The HTTP library.
    Library,
}

/// A response's bytes. The status line has no reason; 100 and 204 have neither length nor type.
pub fn response(status: u16, server: Server, body: &[u8]) -> Vec<u8> {
    let server = match server {
        Server::CloudHypervisor => "Cloud Hypervisor API",
        Server::Library => "Firecracker API",
    };
    let mut text = format!("HTTP/1.1 {status} \r\nServer: {server}\r\nConnection: keep-alive\r\n");
    if status != 100 && status != 204 {
        text += &format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    }
    text += "\r\n";
    let mut bytes = text.into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// The library's refusal of a request that it could not parse.
pub fn refusal(words: &str) -> Vec<u8> {
    let body =
        format!("{{ \"error\": \"{words}\nAll previous unanswered requests will be dropped.\" }}");
    response(400, Server::Library, body.as_bytes())
}

/// What the eleventh connection gets, unasked, before EOF: even the space after 503 is missing.
pub const TOO_MANY: &[u8] = b"HTTP/1.1 503\r\nServer: Firecracker API\r\nConnection: close\r\n\
    Content-Length: 40\r\n\r\n{ \"error\": \"Too many open connections\" }";

#[cfg(test)]
mod tests {
    use super::*;

    fn get(path: &str) -> Parsed {
        Parsed::Request(Request { method: Method::Get, path: path.to_string(), body: None })
    }

    fn put(path: &str, body: &[u8]) -> Parsed {
        Parsed::Request(Request {
            method: Method::Put,
            path: path.to_string(),
            body: (!body.is_empty()).then(|| body.to_vec()),
        })
    }

    fn refused(words: &str) -> Vec<Parsed> {
        vec![Parsed::Refused(words.to_string())]
    }

    fn feed(bytes: &[u8]) -> Vec<Parsed> {
        Parser::new(Release::V53).feed(bytes)
    }

    #[test]
    fn requests_in_a_row_come_out_in_order_whole_or_byte_by_byte() {
        let text = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\nPUT http://h/b HTTP/1.0\r\n\
            content-length: 2\r\n\r\n{}PUT c HTTP/1.1\r\nContent-Length: 0\r\n\r\n";
        let expected = [get("/a"), put("/b", b"{}"), put("", b"")];
        assert_eq!(feed(text), expected);
        let mut parser = Parser::new(Release::V53);
        let slowly: Vec<Parsed> = text.iter().flat_map(|byte| parser.feed(&[*byte])).collect();
        assert_eq!(slowly, expected);
    }

    #[test]
    fn a_refusal_drops_what_came_with_it() {
        let text = b"GET /a HTTP/1.1\r\n\r\nGARBAGE\r\n\r\nGET /b HTTP/1.1\r\n\r\n";
        assert_eq!(feed(text), refused("Invalid request."));
    }

    #[test]
    fn refusals_are_in_the_librarys_words() {
        let line = |text: &str| feed(format!("{text}\r\n\r\n").as_bytes());
        let method = "Invalid HTTP Method: Unsupported HTTP method.";
        assert_eq!(line("POST / HTTP/1.1"), refused(method));
        let version = "Invalid HTTP Version: Unsupported HTTP version.";
        assert_eq!(line("GET / HTTP/1.2"), refused(version));
        let header = "Invalid header. Reason: Header is incorrectly formatted. Key: nocolon";
        assert_eq!(line("GET / HTTP/1.1\r\nnocolon"), refused(header));
        let length = "Invalid header. Reason: Invalid value. Key:Content-Length; Value: x";
        assert_eq!(line("PUT / HTTP/1.1\r\nContent-Length: x"), refused(length));
    }

    #[test]
    fn a_line_has_less_than_1024_bytes() {
        let uri = |len: usize| format!("GET /{} HTTP/1.1\r\n", "a".repeat(len)).into_bytes();
        let fits = uri(LINE_BYTES_MAX - 16);
        assert_eq!(fits.len(), LINE_BYTES_MAX);
        assert_eq!(feed(&fits), []);
        assert_eq!(feed(&uri(LINE_BYTES_MAX - 15)), refused("Invalid request."));
    }

    #[test]
    fn a_body_has_at_most_51200_bytes() {
        let head = |len: usize| format!("PUT / HTTP/1.1\r\nContent-Length: {len}\r\n\r\n");
        let mut whole = head(51200).into_bytes();
        whole.extend([b'x'; 51200]);
        assert_eq!(feed(&whole), [put("/", &[b'x'; 51200])]);
        let words = "Request payload with size 51201 is larger than the limit of 51200 allowed \
                     by server.";
        assert_eq!(feed(head(51201).as_bytes()), refused(words));
    }

    #[test]
    fn a_client_that_expects_100_continue_is_told_so() {
        let text = b"PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n{}";
        assert_eq!(feed(text), [Parsed::Expects, put("/", b"{}")]);
    }

    #[test]
    fn a_204_has_neither_length_nor_type() {
        assert_eq!(
            response(204, Server::CloudHypervisor, b""),
            b"HTTP/1.1 204 \r\nServer: Cloud Hypervisor API\r\nConnection: keep-alive\r\n\r\n"
        );
    }
}
