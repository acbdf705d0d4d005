//! The stream of state changes, and those who follow it.

use std::time::Duration;

use serde_json::{Value, json};
use seriald::{Config, ControlSpec, Seriald, VmSpec, limits};

use super::client::{Answer, Client};
use super::requests::{impostor, launch, post, put};
use super::schema::assert_described;
use super::served::Served;
use super::support::embedded::spec;
use super::support::vmm::Vmm;
use super::support::wait::{PATIENCE, wait_until};

fn events(served: &Served, query: &str) -> Vec<Value> {
    let answer = served.client().get(&format!("/v1/events{query}"));
    assert_described("GET", "/v1/events", &answer);
    answer.json_lines()
}

fn of(event: &Value) -> (&str, &str) {
    (event["vm"].as_str().unwrap_or(""), event["event"].as_str().expect("an event"))
}

fn id(event: &Value) -> &str {
    event["id"].as_str().expect("an id")
}

/// The number in an event's id.
fn number(event: &Value) -> u64 {
    let (_, number) = id(event).rsplit_once('-').expect("an id");
    number.parse().expect("a number")
}

fn release(served: &Served, vm: &str) {
    let found = served.handle.find(vm).expect("it turns").expect("a VM");
    assert!(served.handle.release(found).expect("it turns"));
}

