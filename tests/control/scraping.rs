//! The TCP address for counters: what is there, for how many, and what it can't do to a VM.

use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;

use seriald::control::routes::ROUTES;
use seriald::limits::{CONTROL_ROOM_DEADLINE, METRICS_CLIENTS_MAX};
use seriald::{Config, MetricsSpec, Seriald};

use super::client::Client;
use super::metrics::{assert_is_exposition, connected, page};
use super::noting::{noted_loop, settle};
use super::served::Served;
use super::support::wait::{PATIENCE, wait_until};

fn anywhere() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

#[test]
fn nothing_but_counters_and_health_is_there() {
    let served = Served::scraped(false);
    served.adopt(&["a"]);
    let mut scraper = served.scraper();
    let told = scraper.get("/metrics");
    let media = "text/plain; version=0.0.4; charset=utf-8";
    assert_eq!((told.status, told.header("Content-Type")), (200, Some(media)));
    assert_is_exposition(&String::from_utf8(told.body).expect("UTF-8"));
    assert_eq!(scraper.get("/healthz").body, br#"{"status":"ok"}"#);
    let mut hidden = 0;
    for route in ROUTES {
        let (method, path) = (route.method.name(), route.path.replace("{id}", "a"));
        if matches!(route.path, "/metrics" | "/healthz") {
            continue;
        }
        let answer = scraper.ask(method, &path, "");
        assert_eq!((answer.status, answer.code().as_str()), (404, "no_such_path"), "{path}");
        let why = answer.json()["error"]["message"].as_str().expect("a message").to_owned();
        assert!(why.contains("GET /metrics and GET /healthz alone"), "{why}");
        hidden += 1;
    }
    assert_eq!(hidden, ROUTES.len() - 2);
    for (method, path) in [("POST", "/metrics"), ("GET", "/"), ("PUT", "/healthz")] {
        assert_eq!(scraper.ask(method, path, "").status, 404, "{method} {path}");
    }
    assert!(served.handle.find("a").expect("it turns").is_some(), "nothing was done to it");
}

#[test]
fn it_needs_no_control_socket_and_serves_ipv6_too() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let (sender, told) = mpsc::channel();
        let thread = thread::spawn(move || {
            let mut reactor = Seriald::bind(Config::default()).expect("a loop");
            let listen = Some(address.parse().expect("an address"));
            let served = reactor.serve_metrics(MetricsSpec { per_vm: false, listen });
            let served = served.map(|()| (reactor.handle(), reactor.metrics_address()));
            sender.send(served.map_err(|error| error.to_string())).expect("the test waits");
            reactor.run(|_, _| {}).expect("it turns");
        });
        let (handle, bound) = match told.recv().expect("it is told") {
            Err(why) if why.contains("no interface of this host") => {
                eprintln!("skipped: {why}");
                continue;
            }
            served => served.expect("served"),
        };
        let bound = bound.expect("an address");
        assert_eq!(Client::tcp(bound).get("/metrics").status, 200);
        handle.stop().expect("it turns");
        thread.join().expect("it ended");
        assert!(Client::try_tcp(bound).is_none(), "it is closed");
    }
}

#[test]
fn clients_that_ask_for_nothing_give_way_and_those_of_the_control_socket_do_not() {
    let served = Served::scraped(false);
    let mut control = served.client();
    assert_eq!(control.get("/healthz").status, 200);
    let mut idle: Vec<_> = (0..METRICS_CLIENTS_MAX).map(|_| served.scraper()).collect();
    // Each was heard, and is waited for since.
    for client in &mut idle {
        assert_eq!(client.get("/healthz").status, 200);
    }
    let mut late = served.scraper();
    assert_eq!(late.get("/healthz").status, 200);
    assert!(idle[0].is_at_end(), "the one that was idle for longest is closed");
    assert_eq!(idle[1].get("/healthz").status, 200);
    assert_eq!(control.get("/healthz").status, 200);
    let text = page(&served);
    assert!(text.contains("seriald_clients_dropped_total{cause=\"idle\"} 1\n"), "{text}");
    assert!(text.contains("seriald_clients{socket=\"metrics\"} 16\n"), "{text}");
}

#[test]
fn those_who_say_half_a_word_keep_no_scraper_out_for_long() {
    let served = Served::scraped(false);
    let asking: Vec<_> = (0..METRICS_CLIENTS_MAX)
        .map(|_| {
            let mut client = served.scraper();
            // The rest of the request is waited for.
            client.send(b"GET /metrics HTTP/1.1\r\n");
            client
        })
        .collect();
    wait_until(PATIENCE, "all of them", || {
        page(&served).contains("seriald_clients{socket=\"metrics\"} 16\n")
    });
    // First it is told that each is busy, then one has stood still for too long.
    wait_until(PATIENCE, "room", || served.scraper().try_get("/healthz") == Some(200));
    drop(asking);
}

