//! What the codec promises, on micro-http's literal answers.

use super::*;
use crate::fuzz;
use proptest::prelude::*;

fn done(status: u16, body: &[u8], close: bool) -> Response {
    Response { status, body: body.to_vec(), close }
}

/// Complete responses as CH v52 and v53 send them, and what each means.
fn answers() -> Vec<(&'static [u8], Response)> {
    vec![
        (
            b"HTTP/1.1 204 \r\nServer: Cloud Hypervisor API\r\nConnection: keep-alive\r\n\r\n",
            done(204, b"", false),
        ),
        (b"HTTP/1.1 204\r\n\r\n", done(204, b"", false)),
        (
            b"HTTP/1.1 200 \r\nServer: Cloud Hypervisor API\r\nConnection: keep-alive\r\n\
              Content-Type: application/json\r\nContent-Length: 17\r\n\r\n{\"version\":\"v53\"}",
            done(200, b"{\"version\":\"v53\"}", false),
        ),
        (b"HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", done(200, b"", false)),
        (
            b"HTTP/1.1 503\r\nServer: Firecracker API\r\nConnection: close\r\n\
              Content-Type: application/json\r\nContent-Length: 40\r\n\r\n\
              { \"error\": \"Too many open connections\" }",
            done(503, b"{ \"error\": \"Too many open connections\" }", true),
        ),
        (
            b"HTTP/1.1 400 \r\ncontent-length: 18\r\n\r\n{ \"error\": \"a\nb.\" }",
            done(400, b"{ \"error\": \"a\nb.\" ", false),
        ),
        (
            b"HTTP/1.1 100 \r\nServer: Firecracker API\r\n\r\nHTTP/1.1 100\r\n\r\n\
              HTTP/1.1 404 Not Found\r\nContent-Length: 13\r\n\r\n[\"Not Found\"]",
            done(404, b"[\"Not Found\"]", false),
        ),
        (b"HTTP/1.1 204 \r\nContent-Length: 5\r\n\r\n", done(204, b"", false)),
        (
            b"HTTP/1.1 500 \r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi",
            done(500, b"hi", false),
        ),
        (b"HTTP/1.1 500 \r\nContent-Length: 3\r\n\r\n\xff\0\x1b", done(500, b"\xff\0\x1b", false)),
    ]
}

/// Feeds the chunks; the response and how many bytes followed it.
fn run(chunks: &[&[u8]]) -> Result<Option<(Response, usize)>, HttpError> {
    let mut parser = ResponseParser::new();
    let mut after = None;
    for chunk in chunks {
        match &mut after {
            Some((_, trailing)) => *trailing += chunk.len(),
            None => {
                if let Fed::Done { response, used } = parser.feed(chunk)? {
                    after = Some((response, chunk.len() - used));
                }
            }
        }
    }
    Ok(after)
}

fn bytewise(bytes: &[u8]) -> Vec<&[u8]> {
    bytes.chunks(1).collect()
}

/// The 400 in `answers` has a body one byte longer than announced.
fn announced(bytes: &[u8], response: &Response) -> usize {
    let head = bytes.windows(4).rposition(|w| w == b"\r\n\r\n").unwrap() + 4;
    head + response.body.len()
}

#[test]
fn every_answer_reads_the_same_whole_byte_by_byte_and_with_trailing_bytes() {
    for (bytes, expected) in answers() {
        let bytes = &bytes[..announced(bytes, &expected)];
        let shown = String::from_utf8_lossy(bytes);
        assert_eq!(run(&[bytes]), Ok(Some((expected.clone(), 0))), "{shown}");
        assert_eq!(run(&bytewise(bytes)), Ok(Some((expected.clone(), 0))), "{shown}");
        for trailing in [&b"\0"[..], b"HTTP/1.1 204 \r\n\r\n", b"\r\n\xff garbage"] {
            let long = [bytes, trailing].concat();
            let expected = Ok(Some((expected.clone(), trailing.len())));
            assert_eq!(run(&[&long]), expected, "{shown}");
            assert_eq!(run(&bytewise(&long)), expected, "{shown}");
        }
    }
}

#[test]
fn an_incomplete_answer_asks_for_more_and_is_named_at_end_of_stream() {
    for (bytes, expected) in answers() {
        let bytes = &bytes[..announced(bytes, &expected)];
        let head = bytes.len() - expected.body.len();
        for cut in 0..bytes.len() {
            let mut parser = ResponseParser::new();
            assert_eq!(parser.feed(&bytes[..cut]), Ok(Fed::More));
            let wanted = match cut {
                0 => HttpError::NoResponse,
                cut if cut < head => HttpError::HeadCut { got: cut },
                cut => HttpError::BodyCut { got: cut - head, announced: expected.body.len() },
            };
            assert_eq!(parser.on_eof(), Err(wanted));
            assert_eq!(parser.on_eof(), Err(wanted));
            assert_eq!(parser.feed(b"x"), Err(wanted));
        }
    }
}

