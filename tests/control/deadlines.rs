//! How long a client may stay and say nothing, by a clock that stands still otherwise.

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use seriald::{Config, ControlSpec, Reactor, limits};
use tempfile::TempDir;

use super::client::Client;
use super::noting::{Costs, Noting, Pauses, noted_loop, settle};

pub struct Stopped {
    pub reactor: Reactor<Noting>,
    pauses: Rc<RefCell<Pauses>>,
    pub path: PathBuf,
    pub dir: TempDir,
}

impl Stopped {
    pub fn new() -> Stopped {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("c.sock");
        let (mut reactor, pauses) = noted_loop(Config::default());
        reactor.serve_control(ControlSpec::new(&path)).expect("served");
        settle(&mut reactor);
        let mut noted = pauses.borrow_mut();
        noted.clock = Some(noted.seen);
        drop(noted);
        Stopped { reactor, pauses, path, dir }
    }

    pub fn client(&mut self) -> Client {
        let client = Client::connect(&self.path);
        settle(&mut self.reactor);
        client
    }

    /// Lets time pass, and the loop do what is due then.
    pub fn pass(&mut self, time: Duration) {
        self.tick(time);
        settle(&mut self.reactor);
    }

    /// Lets time pass.
    pub fn tick(&mut self, time: Duration) {
        let mut pauses = self.pauses.borrow_mut();
        pauses.clock = pauses.clock.map(|now| now + time);
    }

    /// Whether the client's stream has come to its end.
    fn is_gone(client: &mut Client) -> bool {
        client.stream.set_nonblocking(true).expect("set");
        let end = std::io::Read::read(&mut client.stream, &mut [0; 1]);
        client.stream.set_nonblocking(false).expect("set");
        matches!(end, Ok(0))
            || end.is_err_and(|error| error.kind() != std::io::ErrorKind::WouldBlock)
    }
}

const JUST: Duration = Duration::from_millis(1);

#[test]
fn a_client_without_a_request_goes_after_a_while_and_each_request_is_a_new_while() {
    let mut stopped = Stopped::new();
    let (mut idle, mut busy) = (stopped.client(), stopped.client());
    stopped.pass(limits::CONTROL_IDLE_DEADLINE - JUST);
    busy.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    settle(&mut stopped.reactor);
    assert_eq!(busy.answer().expect("an answer").status, 200);
    assert!(!Stopped::is_gone(&mut idle));
    stopped.pass(JUST);
    assert!(Stopped::is_gone(&mut idle) && !Stopped::is_gone(&mut busy));
    stopped.pass(limits::CONTROL_IDLE_DEADLINE - JUST);
    assert!(Stopped::is_gone(&mut busy));
    assert_eq!(stopped.reactor.next_wake(), None, "nobody is left to be waited for");
}

#[test]
fn a_request_that_drips_in_is_ended_however_often_it_drips() {
    let mut stopped = Stopped::new();
    let mut client = stopped.client();
    let mut left = limits::CONTROL_REQUEST_DEADLINE;
    client.send(b"G");
    settle(&mut stopped.reactor);
    while left > Duration::from_secs(1) {
        stopped.pass(Duration::from_secs(1));
        left -= Duration::from_secs(1);
        client.send(b"E");
        settle(&mut stopped.reactor);
    }
    assert!(!Stopped::is_gone(&mut client));
    stopped.pass(left);
    let answer = client.answer().expect("told so");
    assert_eq!((answer.status, answer.code().as_str()), (408, "request_timeout"));
    assert!(client.is_at_end());
}

#[test]
fn a_client_that_takes_no_byte_of_its_answer_is_dropped() {
    let mut stopped = Stopped::new();
    let mut client = stopped.client();
    client.stream.set_nonblocking(true).expect("set");
    // Until its answers fill the socket, and its questions the other way.
    let request = b"GET /v1/openapi.json HTTP/1.1\r\nHost: x\r\n\r\n";
    while std::io::Write::write_all(&mut client.stream, request).is_ok() {
        stopped.reactor.turn(Some(Duration::ZERO)).expect("a turn");
    }
    settle(&mut stopped.reactor);
    client.stream.set_nonblocking(false).expect("set");
    stopped.pass(limits::CONTROL_ROOM_DEADLINE - JUST);
    assert_eq!(client.answer().expect("one fits").status, 200);
    // Some room was made, of which the kernel tells nothing: it has time anew all the same.
    stopped.pass(JUST);
    stopped.pass(limits::CONTROL_ROOM_DEADLINE - JUST);
    assert!(stopped.reactor.next_wake().is_some_and(|wake| wake <= JUST));
    stopped.pass(JUST);
    assert_eq!(stopped.reactor.next_wake(), None, "it was dropped");
}

