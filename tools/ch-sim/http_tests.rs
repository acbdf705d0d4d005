//! HTTP as CH speaks it, on damaged requests, and against seriald's own client.
//!
//! Of the binary alone: other crates that include the simulator need not know proptest.

use crate::ch_sim::http::{BODY_BYTES_MAX, Method, Parsed, Parser, Request, Server, response};
use crate::ch_sim::release::Release;
use crate::fuzz;
use proptest::prelude::*;

/// Requests as clients send them, and some that are refused.
fn corpus() -> Vec<Vec<u8>> {
    let requests: [&[u8]; 6] = [
        b"GET /api/v1/vmm.ping HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PUT http://h/b HTTP/1.0\r\ncontent-length: 2\r\n\r\n{}GET /c HTTP/1.1\r\n\r\n",
        b"PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n{}",
        b"PUT / HTTP/1.1\r\nContent-Length: 51201\r\n\r\n",
        b"PUT / HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
        b"DELETE / HTTP/1.1\nHost: x\n\n\r\nGET  HTTP/1.1\r\n\r\n",
    ];
    requests.map(<[u8]>::to_vec).into()
}

proptest! {
    /// No refusal is due to where a stream was cut, and no more is held than one body.
    #[test]
    fn any_stream_is_read_within_its_limits_however_it_is_cut(
        bytes in fuzz::damaged(corpus()),
        cuts in fuzz::cuts(),
        v52: bool,
    ) {
        let release = if v52 { Release::V52 } else { Release::V53 };
        let run = |chunks: &[&[u8]]| {
            let mut parser = Parser::new(release);
            let mut parsed = Vec::new();
            for chunk in chunks {
                parsed.extend(parser.feed(chunk));
                assert!(parser.buffer.len() < BODY_BYTES_MAX);
            }
            parsed
        };
        let whole = run(&[&bytes]);
        let refused = |all: &[Parsed]| all.iter().any(|one| matches!(one, Parsed::Refused(_)));
        for chunks in fuzz::choppings(&bytes, &cuts) {
            let parsed = run(&chunks);
            prop_assert_eq!(refused(&parsed), refused(&whole));
            // A refusal drops what came with it; else the requests are the same.
            if !refused(&whole) {
                prop_assert_eq!(&parsed, &whole);
            }
        }
    }

    /// What seriald asks is heard, and what is answered is read.
    #[test]
    fn seriald_and_the_simulator_understand_each_other(
        asks: bool,
        body in proptest::option::of(proptest::collection::vec(any::<u8>(), 1..2000)),
        status in prop_oneof![Just(200u16), Just(204), Just(400), Just(500)],
        cuts in fuzz::cuts(),
    ) {
        use seriald::ch::http as client;
        let (method, expected) =
            match asks {
                true => (client::Method::Get, Method::Get),
                false => (client::Method::Put, Method::Put),
            };
        let path = "/api/v1/vm.create";
        let request = client::Request { method, path, body: body.clone() };
        let bytes = request.encode().expect("short enough");
        let heard = Request { method: expected, path: path.into(), body: body.clone() };
        for chunks in [vec![&bytes[..]], fuzz::chop(&bytes, &cuts)] {
            let mut parser = Parser::new(Release::V53);
            let parsed: Vec<Parsed> = chunks.iter().flat_map(|one| parser.feed(one)).collect();
            prop_assert_eq!(parsed, [Parsed::Request(heard.clone())]);
        }
        let body = body.filter(|_| status != 204).unwrap_or_default();
        let bytes = response(status, Server::CloudHypervisor, &body);
        let mut parser = client::ResponseParser::new();
        let fed = parser.feed(&bytes).expect("an answer");
        let response = client::Response { status, body, close: false };
        prop_assert_eq!(fed, client::Fed::Done { response, used: bytes.len() });
    }
}