#[test]
fn pipelined_answers_come_in_order_from_one_parser() {
    let all: Vec<_> = answers()
        .into_iter()
        .map(|(b, r)| b[..announced(b, &r)].to_vec())
        .collect::<Vec<_>>()
        .concat();
    let mut parser = ResponseParser::new();
    let mut rest = &all[..];
    for (_, expected) in answers() {
        let Ok(Fed::Done { response, used }) = parser.feed(rest) else { panic!("incomplete") };
        assert_eq!(response, expected);
        rest = &rest[used..];
    }
    assert!(rest.is_empty());
    assert_eq!(parser.on_eof(), Err(HttpError::NoResponse));
}

#[test]
fn a_body_without_a_length_ends_with_the_stream() {
    let mut parser = ResponseParser::new();
    assert_eq!(parser.feed(b"HTTP/1.1 500 \r\n\r\nall of"), Ok(Fed::More));
    assert_eq!(parser.feed(b" this"), Ok(Fed::More));
    assert_eq!(parser.on_eof(), Ok(done(500, b"all of this", true)));
    assert_eq!(parser.on_eof(), Err(HttpError::NoResponse));
}

#[test]
fn what_is_no_answer_is_refused_by_name() {
    use HttpError::*;
    let cases: &[(&[u8], HttpError)] = &[
        (b"SSH-2.0", BadHead(httparse::Error::Version)),
        (b"HTTP/2 200\r\n\r\n", BadHead(httparse::Error::Version)),
        (b"\r\nHTTP/1.1 200 \r\n\r\n", BadHead(httparse::Error::Version)),
        (b"HTTP/1.1 abc\r\n\r\n", BadHead(httparse::Error::Status)),
        (b"HTTP/1.1 042 \r\n\r\n", BadHead(httparse::Error::Status)),
        (b"HTTP/1.1 200 \r\nno colon\r\n\r\n", BadHead(httparse::Error::HeaderName)),
        (b"HTTP/1.1 200 \r\nContent-Length: -1\r\n\r\n", BadContentLength),
        (b"HTTP/1.1 200 \r\nContent-Length: +1\r\n\r\n", BadContentLength),
        (b"HTTP/1.1 200 \r\nContent-Length:\r\n\r\n", BadContentLength),
        (b"HTTP/1.1 200 \r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", BadContentLength),
        (b"HTTP/1.1 200 \r\nContent-Length: 99999999999999999999999\r\n\r\n", BodyTooLong),
        (b"HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n", TransferEncoding),
    ];
    for (bytes, expected) in cases {
        assert_eq!(run(&[bytes]), Err(*expected), "{}", String::from_utf8_lossy(bytes));
        assert_eq!(run(&bytewise(bytes)), Err(*expected), "{}", String::from_utf8_lossy(bytes));
    }
}

#[test]
fn what_is_wrong_in_a_line_is_found_at_its_end_however_it_came() {
    let cut: &[u8] = b"HTTP/1.1 200 \r\nX\x01";
    let ended = [cut, b"\r\n"].concat();
    for chunks in fuzz::choppings(cut, &[]) {
        assert_eq!(outcome(&chunks), (vec![], HttpError::HeadCut { got: cut.len() }));
    }
    for chunks in fuzz::choppings(&ended, &[]) {
        assert_eq!(outcome(&chunks).1, HttpError::BadHead(httparse::Error::HeaderName));
    }
}

