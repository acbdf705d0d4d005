//! The client's half of HTTP/1.1, for those who ask our own API: the bytes of a connection in,
//! pieces of one answer out.
//!
//! Owns the bytes of a head or of a chunk's size until they are complete; never a body's, which are
//! given on as they come.
//! **Invariant:** pure; no input panics. Holds at most [`HEAD_BYTES_MAX`]; how the bytes were cut
//! never changes what is answered, and what is cut off is no answer.

use crate::http::{HeadBytes, Taken, content_length, take_bytes};
use std::fmt;

/// Longest head, in bytes. Ours are below 300.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Most header lines in one.
const HEADERS_MAX: usize = 64;

/// Longest line with a chunk's size. Ours have six digits at most.
const SIZE_BYTES_MAX: usize = 64;

/// What comes next of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'b> {
    /// It begins, with this status. Behind a 101 the answer is at its end: what follows belongs to
    /// whatever the connection was changed into.
    Head {
        /// 101, or 200 and above.
        status: u16,
    },
    /// Some bytes of its body, never none.
    Body(&'b [u8]),
    /// It is whole. What follows was not looked at.
    End,
}

/// Why there is no answer to be had from a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerError {
    /// What came is not the head of an HTTP/1 response.
    BadHead(httparse::Error),
    /// The head exceeds [`HEAD_BYTES_MAX`].
    HeadTooLong,
    /// Neither one `Content-Length` nor chunks say where its body ends.
    Length,
    /// What stands where a chunk begins or ends is something else.
    Chunk,
}

impl fmt::Display for AnswerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadHead(error) => write!(f, "not the head of an HTTP response: {error}"),
            Self::HeadTooLong => write!(f, "its head exceeds {HEAD_BYTES_MAX} bytes"),
            Self::Length => f.write_str("it has no length, or two"),
            Self::Chunk => f.write_str("its chunks make no sense"),
        }
    }
}

impl std::error::Error for AnswerError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::BadHead(error) => Some(error),
            _ => None,
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Collecting the head.
    Head,
    /// So much of the body is to come, and no more after it.
    Body(usize),
    /// Collecting a chunk's size.
    Size,
    /// So much of a chunk is to come.
    Chunk(usize),
    /// Collecting the line end behind a chunk; whether that was the last.
    Behind(bool),
    /// The end is yet to be told.
    Ending,
    /// Nothing follows.
    Ended,
    /// Nothing can be had any more.
    Failed(AnswerError),
}

/// A head, understood.
struct Head {
    status: u16,
    /// How the body comes.
    state: State,
}

/// Turns the bytes of a connection into one answer.
#[derive(Debug)]
pub struct AnswerParser {
    state: State,
    head: HeadBytes,
}

impl Default for AnswerParser {
    fn default() -> Self {
        Self::new()
    }
}

impl AnswerParser {
    /// A parser that waits for the first byte.
    pub fn new() -> Self {
        AnswerParser { state: State::Head, head: HeadBytes::default() }
    }

    /// Moves what comes next out of `bytes`; `None`: all of them were taken, or the answer is at
    /// its end.
    ///
    /// # Errors
    /// [`AnswerError`]; the same is given to every later call.
    pub fn next<'b>(&mut self, bytes: &mut &'b [u8]) -> Result<Option<Part<'b>>, AnswerError> {
        let part = self.advance(bytes);
        if let Err(error) = part {
            self.state = State::Failed(error);
            self.head.forget();
        }
        part
    }

    /// Whether the end was told.
    pub fn is_at_end(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    fn advance<'b>(&mut self, bytes: &mut &'b [u8]) -> Result<Option<Part<'b>>, AnswerError> {
        loop {
            match self.state {
                State::Failed(error) => return Err(error),
                State::Ended => return Ok(None),
                State::Ending => {
                    self.state = State::Ended;
                    return Ok(Some(Part::End));
                }
                State::Head => {
                    let taken = self.head.take(bytes, HEAD_BYTES_MAX, check_start, parse_head)?;
                    let head = whole(taken, AnswerError::HeadTooLong)?;
                    let Some(Head { status, state }) = head else { return Ok(None) };
                    // One that says to go on comes before the answer.
                    if status < 200 && status != 101 {
                        continue;
                    }
                    self.state = state;
                    return Ok(Some(Part::Head { status }));
                }
                State::Size => {
                    let taken = self.head.take(bytes, SIZE_BYTES_MAX, |_| Ok(()), parse_size)?;
                    let Some(size) = whole(taken, AnswerError::Chunk)? else { return Ok(None) };
                    self.state = if size == 0 { State::Behind(true) } else { State::Chunk(size) };
                }
                State::Behind(last) => {
                    let taken = self.head.take(bytes, 2, |_| Ok(()), parse_line_end)?;
                    let Some(()) = whole(taken, AnswerError::Chunk)? else { return Ok(None) };
                    self.state = if last { State::Ending } else { State::Size };
                }
                State::Body(0) => self.state = State::Ending,
                State::Chunk(0) => self.state = State::Behind(false),
                State::Body(left) => return Ok(self.take(left, State::Body, bytes)),
                State::Chunk(left) => return Ok(self.take(left, State::Chunk, bytes)),
            }
        }
    }

    fn take<'b>(
        &mut self,
        left: usize,
        then: impl FnOnce(usize) -> State,
        bytes: &mut &'b [u8],
    ) -> Option<Part<'b>> {
        let piece = take_bytes(bytes, left);
        self.state = then(left - piece.len());
        (!piece.is_empty()).then_some(Part::Body(piece))
    }
}