#[test]
fn a_turn_ends_in_time_however_many_clients_have_something() {
    let mut stopped = Stopped::new();
    let mut clients: Vec<Client> =
        (0..limits::CONTROL_CLIENTS_MAX).map(|_| stopped.client()).collect();
    for client in &mut clients {
        client.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    }
    let cost = Duration::from_millis(1);
    stopped.pauses.borrow_mut().costs = Costs { read: cost, ..Costs::default() };
    let now = |stopped: &Stopped| stopped.pauses.borrow().clock.expect("a clock");
    let mut turns = 0;
    loop {
        let before = now(&stopped);
        stopped.reactor.turn(Some(Duration::ZERO)).expect("a turn");
        let took = now(&stopped) - before;
        // They have the time of one phase, whatever else a turn has left.
        assert!(took <= limits::PHASE_TIME + cost, "{took:?}");
        turns += 1;
        assert!(turns < 10_000, "there is always something to be done");
        if stopped.reactor.next_wake() != Some(Duration::ZERO) {
            break;
        }
    }
    assert!(turns >= 2 * limits::CONTROL_CLIENTS_MAX / 5, "{turns} turns");
    for client in &mut clients {
        assert_eq!(client.answer().expect("an answer").status, 200);
    }
}

const REQUEST: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";

#[test]
fn who_has_stood_still_for_longest_gives_way_and_who_waits_for_us_never_does() {
    let mut stopped = Stopped::new();
    let mut followers: Vec<Client> = (0..limits::CONTROL_CLIENTS_MAX - 3)
        .map(|_| {
            let mut client = stopped.client();
            client.send(b"GET /v1/events?follow HTTP/1.1\r\nHost: x\r\n\r\n");
            settle(&mut stopped.reactor);
            client
        })
        .collect();
    let (mut half, mut deaf) = (stopped.client(), stopped.client());
    half.send(&REQUEST[..9]);
    deaf.stream.set_nonblocking(true).expect("set");
    let list = b"GET /v1/openapi.json HTTP/1.1\r\nHost: x\r\n\r\n";
    while std::io::Write::write_all(&mut deaf.stream, list).is_ok() {
        settle(&mut stopped.reactor);
    }
    settle(&mut stopped.reactor);
    let idle = stopped.client();
    // The silent one goes at once; the others have a second.
    stopped.pass(JUST);
    let mut late = [stopped.client()];
    late[0].send(REQUEST);
    settle(&mut stopped.reactor);
    assert_eq!(late[0].answer().expect("let in").status, 200);
    let mut idle = idle;
    assert!(Stopped::is_gone(&mut idle) && !Stopped::is_gone(&mut half));
    late[0].send(&REQUEST[..9]);
    settle(&mut stopped.reactor);
    let mut refused = stopped.client();
    assert_eq!(refused.answer().expect("told so").code(), "too_many_clients");
    stopped.pass(limits::CONTROL_STALL);
    let mut others = [stopped.client(), stopped.client()];
    for other in &mut others {
        other.send(&REQUEST[..9]);
    }
    settle(&mut stopped.reactor);
    assert!(Stopped::is_gone(&mut half), "half a request");
    assert_eq!(stopped.reactor.stats().clients.dropped_idle, 3);
    // One of them took nothing, and is sent nothing more.
    let mut taken = 0;
    deaf.stream.set_nonblocking(false).expect("set");
    while deaf.try_take(1).is_some() {
        taken += 1;
    }
    assert!(taken > 0);
    assert!(followers.iter_mut().all(|client| !Stopped::is_gone(client)));
    assert!(!Stopped::is_gone(&mut late[0]));
}

#[test]
fn a_crowd_that_comes_again_and_again_leaves_time_for_those_who_are_in() {
    let mut stopped = Stopped::new();
    let mut inside: Vec<Client> = (0..20).map(|_| stopped.client()).collect();
    for client in &mut inside {
        client.send(REQUEST);
    }
    // As many as may wait to be accepted.
    let crowd: Vec<_> = (0..100)
        .map(|_| std::os::unix::net::UnixStream::connect(&stopped.path).expect("connected"))
        .collect();
    stopped.reactor.turn(Some(Duration::ZERO)).expect("a turn");
    let accepted = stopped.reactor.stats().clients.accepted as usize;
    assert!(accepted <= 20 + limits::CONTROL_ADMISSIONS_A_TURN, "{accepted}");
    settle(&mut stopped.reactor);
    assert_eq!(stopped.reactor.stats().clients.accepted as usize, 20 + crowd.len());
}
