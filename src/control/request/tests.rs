//! What the server's codec promises, on what curl and others send.

use super::*;
use crate::fuzz;
use proptest::prelude::*;

fn request(method: Method, path: &str, query: &str, body: &[u8], close: bool) -> Request {
    let (path, query) = (path.to_owned(), query.to_owned());
    Request { method, path, query, body: body.to_vec(), close, upgrade: Vec::new() }
}

/// Complete requests, and what each means.
fn requests() -> Vec<(&'static [u8], Request)> {
    vec![
        (
            b"GET /v1/vms HTTP/1.1\r\nHost: localhost\r\nUser-Agent: curl/8.14.1\r\n\
              Accept: */*\r\n\r\n",
            request(Method::Get, "/v1/vms", "", b"", false),
        ),
        (
            b"GET /v1/vms/a/log?tail=10&follow=true HTTP/1.1\r\nhost:x\r\n\
              Connection: close\r\n\r\n",
            request(Method::Get, "/v1/vms/a/log", "tail=10&follow=true", b"", true),
        ),
        (
            b"GET /c HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\n\
              Upgrade: a-raw,, b/1 \r\nupgrade: c\r\n\r\n",
            Request {
                upgrade: vec!["a-raw".into(), "b/1".into(), "c".into()],
                ..request(Method::Get, "/c", "", b"", false)
            },
        ),
        (
            b"GET /c HTTP/1.1\r\nHost: x\r\nUpgrade: a-raw\r\n\r\n",
            request(Method::Get, "/c", "", b"", false),
        ),
        (
            b"PUT /v1/vms/a HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
              Content-Length: 13\r\n\r\n{\"serial\":\"\"}",
            request(Method::Put, "/v1/vms/a", "", b"{\"serial\":\"\"}", false),
        ),
        (
            b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n{}",
            request(Method::Put, "/", "", b"{}", false),
        ),
        (
            b"\r\n\r\nPOST /v1/vms/a/rotate HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\
              Expect: 100-Continue\r\n\r\n",
            request(Method::Post, "/v1/vms/a/rotate", "", b"", false),
        ),
        (
            b"DELETE http://localhost/v1/vms/a?? HTTP/1.1\nHost: localhost\n\
              connection: keep-alive , Close\n\n",
            request(Method::Delete, "/v1/vms/a", "?", b"", true),
        ),
        (
            b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n\
              \xff\0\n",
            request(Method::Post, "/x", "", b"\xff\0\n", false),
        ),
    ]
}

/// Feeds the chunks as a server does: all requests, how often the client waited, and the error.
fn outcome(chunks: &[&[u8]]) -> (Vec<Request>, usize, Option<RequestError>) {
    let (mut parser, mut requests, mut waits) = (RequestParser::new(), Vec::new(), 0);
    for chunk in chunks {
        let mut rest = *chunk;
        loop {
            let used = match parser.feed(rest) {
                Ok(Fed::More) => break,
                Ok(Fed::Continue { used }) => {
                    waits += 1;
                    assert!(parser.is_within());
                    used
                }
                Ok(Fed::Done { request, used }) => {
                    assert!(request.body.len() <= limits::CONTROL_BODY_BYTES_MAX);
                    assert!(request.path.starts_with('/') && !parser.is_within());
                    requests.push(request);
                    used
                }
                Err(error) => {
                    assert_eq!(parser.feed(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"), Err(error));
                    assert_eq!(parser.head.capacity(), 0, "what failed holds nothing");
                    return (requests, waits, Some(error));
                }
            };
            rest = &rest[used..];
            if rest.is_empty() && !matches!(parser.state, State::Body(..)) {
                break;
            }
        }
        assert!(parser.head.len() <= limits::CONTROL_HEAD_BYTES_MAX);
    }
    (requests, waits, None)
}

#[test]
fn every_request_reads_the_same_whole_byte_by_byte_and_in_two_pieces() {
    for (bytes, expected) in requests() {
        let waits = usize::from(bytes.windows(8).any(|w| w == b"100-cont"));
        for chunks in fuzz::choppings(bytes, &[]) {
            assert_eq!(outcome(&chunks), (vec![expected.clone()], waits, None), "{chunks:?}");
        }
    }
}

#[test]
fn pipelined_requests_come_one_by_one_and_in_order() {
    let (bytes, expected): (Vec<_>, Vec<_>) = requests().into_iter().unzip();
    let bytes = bytes.concat();
    for chunks in [vec![&bytes[..]], bytes.chunks(1).collect()] {
        assert_eq!(outcome(&chunks), (expected.clone(), 1, None));
    }
}

#[test]
fn whoever_expects_to_be_told_so_is_told_before_the_body_and_only_then() {
    let head = b"PUT /a HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    let mut parser = RequestParser::new();
    assert_eq!(parser.feed(head), Ok(Fed::Continue { used: head.len() }));
    assert!(parser.is_within());
    let Ok(Fed::Done { request, used: 2 }) = parser.feed(b"{}GET") else { panic!("incomplete") };
    assert_eq!(request.body, b"{}");
    let head = b"PUT /a HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n";
    assert!(matches!(parser.feed(head), Ok(Fed::Done { .. })), "there is no body to wait with");
}

#[test]
fn a_return_without_a_line_end_is_refused_as_such_however_it_is_cut() {
    for bytes in [&b"\r\r\n\r\nn"[..], b"\r\n\rGET / HTTP/1.1\r\n\r\n", b"\r\r\r\n"] {
        for chunks in fuzz::choppings(bytes, &[]) {
            let refused = RequestError::BadHead(httparse::Error::NewLine);
            assert_eq!(outcome(&chunks), (vec![], 0, Some(refused)), "{chunks:?}");
        }
    }
}

#[test]
fn what_is_no_request_is_refused_by_name_and_with_a_status() {
    let cases: &[(&[u8], RequestError, u16)] = &[
        (b"\x16\x03\x01", RequestError::BadHead(httparse::Error::Token), 400),
        (b"get / HTTP/1.1\r\nHost: a\r\n\r\n", RequestError::BadHead(httparse::Error::Token), 400),
        (b"GET  / HTTP/1.1\r\n\r\n", RequestError::BadHead(httparse::Error::Token), 400),
        (b"GET / HTTP/1.1\r\nA b\r\n\r\n", RequestError::BadHead(httparse::Error::HeaderName), 400),
        (b"GET / HTTP/1.0\r\nHost: a\r\n\r\n", RequestError::Version, 505),
        (b"PRI * HTTP/2.0\r\n\r\n", RequestError::Version, 505),
        (b"PATCH / HTTP/1.1\r\nHost: a\r\n\r\n", RequestError::Method, 501),
        (b"GET / HTTP/1.1\r\n\r\n", RequestError::Host, 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", RequestError::Host, 400),
        (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", RequestError::Target, 400),
        (b"GET http://a HTTP/1.1\r\nHost: a\r\n\r\n", RequestError::Target, 400),
        (b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n", RequestError::Length, 400),
        (
            b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            RequestError::Length,
            400,
        ),
        (
            b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            RequestError::Length,
            400,
        ),
        (
            b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            RequestError::Chunked,
            411,
        ),
        (
            b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            RequestError::TransferEncoding,
            501,
        ),
        (
            b"PUT / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\nContent-Length: 1\r\n\r\n",
            RequestError::Expectation,
            417,
        ),
    ];
    for (bytes, error, status) in cases {
        for chunks in [vec![*bytes], bytes.chunks(1).collect()] {
            assert_eq!(outcome(&chunks), (Vec::new(), 0, Some(*error)), "{chunks:?}");
        }
        let response = error.response();
        assert_eq!(response.status.code(), *status);
        let said: serde_json::Value = serde_json::from_slice(&response.body).expect("JSON");
        assert_eq!(said["error"]["message"], error.to_string());
    }
}

#[test]
fn heads_header_lines_and_bodies_end_at_their_limits() {
    let head = |bytes: usize| {
        let start = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
        format!("{start}{}\r\n\r\n", "x".repeat(bytes - start.len() - 4)).into_bytes()
    };
    let lines = |lines: usize| {
        format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(lines - 1)).into_bytes()
    };
    let body = |bytes: usize| {
        let head = format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {bytes}\r\n\r\n");
        [head.into_bytes(), vec![b'x'; bytes]].concat()
    };
    let many = || "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999\r\n\r\n";
    let cases = [
        (head(limits::CONTROL_HEAD_BYTES_MAX), None),
        (head(limits::CONTROL_HEAD_BYTES_MAX + 1), Some(RequestError::HeadTooLong)),
        (vec![b'\n'; limits::CONTROL_HEAD_BYTES_MAX + 1], Some(RequestError::HeadTooLong)),
        (lines(limits::CONTROL_HEADERS_MAX), None),
        (lines(limits::CONTROL_HEADERS_MAX + 1), Some(RequestError::TooManyHeaders)),
        (body(limits::CONTROL_BODY_BYTES_MAX), None),
        (body(limits::CONTROL_BODY_BYTES_MAX + 1), Some(RequestError::BodyTooLong)),
        (many().into(), Some(RequestError::BodyTooLong)),
    ];
    for (bytes, error) in cases {
        for chunks in [vec![&bytes[..]], bytes.chunks(1).collect(), bytes.chunks(999).collect()] {
            let (requests, _, failed) = outcome(&chunks);
            assert_eq!((requests.len(), failed), (usize::from(error.is_none()), error));
        }
    }
}

/// Valid requests, and what is refused, to start from.
fn corpus() -> Vec<Vec<u8>> {
    let odd: [&[u8]; 3] = [
        b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551615\r\n\r\n",
    ];
    requests().into_iter().map(|(bytes, _)| bytes).chain(odd).map(<[u8]>::to_vec).collect()
}

proptest! {
    /// Valid or not: requests and error are the same, however the stream was cut.
    #[test]
    fn any_stream_means_the_same_however_it_is_cut(
        bytes in fuzz::damaged(corpus()),
        cuts in fuzz::cuts(),
    ) {
        fuzz::means_the_same(&bytes, &cuts, outcome)?;
    }

    #[test]
    fn a_valid_request_survives_every_chopping(
        path in "/[!-~&&[^?#]]{0,60}",
        query in "[!-~&&[^#]]{0,20}",
        body in prop::collection::vec(any::<u8>(), 0..300),
        close in any::<bool>(),
        cuts in fuzz::cuts(),
    ) {
        let closing = if close { "Connection: close\r\n" } else { "" };
        let head = format!(
            "POST {path}?{query} HTTP/1.1\r\nHost: localhost\r\n{closing}\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        let bytes = [head.as_bytes(), &body].concat();
        let expected = vec![request(Method::Post, &path, &query, &body, close)];
        for chunks in fuzz::choppings(&bytes, &cuts) {
            prop_assert_eq!(outcome(&chunks), (expected.clone(), 0, None));
        }
    }
}
