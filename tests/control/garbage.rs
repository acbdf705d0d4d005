//! What no client can do to the loop.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use seriald::limits;

use super::served::Served;
use super::support::wait::PATIENCE;

/// Sends bytes and reads to the end of the stream, or until nothing more comes. All that comes.
fn exchange(served: &Served, pieces: &[&[u8]]) -> Vec<u8> {
    let mut stream = UnixStream::connect(&served.path).expect("connected");
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    for piece in pieces {
        // Sent away already: what it said is to be read yet.
        if stream.write_all(piece).is_err() {
            break;
        }
    }
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut all = Vec::new();
    match stream.read_to_end(&mut all) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}"),
    }
    all
}

fn starts_as_http(answer: &[u8]) -> bool {
    answer.is_empty() || answer.starts_with(b"HTTP/1.1 ")
}

#[test]
fn garbage_is_answered_by_an_error_or_by_nothing_and_the_loop_goes_on() {
    let served = Served::start();
    served.adopt(&["a"]);
    let request: &[u8] = b"PUT /v1/vms/a HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n{}\r\n";
    let piece = prop_oneof![
        Just(request.to_vec()),
        Just(b"GET /v1/vms HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
        (0..request.len()).prop_map(move |at| request[..at].to_vec()),
        prop::collection::vec(any::<u8>(), 0..2000),
        Just(vec![b'A'; limits::CONTROL_HEAD_BYTES_MAX + 1]),
        Just(b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 65536\r\n\r\n".to_vec()),
    ];
    let mut runner = TestRunner::new(Config { cases: 200, ..Config::default() });
    let strategy = (prop::collection::vec(piece, 0..5), any::<bool>());
    let run = runner.run(&strategy, |(pieces, bytewise)| {
        let all = pieces.concat();
        let pieces: Vec<&[u8]> = match bytewise {
            true => all.chunks(1).collect(),
            false => pieces.iter().map(Vec::as_slice).collect(),
        };
        let answer = exchange(&served, &pieces);
        prop_assert!(starts_as_http(&answer), "{:?}", String::from_utf8_lossy(&answer));
        prop_assert_eq!(served.client().get("/healthz").status, 200);
        Ok(())
    });
    run.expect("no garbage does harm");
    assert_eq!(served.client().get("/v1/vms/a").status, 200);
}

#[test]
fn a_huge_head_is_refused_long_before_its_end() {
    let served = Served::start();
    let mut stream = UnixStream::connect(&served.path).expect("connected");
    stream.set_write_timeout(Some(PATIENCE)).expect("set");
    stream.write_all(b"GET / HTTP/1.1\r\n").expect("sent");
    let mut sent = 0;
    // It would be a hundred times the limit.
    while sent < 100 * limits::CONTROL_HEAD_BYTES_MAX {
        match stream.write(b"X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n") {
            Ok(n) => sent += n,
            Err(error) => {
                let kind = error.kind();
                assert!(matches!(kind, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset));
                break;
            }
        }
    }
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 431");
    assert!(sent < 100 * limits::CONTROL_HEAD_BYTES_MAX, "all of it was taken");
}

#[test]
fn many_clients_that_say_half_a_word_keep_nobody_from_being_served() {
    let served = Served::start();
    let half = |n: usize| {
        let mut client = served.client();
        client.send(&b"GET /healthz HTTP/1.1\r\nHost: x\r\n"[..1 + n % 30]);
        client
    };
    let halves: Vec<_> = (0..limits::CONTROL_CLIENTS_MAX - 1).map(half).collect();
    let mut whole = served.client();
    for _ in 0..100 {
        assert_eq!(whole.get("/healthz").status, 200);
    }
    for (n, mut client) in halves.into_iter().enumerate() {
        client.send(&b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"[1 + n % 30..]);
        assert_eq!(client.answer().expect("an answer").status, 200);
    }
}

#[test]
fn a_client_that_takes_nothing_holds_no_more_than_a_piece() {
    let served = Served::start();
    let ids: Vec<String> = (0..50).map(|n| format!("vm-{n}")).collect();
    served.adopt(&ids.iter().map(String::as_str).collect::<Vec<_>>());
    // Asks for megabytes, takes nothing, and is in nobody's way.
    let mut greedy = served.client();
    greedy.stream.set_nonblocking(true).expect("set");
    let request = b"GET /v1/vms HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut asked = 0;
    while asked < 100_000 && greedy.stream.write_all(request).is_ok() {
        asked += 1;
    }
    assert!(asked < 100_000, "what is not taken is not asked for without end");
    assert_eq!(served.client().get("/healthz").status, 200);
    // It is all there once it is taken.
    greedy.stream.set_nonblocking(false).expect("set");
    for _ in 0..asked.min(100) {
        let answer = greedy.answer().expect("an answer");
        assert_eq!(answer.json()["vms"].as_array().expect("a list").len(), ids.len());
    }
}
