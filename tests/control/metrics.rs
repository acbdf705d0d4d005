//! What a page of counters says, and how it is written.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::os::unix::net::UnixStream;

use super::served::Served;
use super::support::embedded::Peer;
use super::support::wait::{PATIENCE, wait_until};
use super::viewer::Viewer;

/// The page as it is now.
pub fn page(served: &Served) -> String {
    let answer = served.client().get("/metrics");
    assert_eq!(answer.status, 200);
    String::from_utf8(answer.body).expect("UTF-8")
}

/// Takes charge of a VM that a test plays: the console that the loop has connected to.
pub fn connected(served: &Served, id: &str) -> UnixStream {
    let peer = Peer::at(&served.spec(id).serial);
    served.adopt(&[id]);
    let mut console = None;
    wait_until(PATIENCE, "a client", || {
        console = peer.listener.accept().ok();
        console.is_some()
    });
    console.expect("a client").0
}

/// The page once VM `a` has printed 1234 bytes, and `b` is waited for; with the console of `a`.
fn printed(served: &Served) -> (UnixStream, String) {
    let mut console = connected(served, "a");
    served.adopt(&["b"]);
    console.write_all(&[b'x'; 1234]).expect("sent");
    let mut text = String::new();
    wait_until(PATIENCE, "the bytes", || {
        text = page(served);
        text.contains("\nseriald_written_bytes_total 1234\n")
    });
    (console, text)
}

fn assert_has(page: &str, lines: &[&str]) {
    for line in lines {
        assert!(page.lines().any(|found| found == *line), "{line} is not in {page}");
    }
}

#[test]
fn metrics_count_what_the_loop_did_in_prometheus_format() {
    let served = Served::start();
    let (_console, text) = printed(&served);
    assert_has(
        &text,
        &[
            "seriald_read_bytes_total 1234",
            "seriald_vms{state=\"dialing\"} 1",
            "seriald_vms{state=\"streaming\"} 1",
            "seriald_vms_unserved 0",
            "seriald_vms_behind 0",
            "seriald_lag_seconds 0",
            "seriald_lost_bytes_total{cause=\"write_failed\"} 0",
            "seriald_lost_bytes_total{cause=\"rate_limit\"} 0",
            "seriald_clients{socket=\"control\"} 1",
            "seriald_clients{socket=\"metrics\"} 0",
            "seriald_config_last_reload_successful 1",
        ],
    );
    assert_is_exposition(&text);
    assert!(!text.contains("vm=\""), "no VM is told by its id unless that is asked for");
}

#[test]
fn bytes_that_are_lost_are_told_by_their_cause() {
    let served = Served::start();
    let mut spec = served.spec("a");
    (spec.log.rate_bytes, spec.log.burst_bytes) = (Some(128), Some(1000));
    let peer = Peer::at(&spec.serial);
    served.handle.adopt(spec).expect("it turns").expect("adopted");
    let mut console = None;
    wait_until(PATIENCE, "a client", || {
        console = peer.listener.accept().ok();
        console.is_some()
    });
    console.as_mut().expect("a client").0.write_all(&[b'x'; 50_000]).expect("sent");
    let mut text = String::new();
    wait_until(PATIENCE, "the bytes", || {
        text = page(&served);
        text.contains("\nseriald_read_bytes_total 50000\n")
    });
    let written = number(&text, "seriald_written_bytes_total");
    assert!((1000.0..50_000.0).contains(&written), "{written}");
    let lost = number(&text, "seriald_lost_bytes_total{cause=\"rate_limit\"}");
    assert!((written + lost - 50_000.0).abs() < f64::EPSILON, "{written} + {lost}");
    assert_has(&text, &["seriald_lost_bytes_total{cause=\"write_failed\"} 0"]);
}

#[test]
fn what_a_guest_prints_is_in_no_metric() {
    let served = Served::scraped(true);
    let mut console = connected(&served, "a");
    console.write_all(b"evil\"} 1\n# TYPE seriald_evil counter\nseriald_evil 1\n").expect("sent");
    let mut text = String::new();
    wait_until(PATIENCE, "the bytes", || {
        text = page(&served);
        !text.contains("\nseriald_written_bytes_total 0\n")
    });
    assert!(!text.contains("evil"), "{text}");
    assert_is_exposition(&text);
}