/// What was collected, if it is complete.
fn whole<T>(taken: Taken<T>, too_long: AnswerError) -> Result<Option<T>, AnswerError> {
    match taken {
        Taken::More => Ok(None),
        Taken::TooLong => Err(too_long),
        Taken::Head(found, _) => Ok(Some(found)),
    }
}

/// Refuses a peer that is no HTTP/1 server at its first wrong byte.
fn check_start(head: &[u8]) -> Result<(), AnswerError> {
    const START: &[u8] = b"HTTP/1.";
    let known = head.len().min(START.len());
    match head[..known] == START[..known] {
        true => Ok(()),
        false => Err(AnswerError::BadHead(httparse::Error::Version)),
    }
}

/// The head at the start of `bytes` and its length; `None`: it is incomplete.
fn parse_head(bytes: &[u8]) -> Result<Option<(Head, usize)>, AnswerError> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Response::new(&mut headers);
    let head_bytes = match parsed.parse(bytes).map_err(AnswerError::BadHead)? {
        httparse::Status::Partial => return Ok(None),
        httparse::Status::Complete(head_bytes) => head_bytes,
    };
    let status = parsed.code.unwrap_or_default();
    if status < 200 {
        return Ok(Some((Head { status, state: State::Ending }, head_bytes)));
    }
    let (mut chunked, mut announced) = (false, None);
    for header in parsed.headers.iter() {
        if header.name.eq_ignore_ascii_case("transfer-encoding") {
            if !header.value.eq_ignore_ascii_case(b"chunked") {
                return Err(AnswerError::Length);
            }
            chunked = true;
        } else if header.name.eq_ignore_ascii_case("content-length") {
            let length = content_length(header.value).ok_or(AnswerError::Length)?;
            if announced.is_some_and(|earlier| earlier != length) {
                return Err(AnswerError::Length);
            }
            announced = Some(length);
        }
    }
    let state = match (chunked, announced) {
        (true, None) => State::Size,
        (false, Some(length)) => State::Body(length),
        (true, Some(_)) | (false, None) => return Err(AnswerError::Length),
    };
    Ok(Some((Head { status, state }, head_bytes)))
}

fn parse_size(bytes: &[u8]) -> Result<Option<(usize, usize)>, AnswerError> {
    match httparse::parse_chunk_size(bytes) {
        Ok(httparse::Status::Partial) => Ok(None),
        Ok(httparse::Status::Complete((line, size))) => {
            let size = usize::try_from(size).map_err(|_| AnswerError::Chunk)?;
            Ok(Some((size, line)))
        }
        Err(_) => Err(AnswerError::Chunk),
    }
}