#[test]
fn what_happens_is_told_in_order_a_line_each() {
    let served = Served::start();
    assert_eq!(events(&served, ""), [] as [Value; 0]);
    served.adopt(&["a", "b"]);
    release(&served, "a");
    wait_until(PATIENCE, "its end", || events(&served, "").len() == 3);
    let told = events(&served, "");
    assert_eq!(
        told.iter().map(of).collect::<Vec<_>>(),
        [("a", "adopted"), ("b", "adopted"), ("a", "closed")]
    );
    assert_eq!(told.iter().map(number).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!((&told[2]["reason"], &told[2]["why"]), (&json!("released"), &json!("released")));
    assert_eq!(events(&served, "?vm=b").iter().map(of).collect::<Vec<_>>(), [("b", "adopted")]);
    assert_eq!(events(&served, "?after=now"), [] as [Value; 0]);
}

#[test]
fn whoever_comes_back_goes_on_behind_what_it_has_seen() {
    let served = Served::start();
    served.adopt(&["a", "b", "c"]);
    let all = events(&served, "");
    for seen in 0..all.len() {
        let rest = events(&served, &format!("?after={}", id(&all[seen])));
        assert_eq!(rest, all[seen + 1..]);
    }
}

#[test]
fn whoever_comes_back_after_a_restart_is_told_that_nobody_knows_what_it_missed() {
    let served = Served::start();
    served.adopt(&["a"]);
    let earlier = id(&events(&served, "")[0]).to_owned();
    drop(served);
    let served = Served::start();
    served.adopt(&["b"]);
    let own = events(&served, "");
    // A number that is yet to come is no place to go on at, either.
    let ahead = id(&own[0]).replace("-1", "-7");
    for after in [earlier, ahead] {
        let told = events(&served, &format!("?after={after}"));
        assert_eq!(of(&told[0]), ("", "missed"));
        assert_eq!(told[0]["events"], Value::Null);
        assert_eq!(told[1..], own);
        // And from there on it knows where it stands.
        assert_eq!(events(&served, &format!("?after={}", id(&told[0]))), own);
    }
}

#[test]
fn what_makes_no_sense_is_refused_by_name() {
    let served = Served::start();
    for (query, why) in [
        ("after=1", "after: \"1\" is neither the id of an event nor now"),
        ("follow=yes", "follow: \"yes\" is not true or false"),
        ("vm=a/b", "vm: \"a/b\" is no VM's name"),
        ("before=1", "unknown key \"before\", the keys here are: after, follow, vm"),
    ] {
        let answer = served.client().get(&format!("/v1/events?{query}"));
        assert_eq!((answer.status, answer.code().as_str()), (400, "bad_query"));
        assert_eq!(answer.json()["error"]["message"], why);
    }
}

#[test]
fn an_end_has_a_word_for_programs_and_a_bounded_reason() {
    let served = Served::start();
    let ended = |reason: &str| {
        wait_until(PATIENCE, reason, || {
            let told = events(&served, "?vm=a");
            told.iter().any(|told| of(told).1 == "closed" && told["reason"] == reason)
        });
        wait_until(PATIENCE, "a free name", || served.client().get("/v1/vms/a").status == 404);
    };
    let timed = VmSpec { dial_timeout: Some(Duration::from_millis(20)), ..served.spec("a") };
    served.handle.adopt(timed).expect("it turns").expect("adopted");
    ended("dial_timeout");
    let home = served.dir.path().join("a");
    assert_eq!(put(&served, "", &launch(&Vmm::sim("v53"), &home, "lines=1")).status, 201);
    ended("vmm_exited");
    put(&served, "?wait=false", &impostor(&served, json!(["sh", "-c", "exec sleep 1000"])));
    assert_eq!(served.client().ask("DELETE", "/v1/vms/a", "").status, 202);
    ended("launch_broken_off");
    // Two bytes a letter: it is cut between two of them.
    let long = "\u{e9}".repeat(limits::FEED_WHY_BYTES);
    put(&served, "", &impostor(&served, json!([format!("/{long}")])));
    ended("launch_failed");
    let told = events(&served, "?vm=a");
    let why = told.last().expect("an end")["why"].as_str().expect("a sentence").to_owned();
    assert!(why.starts_with("launch failed: start of the VMM: /\u{e9}"), "{why}");
    assert!((limits::FEED_WHY_BYTES - 1..=limits::FEED_WHY_BYTES).contains(&why.len()), "{why}");
    // What a VMM has not done is told, too.
    assert_eq!(put(&served, "", &json!({"dir": home})).status, 201);
    assert_eq!(post(&served, "reboot", "").status, 502);
    let told = events(&served, "?vm=a");
    let answered = told.iter().find(|told| of(told).1 == "answered").expect("an answer");
    let error = answered["error"].as_str().expect("a reason");
    assert!(error.contains("vm.reboot: cannot connect to "), "{error}");
}

#[test]
fn what_is_told_at_once_comes_in_pieces_that_are_bounded() {
    let served = Served::start();
    fill(&served);
    let mut client = served.client();
    client.send(b"GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(client.head().status, 200);
    let mut pieces = 0;
    while let Some(piece) = client.chunk() {
        // The last line of a piece may be the longest.
        let most = limits::CONTROL_PIECE_BYTES + limits::FEED_WHY_BYTES + 1024;
        assert!(piece.len() <= most, "{}", piece.len());
        pieces += 1;
    }
    assert!(pieces >= limits::FEED_BYTES / 2 / limits::CONTROL_PIECE_BYTES, "{pieces}");
}

/// Events that come one after the other on a connection.
struct Followed(Client);

impl Followed {
    fn begin(served: &Served, query: &str) -> Followed {
        let mut client = served.client();
        client.send(
            format!("GET /v1/events?follow=true{query} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes(),
        );
        let head = client.head();
        assert_eq!(head.status, 200);
        assert_eq!(head.header("Content-Type"), Some("application/jsonl"));
        Followed(client)
    }

    /// The next events, at least one; `None`: the stream has ended.
    fn next(&mut self) -> Option<Vec<Value>> {
        let body = self.0.chunk()?;
        let answer = Answer { status: 200, head: String::new(), body, chunks: None };
        Some(answer.json_lines())
    }
}

#[test]
fn a_follower_is_told_of_each_change_as_it_comes_and_of_one_vm_alone_if_it_wants() {
    let served = Served::start();
    served.adopt(&["a"]);
    let mut all = Followed::begin(&served, "");
    let mut new = Followed::begin(&served, "&after=now");
    let mut of_b = Followed::begin(&served, "&vm=b");
    assert_eq!(all.next().expect("kept").iter().map(of).collect::<Vec<_>>(), [("a", "adopted")]);
    // Whoever follows is there by the time that he is answered: what comes now is told.
    served.adopt(&["b"]);
    for follower in [&mut all, &mut new, &mut of_b] {
        let told = follower.next().expect("told");
        assert_eq!(told.iter().map(of).collect::<Vec<_>>(), [("b", "adopted")]);
    }
    release(&served, "a");
    for follower in [&mut all, &mut new] {
        assert_eq!(of(&follower.next().expect("told")[0]), ("a", "closed"));
    }
    release(&served, "b");
    assert_eq!(of(&of_b.next().expect("told")[0]), ("b", "closed"));
    // The end of the loop is the end of the stream.
    let _dir = served.stop();
    while all.next().is_some() {}
}

/// Has so many VMs come and go that the ring holds no more of the first of them.
fn fill(served: &Served) -> u64 {
    let mut told = 0;
    for n in 0..limits::FEED_BYTES / 350 {
        let vm = format!("{n:064}");
        served.adopt(&[&vm]);
        release(served, &vm);
        told += 2;
    }
    told
}

#[test]
fn whoever_is_too_slow_is_told_how_much_it_missed_and_is_in_nobodys_way() {
    let served = Served::start();
    served.adopt(&["a"]);
    let first = id(&events(&served, "")[0]).to_owned();
    let mut slow = Followed::begin(&served, "");
    let told = 1 + fill(&served);
    wait_until(PATIENCE, "the last end", || {
        events(&served, "?after=now").is_empty()
            && served.handle.find("a").is_ok_and(|a| a.is_some())
    });
    // Who comes back too late.
    let late = events(&served, &format!("?after={first}"));
    assert_eq!(of(&late[0]), ("", "missed"));
    let missed = late[0]["events"].as_u64().expect("a number");
    assert!(missed > 0);
    assert_eq!(number(&late[0]), 1 + missed);
    assert_eq!(late.len() as u64 - 1 + missed, told - 1);
    // Who was there all the while, and has taken nothing yet.
    let (mut seen, mut last) = (0, 0);
    while last < told {
        for event in slow.next().expect("it was not sent away") {
            seen += match of(&event) {
                (_, "missed") => event["events"].as_u64().expect("a number"),
                _ => 1,
            };
            last = number(&event);
            assert_eq!(seen, last, "nothing is left out without a word");
        }
    }
    assert_eq!(seen, told);
}

#[test]
fn a_follower_costs_no_turn_while_nothing_happens_and_needs_nobody_who_takes_events() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("c.sock");
    let mut reactor = Seriald::bind(Config::default()).expect("a loop");
    reactor.serve_control(ControlSpec::new(&path)).expect("served");
    reactor.adopt(spec("a", dir.path(), 4096)).expect("adopted");
    let mut client = Client::connect(&path);
    client.send(b"GET /v1/events?follow=true HTTP/1.1\r\nHost: x\r\n\r\n");
    client.stream.set_nonblocking(true).expect("set");
    let mut got = Vec::new();
    let mut turn_until = |reactor: &mut Seriald, word: &str| {
        wait_until(PATIENCE, word, || {
            reactor.turn(Some(Duration::from_millis(5))).expect("a turn");
            let mut piece = [0; 4096];
            if let Ok(n) = std::io::Read::read(&mut client.stream, &mut piece) {
                got.extend_from_slice(&piece[..n]);
            }
            String::from_utf8_lossy(&got).contains(word)
        });
    };
    // Nobody ever calls `next_event`.
    turn_until(&mut reactor, "\"adopted\"");
    wait_until(PATIENCE, "rest", || {
        reactor.turn(Some(Duration::from_millis(5))).expect("a turn");
        reactor.next_wake().is_none()
    });
    let vm = reactor.find("a").expect("in charge");
    reactor.release(vm);
    turn_until(&mut reactor, "\"closed\"");
}