#[test]
fn each_vm_is_told_once_a_family_and_the_page_comes_in_pieces() {
    let served = Served::scraped(true);
    let ids: Vec<String> = (0..300).map(|n| format!("vm-{n}")).collect();
    served.adopt(&ids.iter().map(String::as_str).collect::<Vec<_>>());
    let answer = served.client().get("/metrics");
    let (chunks, bytes) = (answer.chunks.expect("in pieces"), answer.body.len());
    assert!(bytes / chunks < 20_000 && chunks > 10, "{bytes} bytes in {chunks} pieces");
    let text = String::from_utf8(answer.body).expect("UTF-8");
    let mut families: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for sample in text.lines().filter(|line| line.starts_with("seriald_vm_")) {
        let (name, rest) = sample.split_once("{vm=\"").expect("the one label");
        let (id, _) = rest.split_once("\"} ").expect("the one label");
        families.entry(name).or_default().push(id);
    }
    assert!(families.len() >= 10, "{:?}", families.keys());
    for (name, told) in families {
        assert_eq!(told.len(), ids.len(), "{name}");
        let told: BTreeSet<&str> = told.into_iter().collect();
        assert_eq!(told, ids.iter().map(String::as_str).collect(), "{name}");
    }
    assert_is_exposition(&text);
    // The connection goes on behind it.
    let mut client = served.client();
    assert_eq!(client.get("/metrics").status, 200);
    assert_eq!(client.get("/healthz").status, 200);
}

#[test]
fn a_vm_is_counted_by_itself_where_that_is_asked_for() {
    let served = Served::scraped(true);
    let (_console, text) = printed(&served);
    assert_has(
        &text,
        &[
            "seriald_vm_connected{vm=\"a\"} 1",
            "seriald_vm_connected{vm=\"b\"} 0",
            "seriald_vm_read_bytes_total{vm=\"a\"} 1234",
            "seriald_vm_written_bytes_total{vm=\"a\"} 1234",
            "seriald_vm_log_bytes{vm=\"a\"} 1234",
            "seriald_vm_read_bytes_total{vm=\"b\"} 0",
            "seriald_vm_lag_seconds{vm=\"a\"} 0",
            "seriald_vm_lost_bytes_total{vm=\"a\"} 0",
        ],
    );
}

#[test]
fn those_who_look_at_a_console_and_those_who_type_are_counted() {
    let served = Served::scraped(true);
    let _console = connected(&served, "a");
    served.adopt(&["b"]);
    let lines = |viewers: u64, writers: u64| {
        [
            format!("seriald_viewers {viewers}"),
            format!("seriald_writers {writers}"),
            format!("seriald_vm_viewers{{vm=\"a\"}} {viewers}"),
            format!("seriald_vm_writers{{vm=\"a\"}} {writers}"),
            "seriald_vm_viewers{vm=\"b\"} 0".to_owned(),
        ]
    };
    let wait_for = |viewers, writers| {
        wait_until(PATIENCE, "their number", || {
            let text = page(&served);
            lines(viewers, writers).iter().all(|line| text.lines().any(|found| found == line))
        });
    };
    wait_for(0, 0);
    let spy = Viewer::attach(&served.path, "a", "mode=spy");
    let writer = Viewer::attach(&served.path, "a", "mode=attach");
    wait_for(2, 1);
    drop(writer);
    wait_for(1, 0);
    drop(spy);
    wait_for(0, 0);
}

/// A sample's value.
fn number(page: &str, sample: &str) -> f64 {
    let value = page.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("{sample} in {page}"))
}

/// The format's rules, and Prometheus' own for names: a family's lines stand together behind its
/// help and type, counters end in `_total`, a histogram's buckets never fall.
pub fn assert_is_exposition(page: &str) {
    let mut families = BTreeSet::new();
    let (mut family, mut kind, mut last) = ("", "", 0.0);
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, words) = help.split_once(' ').expect("a help");
            assert!(words.ends_with('.') && families.insert(name), "{line}");
            let typed = lines.next().and_then(|line| line.strip_prefix("# TYPE ")).expect("a type");
            (family, kind) = typed.split_once(' ').expect("a type");
            assert_eq!(family, name);
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{line}");
            last = 0.0;
            continue;
        }
        let (sample, value) = line.rsplit_once(' ').expect("a sample");
        let value: f64 = value.parse().expect("a number");
        let name = sample.split('{').next().unwrap_or_default();
        match name.strip_prefix(family).expect("of its family") {
            "" => assert_ne!(kind, "histogram", "{line}"),
            "_bucket" => {
                assert!(value >= last && sample.contains("{le=\""), "{line}");
                last = value;
            }
            "_count" => assert!(value >= 1.0 && (value - last).abs() < f64::EPSILON, "{line}"),
            "_sum" => assert!(value > 0.0, "{line}"),
            other => panic!("{other}: {line}"),
        }
    }
    assert!(families.len() > 20);
}