fn parse_line_end(bytes: &[u8]) -> Result<Option<((), usize)>, AnswerError> {
    match bytes {
        b"\r\n" => Ok(Some(((), 2))),
        _ => Err(AnswerError::Chunk),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::response::{Content, Response, Status, begin_stream, chunk, end_stream};
    use crate::fuzz;
    use proptest::prelude::*;

    fn whole(body: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        Response::json(Status::Accepted, body.to_vec()).encode(true, &mut bytes);
        bytes
    }

    fn streamed(pieces: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        begin_stream(Content::Json, true, &mut bytes);
        pieces.iter().for_each(|piece| chunk(piece, &mut bytes));
        end_stream(&mut bytes);
        bytes
    }

    /// Status, body, whether it ended, and what was left behind the end.
    type Read = Result<(Option<u16>, Vec<u8>, bool, Vec<u8>), AnswerError>;

    /// What is read of bytes that come in pieces of that size.
    fn read(bytes: &[u8], cut: usize) -> Read {
        let mut parser = AnswerParser::new();
        let (mut status, mut body, mut left) = (None, Vec::new(), Vec::new());
        for piece in bytes.chunks(cut) {
            let mut rest = piece;
            while let Some(part) = parser.next(&mut rest)? {
                match part {
                    Part::Head { status: is } => status = Some(is),
                    Part::Body(piece) => body.extend_from_slice(piece),
                    Part::End => assert!(parser.is_at_end()),
                }
            }
            left.extend_from_slice(rest);
        }
        Ok((status, body, parser.is_at_end(), left))
    }

    proptest! {
        #[test]
        fn what_the_api_sends_is_read_back_and_nothing_that_is_cut_off(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..5),
            cut in 1..400usize,
        ) {
            let body = pieces.concat();
            for (bytes, status) in [(whole(&body), 202), (streamed(&pieces), 200)] {
                let expected = Ok((Some(status), body.clone(), true, Vec::new()));
                prop_assert_eq!(read(&bytes, cut), expected);
                let behind = [&bytes[..], b"HTTP"].concat();
                let expected = Ok((Some(status), body.clone(), true, b"HTTP".to_vec()));
                prop_assert_eq!(read(&behind, cut), expected);
                for length in 0..bytes.len() {
                    let (_, _, ended, _) = read(&bytes[..length], cut).expect("so far all is well");
                    prop_assert!(!ended, "{}", length);
                }
            }
        }

        #[test]
        fn anything_else_is_refused_in_words_and_however_it_is_cut(
            bytes in fuzz::damaged(vec![whole(b"{}"), streamed(&[b"[]".to_vec(), vec![b'x'; 99]])]),
            cut in 1..200usize,
        ) {
            let (pieces, at_once) = (read(&bytes, cut), read(&bytes, bytes.len().max(1)));
            prop_assert_eq!(&pieces, &at_once);
            match at_once {
                Ok((_, body, _, _)) => prop_assert!(body.len() <= bytes.len()),
                Err(why) => prop_assert!(!why.to_string().is_empty()),
            }
        }
    }

    #[test]
    fn what_says_to_go_on_is_no_answer_and_a_changed_connection_is_left_alone() {
        let go_on = [b"HTTP/1.1 100 Continue\r\n\r\n", &whole(b"{}")[..]].concat();
        assert_eq!(read(&go_on, 7), Ok((Some(202), b"{}".to_vec(), true, Vec::new())));
        let changed = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nraw\0";
        assert_eq!(read(changed, 9), Ok((Some(101), Vec::new(), true, b"raw\0".to_vec())));
    }

    #[test]
    fn what_has_no_end_or_a_wrong_one_is_refused() {
        let ok = "HTTP/1.1 200 OK\r\n";
        for (rest, error) in [
            ("\r\n", AnswerError::Length),
            ("Content-Length: x\r\n\r\n", AnswerError::Length),
            ("Content-Length: 1\r\nContent-Length: 2\r\n\r\n", AnswerError::Length),
            ("Transfer-Encoding: gzip\r\n\r\n", AnswerError::Length),
            ("Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n", AnswerError::Length),
            ("Transfer-Encoding: chunked\r\n\r\nx\r\n", AnswerError::Chunk),
            ("Transfer-Encoding: chunked\r\n\r\n1\r\naa\n", AnswerError::Chunk),
            ("Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n", AnswerError::Chunk),
        ] {
            for cut in [1, 3, 1000] {
                assert_eq!(read(format!("{ok}{rest}").as_bytes(), cut), Err(error), "{rest:?}");
            }
        }
        let endless = format!("{ok}X: {}", "x".repeat(HEAD_BYTES_MAX));
        assert_eq!(read(endless.as_bytes(), 999), Err(AnswerError::HeadTooLong));
    }
}