#[test]
fn a_thousand_connections_cost_no_vm_a_byte() {
    let served = Served::scraped(true);
    let mut console = connected(&served, "a");
    let line = [b'x'; 99];
    let mut lines = 0;
    let mut held = Vec::new();
    let address = served.metrics.expect("an address");
    for n in 0..1000 {
        let mut stream = TcpStream::connect(address).expect("connected");
        match n % 4 {
            // Asks and never reads, says nothing, begins to ask, and asks for what is not there.
            0 => drop(stream.write_all(&b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(50))),
            1 => {}
            2 => drop(stream.write_all(b"GET /metr")),
            _ => drop(stream.write_all(b"GET /v1/vms HTTP/1.1\r\nHost: x\r\n\r\n")),
        }
        held.push(stream);
        console.write_all(&line).expect("the console is read");
        console.write_all(b"\n").expect("the console is read");
        lines += 1;
    }
    let log = served.spec("a").log.path;
    wait_until(PATIENCE, "every line", || {
        fs::read(&log).is_ok_and(|bytes| bytes.len() == lines * 100)
    });
    let text = page(&served);
    assert!(text.contains("seriald_lost_bytes_total{cause=\"write_failed\"} 0\n"), "{text}");
    assert!(text.contains("seriald_read_bytes_total 100000\n"), "{text}");
    drop(held);
    wait_until(PATIENCE, "room", || served.scraper().try_get("/metrics") == Some(200));
}

#[test]
fn a_scraper_that_never_reads_is_dropped_and_counted() {
    let (mut reactor, pauses) = noted_loop(Config::default());
    let listen = Some(anywhere());
    reactor.serve_metrics(MetricsSpec { per_vm: false, listen }).expect("served");
    settle(&mut reactor);
    let mut noted = pauses.borrow_mut();
    noted.clock = Some(noted.seen);
    drop(noted);
    let address = reactor.metrics_address().expect("it is served");
    let mut stream = TcpStream::connect(address).expect("connected");
    stream.set_nonblocking(true).expect("set");
    // Requests until neither side takes more: the answers lie in the kernel, and one in the loop.
    let requests = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(1000);
    let (mut at, mut refused) = (0, 0);
    while refused < 20 {
        match stream.write(&requests[at..]) {
            Ok(sent) => (at, refused) = ((at + sent) % requests.len(), 0),
            Err(_) => {
                refused += 1;
                settle(&mut reactor);
            }
        }
    }
    for _ in 0..2 {
        assert_eq!(reactor.stats().clients.dropped_slow, 0);
        let mut noted = pauses.borrow_mut();
        noted.clock = noted.clock.map(|now| now + CONTROL_ROOM_DEADLINE / 2);
        drop(noted);
        settle(&mut reactor);
    }
    assert_eq!(reactor.stats().clients.dropped_slow, 1);
}

#[test]
fn another_address_takes_the_place_of_the_one_before_and_one_that_cannot_be_had_does_not() {
    let mut reactor = Seriald::bind(Config::default()).expect("a loop");
    let serve = |reactor: &mut Seriald, listen| {
        let served = reactor.serve_metrics(MetricsSpec { per_vm: false, listen });
        (served.map_err(|error| error.to_string()), reactor.metrics_address())
    };
    let (served, first) = serve(&mut reactor, Some(anywhere()));
    assert_eq!(served, Ok(()));
    // The same again, as with a reload that changes something else.
    assert_eq!(serve(&mut reactor, Some(anywhere())), (Ok(()), first));
    let taken = TcpListener::bind(anywhere()).expect("bound");
    let other = taken.local_addr().expect("an address");
    let (refused, still) = serve(&mut reactor, Some(other));
    let why = refused.expect_err("it is taken");
    let named = format!("metrics.listen: cannot listen on {other}: ");
    assert!(why.starts_with(&named) && why.contains("give another one"), "{why}");
    assert_eq!(still, first, "what was served is served on");
    drop(taken);
    assert_eq!(serve(&mut reactor, Some(other)), (Ok(()), Some(other)));
    assert!(TcpStream::connect(first.expect("an address")).is_err(), "the first is closed");
    // Of all addresses, with the same port.
    let all = SocketAddr::from((Ipv4Addr::UNSPECIFIED, other.port()));
    assert_eq!(serve(&mut reactor, Some(all)), (Ok(()), Some(all)));
    assert_eq!(serve(&mut reactor, None), (Ok(()), None));
    assert!(TcpStream::connect(other).is_err(), "it is closed");
}
