//! What no client can do to the loop.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use seriald::control::request::Method;
use seriald::control::routes::ROUTES;
use seriald::limits;

use super::served::Served;
use super::support::logs::whole;
use super::support::sockets::{accept, connect};
use super::support::wait::{PATIENCE, wait_until};

/// Sends bytes and reads to the end of the stream, or until nothing more comes. All that comes.
fn exchange(served: &Served, pieces: &[&[u8]]) -> Vec<u8> {
    let mut stream = connect(&served.path);
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

/// Every route there is, with a query that it may not know. What has no end is not followed here.
fn target() -> impl Strategy<Value = (&'static str, String)> {
    let query = prop_oneof![
        Just(String::new()),
        "\\?(wait|timeout_s|vmm|after|vm|tail|mode)=[ -~&&[^ #]]{0,9}",
    ];
    (prop::sample::select(&ROUTES[..]), query).prop_map(|(route, query)| {
        // One whose VM is there is let go of by the DELETE: what is asked of the others is answered
        // by whatever is true then.
        let id = if route.method == Method::Delete { "b" } else { "a" };
        (route.method.name(), route.path.replace("{id}", id) + &query)
    })
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
        (target(), "[ -~]{0,60}").prop_map(|((method, path), body)| {
            let length = body.len();
            let head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}");
            format!("{head}\r\n\r\n{body}").into_bytes()
        }),
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
    let mut stream = connect(&served.path);
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

/// Bytes that a console prints while clients do their worst.
const PRINTED: usize = 4 << 20;

/// What all of them come to: each of these has its turn until the console has said all.
fn assault(served: &Served, round: usize) {
    let connect = || connect(&served.path);
    match round % 5 {
        0 => {
            let noise: Vec<u8> = (0..50_000).map(|n: usize| (n * 7 + round) as u8).collect();
            exchange(served, &[&noise]);
        }
        1 => {
            let request =
                b"POST /v1/vms/a/snapshot HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n{}";
            exchange(served, &request.chunks(1).collect::<Vec<_>>());
        }
        2 => {
            // More than may be in, each with half a word; they are dropped all at once.
            let crowd: Vec<UnixStream> = (0..100).map(|_| connect()).collect();
            for mut client in &crowd {
                let _ = client.write_all(b"GET /v1/ev");
            }
        }
        3 => drop(exchange(served, &[&vec![b'A'; 10 * limits::CONTROL_HEAD_BYTES_MAX]])),
        _ => {
            let mut follower = connect();
            let _ = follower.write_all(b"GET /v1/events?follow=true HTTP/1.1\r\nHost: x\r\n\r\n");
            let _ = follower.write_all(&b"GET /v1/vms HTTP/1.1\r\nHost: x\r\n\r\n".repeat(100));
        }
    }
}

#[test]
fn whatever_clients_do_costs_no_console_a_byte() {
    let served = Served::start();
    let spec = served.spec("a");
    let console = UnixListener::bind(&spec.serial).expect("bound");
    served.adopt(&["a"]);
    let said: Vec<u8> = (0..PRINTED / 16).flat_map(|n| format!("{n:015}\n").into_bytes()).collect();
    let is_said = AtomicBool::new(false);
    let mut rounds = 0;
    thread::scope(|scope| {
        let (said, is_said) = (&said, &is_said);
        scope.spawn(move || {
            let mut stream = accept(&console);
            for piece in said.chunks(64) {
                stream.write_all(piece).expect("read");
            }
            is_said.store(true, Ordering::Relaxed);
            // Open until all is read: an end is another matter.
            stream.set_read_timeout(Some(PATIENCE)).expect("set");
            let _ = stream.read(&mut [0]);
        });
        while rounds < 20 || !is_said.load(Ordering::Relaxed) {
            assault(&served, rounds);
            rounds += 1;
        }
        wait_until(PATIENCE, "all of it", || {
            let vm = served.handle.find("a").expect("it turns").expect("in charge");
            let status = served.handle.status(vm).expect("it turns").expect("in charge");
            status.read_bytes >= PRINTED as u64
        });
        let vm = served.handle.find("a").expect("it turns").expect("in charge");
        assert!(served.handle.release(vm).expect("it turns"));
    });
    wait_until(PATIENCE, "its end", || served.handle.find("a").expect("it turns").is_none());
    assert!(whole(&spec.log.path) == said, "the log is another");
}
