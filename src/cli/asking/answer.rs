//! An answer of our own API, read from the bytes of a whole connection.
//!
//! Owns the reading of chunks.
//! **Invariant:** pure; no input panics. What is cut off is no answer.

/// Longest answer that is read, in bytes: 10,000 VMs take some 10 MB.
pub const ANSWER_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Most header lines in one.
const HEADERS_MAX: usize = 64;

/// One answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

impl Answer {
    /// Reads it.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(bytes: &[u8]) -> Result<Answer, String> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut parsed = httparse::Response::new(&mut headers);
        let head = match parsed.parse(bytes) {
            Ok(httparse::Status::Complete(head)) => head,
            Ok(httparse::Status::Partial) => return Err("its head is cut off".into()),
            Err(error) => return Err(format!("not the head of an HTTP response: {error}")),
        };
        let value = |name: &str| {
            let mut headers = parsed.headers.iter();
            headers.find(|header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value)
        };
        let rest = &bytes[head..];
        let body = match value("Transfer-Encoding") {
            Some(_) => unchunked(rest).ok_or("its chunks are cut off")?,
            None => {
                let length = value("Content-Length").and_then(|value| str::from_utf8(value).ok());
                let length = length.and_then(|length| length.parse::<usize>().ok());
                let length = length.ok_or("it has no length")?;
                rest.get(..length).ok_or("its body is cut off")?.to_vec()
            }
        };
        Ok(Answer { status: parsed.code.unwrap_or_default(), body })
    }
}

/// The body that comes in chunks; `None`: there is no end to them.
fn unchunked(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let Ok(httparse::Status::Complete((head, size))) = httparse::parse_chunk_size(rest) else {
            return None;
        };
        let end = head.checked_add(usize::try_from(size).ok()?)?;
        body.extend_from_slice(rest.get(head..end)?);
        rest = rest.get(end..)?.strip_prefix(b"\r\n")?;
        if size == 0 {
            return Some(body);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz;
    use proptest::prelude::*;
    use seriald::control::response::{Content, Response, Status, begin_stream, chunk, end_stream};

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

    proptest! {
        #[test]
        fn what_the_api_sends_is_read_back_and_nothing_that_is_cut_off(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..5),
        ) {
            let body = pieces.concat();
            for (bytes, status) in [(whole(&body), 202), (streamed(&pieces), 200)] {
                prop_assert_eq!(Answer::parse(&bytes), Ok(Answer { status, body: body.clone() }));
                for cut in 0..bytes.len() {
                    prop_assert!(Answer::parse(&bytes[..cut]).is_err(), "{}", cut);
                }
            }
        }

        #[test]
        fn anything_else_is_refused_in_words(
            bytes in fuzz::damaged(vec![whole(b"{}"), streamed(&[b"[]".to_vec(), vec![b'x'; 99]])]),
        ) {
            match Answer::parse(&bytes) {
                Ok(answer) => prop_assert!(answer.body.len() <= bytes.len()),
                Err(why) => prop_assert!(!why.is_empty()),
            }
        }
    }
}