#[test]
fn odd_heads_are_read_or_refused_by_name_however_they_are_cut() {
    use HttpError::*;
    let ok = |status, body: &[u8]| (vec![done(status, body, false)], NoResponse);
    let refused = |error| (vec![], error);
    let head = |error| refused(BadHead(error));
    let cases: &[(&[u8], Outcome)] = &[
        // Lines that end in LF alone, and both kinds in one head.
        (b"HTTP/1.1 200 \nContent-Length: 2\n\n{}", ok(200, b"{}")),
        (b"HTTP/1.1 200 \r\nContent-Length: 2\n\r\n{}", ok(200, b"{}")),
        (b"HTTP/1.1 200 \r\nContent-Length: 2\r\r\n\r\n{}", head(httparse::Error::HeaderValue)),
        (b"HTTP/1.1 200 \r\nContent-Length: 2\rX: y\r\n\r\n{}", head(httparse::Error::HeaderValue)),
        // White space around a length, and lengths that are none.
        (b"HTTP/1.1 200 \r\nContent-Length: \t 2 \t\r\n\r\n{}", ok(200, b"{}")),
        (b"HTTP/1.1 200 \r\nContent-Length: 2, 2\r\n\r\n{}", refused(BadContentLength)),
        (b"HTTP/1.1 200 \r\nContent-Length: 0x2\r\n\r\n{}", refused(BadContentLength)),
        (b"HTTP/1.1 200 \r\nContent-Length: 2\r\ncontent-length: 02\r\n\r\n{}", ok(200, b"{}")),
        (b"HTTP/1.1 200 \r\nContent-Length: 18446744073709551615\r\n\r\n", refused(BodyTooLong)),
        (b"HTTP/1.1 204 \r\nContent-Length: 18446744073709551616\r\n\r\n", ok(204, b"")),
        (b"HTTP/1.1 200 \r\nContent-Length : 2\r\n\r\n{}", head(httparse::Error::HeaderName)),
        // NUL, folded lines, a status of another kind.
        (b"HTTP/1.1 200 \r\nX: \0\r\n\r\n", head(httparse::Error::HeaderValue)),
        (b"HTTP/1.1 200 \r\nX: y\r\n z\r\n\r\n", head(httparse::Error::HeaderName)),
        (b"HTTP/1.1 99 \r\n\r\n", head(httparse::Error::Status)),
        (b"HTTP/1.1 2000 \r\n\r\n", head(httparse::Error::Status)),
        (b"HTTP/1.5 200 \r\n\r\n", head(httparse::Error::Version)),
        (b"HTTP/1.1 200 \r\nTransfer-Encoding: identity\r\n\r\n", refused(TransferEncoding)),
        // Informational heads alone are no answer.
        (b"HTTP/1.1 100 \r\n\r\n", refused(HeadCut { got: 17 })),
        (b"HTTP/1.1 199 \r\nContent-Length: 9\r\n\r\nHTTP/1.1 204\r\n\r\n", ok(204, b"")),
    ];
    for (bytes, expected) in cases {
        for chunks in fuzz::choppings(bytes, &[]) {
            assert_eq!(outcome(&chunks), *expected, "{}", bytes.escape_ascii());
        }
    }
}

/// A 204 whose head has exactly `bytes` bytes.
fn head_of(bytes: usize) -> Vec<u8> {
    let (start, end) = ("HTTP/1.1 204 \r\nX: ", "\r\n\r\n");
    format!("{start}{}{end}", "x".repeat(bytes - start.len() - end.len())).into_bytes()
}

#[test]
fn a_head_may_have_its_limit_and_not_one_byte_more() {
    for chunk in [1, 7, HEAD_BYTES_MAX * 2] {
        let at = head_of(HEAD_BYTES_MAX);
        let over = head_of(HEAD_BYTES_MAX + 1);
        let at: Vec<_> = at.chunks(chunk).collect();
        let over: Vec<_> = over.chunks(chunk).collect();
        assert_eq!(run(&at), Ok(Some((done(204, b"", false), 0))));
        assert_eq!(run(&over), Err(HttpError::HeadTooLong));
    }
}

#[test]
fn informational_heads_count_towards_the_limit() {
    let one = b"HTTP/1.1 100 \r\n\r\n";
    let many = one.repeat(HEAD_BYTES_MAX / one.len() + 1);
    assert_eq!(run(&[&many]), Err(HttpError::HeadTooLong));
    assert_eq!(run(&bytewise(&many)), Err(HttpError::HeadTooLong));
}

#[test]
fn a_head_may_have_as_many_lines_as_its_limit_and_not_one_more() {
    let with = |lines| format!("HTTP/1.1 204 \r\n{}\r\n", "a: b\r\n".repeat(lines)).into_bytes();
    assert!(run(&[&with(HEADERS_MAX)]).is_ok());
    assert_eq!(
        run(&[&with(HEADERS_MAX + 1)]),
        Err(HttpError::BadHead(httparse::Error::TooManyHeaders))
    );
}

#[test]
fn a_body_may_have_its_limit_and_not_one_byte_more() {
    let body = vec![b'x'; BODY_BYTES_MAX];
    let head = format!("HTTP/1.1 200 \r\nContent-Length: {BODY_BYTES_MAX}\r\n\r\n");
    let Ok(Some((response, 1))) = run(&[head.as_bytes(), &body, b"x"]) else { panic!() };
    assert_eq!(response.body.len(), BODY_BYTES_MAX);
    let head = format!("HTTP/1.1 200 \r\nContent-Length: {}\r\n\r\n", BODY_BYTES_MAX + 1);
    assert_eq!(run(&[head.as_bytes()]), Err(HttpError::BodyTooLong));
    let head = b"HTTP/1.1 200 \r\n\r\n";
    assert_eq!(run(&[head, &body]), Ok(None));
    assert_eq!(run(&[head, &body, b"x"]), Err(HttpError::BodyTooLong));
}

#[test]
fn a_request_says_its_length_only_where_a_body_is() {
    let ask = Request { method: Method::Get, path: "/api/v1/vmm.ping", body: None };
    let act = Request { method: Method::Put, path: "/api/v1/vm.create", body: Some(b"{}".into()) };
    assert_eq!(
        ask.encode().unwrap(),
        b"GET /api/v1/vmm.ping HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n\r\n"
    );
    assert_eq!(
        act.encode().unwrap(),
        b"PUT /api/v1/vm.create HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n\
          Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
    );
}

#[test]
fn a_request_body_that_ch_would_refuse_is_not_sent() {
    let with = |bytes| Request {
        method: Method::Put,
        path: "/api/v1/vm.create",
        body: Some(vec![b' '; bytes]),
    };
    assert!(with(REQUEST_BODY_BYTES_MAX).encode().is_ok());
    let error = with(REQUEST_BODY_BYTES_MAX + 1).encode().unwrap_err();
    assert_eq!(
        error.to_string(),
        "the request body has 51201 bytes, Cloud Hypervisor takes 51200 at most"
    );
}

/// All answers of a connection, and the error that it ends with.
type Outcome = (Vec<Response>, HttpError);

fn outcome(chunks: &[&[u8]]) -> Outcome {
    let mut parser = ResponseParser::new();
    let mut answers = Vec::new();
    for chunk in chunks {
        let mut rest = *chunk;
        while !rest.is_empty() {
            match parser.feed(rest) {
                Ok(Fed::More) => break,
                Ok(Fed::Done { response, used }) => {
                    assert!(used > 0 && used <= rest.len());
                    assert!(response.status >= 200 && response.body.len() <= BODY_BYTES_MAX);
                    answers.push(response);
                    rest = &rest[used..];
                }
                Err(error) => {
                    assert_eq!(parser.feed(b"HTTP/1.1 204 \r\n\r\n"), Err(error));
                    assert_eq!(parser.head.capacity(), 0, "what failed holds nothing");
                    return (answers, error);
                }
            }
            assert!(parser.head.len() + parser.skipped <= HEAD_BYTES_MAX);
        }
    }
    match parser.on_eof() {
        Ok(last) => answers.push(last),
        Err(error) => return (answers, error),
    }
    (answers, HttpError::NoResponse)
}

/// Valid answers, and what is refused, to start from.
fn corpus() -> Vec<Vec<u8>> {
    let odd: [&[u8]; 6] = [
        b"HTTP/1.1 500 \r\n\r\nup to the end",
        b"HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\nContent-Length: 2\n\n{}",
        b"HTTP/1.1 100 \r\n\r\nHTTP/1.1 101 \r\nUpgrade: x\r\n\r\nHTTP/1.1 204\r\n\r\n",
        b"HTTP/1.1 304 \r\nContent-Length: 18446744073709551615\r\n\r\n",
        b"HTTP/1.1 200 \r\nConnection: close\r\nContent-Length: 1\r\n\r\nx",
    ];
    answers().into_iter().map(|(bytes, _)| bytes).chain(odd).map(<[u8]>::to_vec).collect()
}

proptest! {
    /// Valid or not: answers and error are the same, however the stream was cut.
    #[test]
    fn any_stream_means_the_same_however_it_is_cut(
        bytes in fuzz::damaged(corpus()),
        cuts in fuzz::cuts(),
    ) {
        fuzz::means_the_same(&bytes, &cuts, outcome)?;
    }

    #[test]
    fn a_valid_answer_survives_every_chopping(
        status in 200u16..600,
        body in prop::collection::vec(any::<u8>(), 0..500),
        cuts in fuzz::cuts(),
        continues in 0usize..3,
    ) {
        let body = if matches!(status, 204 | 304) { Vec::new() } else { body };
        let head = format!(
            "{}HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n",
            "HTTP/1.1 100 \r\n\r\n".repeat(continues),
            body.len()
        );
        let bytes = [head.as_bytes(), &body, b"after"].concat();
        let expected = Ok(Some((done(status, &body, false), 5)));
        for chunks in fuzz::choppings(&bytes, &cuts) {
            prop_assert_eq!(run(&chunks), expected.clone());
        }
    }
}
