//! Consoles over our own API: many look, one types, none is waited for.

use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::json;
use seriald::VmSpec;

use super::schema::assert_described;
use super::served::Served;
use super::support::wait::{PATIENCE, wait_until};
use super::viewer::{Frame, Printer, Viewer, byte_at, bytes_from, frame};

/// A VM whose log is rotated all the time, and its VMM.
fn printing(served: &Served) -> (VmSpec, Printer) {
    let mut spec = served.spec("a");
    spec.log.max_bytes = 64 * 1024;
    let printer = Printer::at(&spec.serial);
    served.handle.adopt(spec.clone()).expect("it turns").expect("adopted");
    (spec, printer)
}

/// Numbers that are no pattern.
fn rolls(seed: u64) -> impl Iterator<Item = u64> {
    let mut state = seed.wrapping_mul(2) + 1;
    std::iter::repeat_with(move || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    })
}

/// Reads a console in frames up to an offset. Each byte must be the one of its offset. One who was
/// too slow on a busy machine comes back for the rest; how often that was.
fn assert_next(path: &Path, mut viewer: Viewer, mut at: u64, until: u64) -> usize {
    let mut lags = 0;
    while at < until {
        match viewer.next().expect("a frame") {
            Frame::Output(output) => {
                assert_eq!(output, bytes_from(at, output.len()), "at {at}");
                at += output.len() as u64;
            }
            Frame::Notice(notice) if notice["notice"] == "missing" => {
                // The last loss is recorded with the next byte that is written.
                let why = notice["why"].as_str().expect("a reason");
                assert!(["rate_limit", "not_written"].contains(&why), "{notice}");
                assert_eq!(notice["offset"], at);
                at += notice["bytes"].as_u64().expect("a number");
            }
            Frame::Notice(notice) => {
                assert_eq!(notice, json!({"notice": "lagged", "offset": at}));
                let from;
                (viewer, from) = Viewer::attach(path, "a", &format!("mode=spy&offset={at}"));
                assert_eq!(from, at);
                lags += 1;
                assert!(lags < 1000, "it comes no further than {at}");
            }
        }
    }
    lags
}

#[test]
fn a_thousand_attaches_to_a_printing_vm_see_no_gap_and_no_byte_twice() {
    let served = Served::start();
    let (_, mut printer) = printing(&served);
    let printed = printer.printed.clone();
    let wanted = Arc::new(AtomicU64::new(400_000));
    let of_printer = wanted.clone();
    // As much as somebody waits for: it neither stands still nor runs away.
    printer.print(vec![1, 80, 3000, 7, 1, 700, 16_384, 81], move |at| {
        at < of_printer.load(Ordering::Relaxed)
    });
    wait_until(PATIENCE, "some output", || printed.load(Ordering::Relaxed) > 350_000);
    thread::scope(|scope| {
        for seed in 0..4 {
            let (path, wanted) = (&served.path, &wanted);
            scope.spawn(move || {
                let (mut rolls, mut lags) = (rolls(seed), 0);
                for attach in 0..250 {
                    let history = rolls.next().expect("a number") % 350_000;
                    let bytes = history + rolls.next().expect("a number") % 20_000;
                    if attach % 5 == 0 {
                        let from = rolls.next().expect("a number") % 300_000;
                        let query = format!("mode=spy&offset={from}");
                        let viewer = Viewer::ask(path, "a", &query, "seriald-raw");
                        let mut viewer = viewer.unwrap_or_else(|answer| panic!("{answer:?}"));
                        let read = viewer.client.take(50_000);
                        assert_eq!(read, bytes_from(from, read.len()));
                    } else {
                        let query = format!("mode=spy&history={history}");
                        let (viewer, from) = Viewer::attach(path, "a", &query);
                        wanted.fetch_max(from + bytes, Ordering::Relaxed);
                        lags += assert_next(path, viewer, from, from + bytes);
                    }
                }
                assert!(lags < 50, "{lags} of 250 were too slow");
            });
        }
    });
    assert!(printer.stop() > 1_000_000);
}

#[test]
fn what_a_rate_limit_keeps_from_the_log_is_seen_live_and_each_byte_at_its_offset() {
    let served = Served::start();
    let mut spec = served.spec("a");
    spec.log.rate_bytes = Some(1000);
    spec.log.burst_bytes = Some(20_000);
    let mut printer = Printer::at(&spec.serial);
    let vm = served.handle.adopt(spec).expect("it turns").expect("adopted");
    let wanted = Arc::new(AtomicU64::new(200_000));
    let of_printer = wanted.clone();
    printer.print(vec![100, 9000, 1], move |at| at < of_printer.load(Ordering::Relaxed));
    let lost = || {
        let status = served.handle.status(vm).expect("it turns").expect("it is there");
        status.log_counters.lost_rate_limit
    };
    wait_until(PATIENCE, "losses", || lost() > 100_000);
    for attach in 0..30 {
        let (viewer, from) = Viewer::attach(&served.path, "a", "mode=spy&history=150000");
        wanted.store(from + 170_000, Ordering::Relaxed);
        let lags = assert_next(&served.path, viewer, from, from + 170_000);
        assert_eq!(lags, 0, "attach {attach}");
    }
    // Live it is all there, whatever the log has of it.
    let now = wanted.load(Ordering::Relaxed);
    wait_until(PATIENCE, "what is printed", || printer.printed.load(Ordering::Relaxed) >= now);
    let (mut viewer, from) = Viewer::attach(&served.path, "a", "mode=spy");
    let (before, mut at) = (lost(), from);
    for step in 1..=10 {
        let until = from + 20_000 * step;
        wanted.store(until, Ordering::Relaxed);
        while at < until {
            let Some(Frame::Output(output)) = viewer.next() else { panic!("no output") };
            assert_eq!(output, bytes_from(at, output.len()));
            at += output.len() as u64;
        }
    }
    assert!(lost() > before + 100_000);
}

#[test]
fn a_connection_that_has_read_one_vms_log_sees_another_vms_console() {
    let served = Served::start();
    let (_, printer) = printing(&served);
    printer.console().write_all(b"the secret of a\n").expect("sent");
    let other = served.spec("b");
    let of_other = Printer::at(&other.serial);
    served.handle.adopt(other).expect("it turns").expect("adopted");
    let mut console = of_other.console();
    console.write_all(b"what b has printed\n").expect("sent");
    let mut client = served.client();
    wait_until(PATIENCE, "both logs", || {
        let sizes = ["a", "b"].map(|id| client.get(&format!("/v1/vms/{id}/log")).body.len());
        sizes == [16, 19]
    });
    assert_eq!(client.get("/v1/vms/a/log").body, b"the secret of a\n");
    client.send(
        b"GET /v1/vms/b/console?mode=spy&offset=0 HTTP/1.1\r\nHost: x\r\n\
          Connection: upgrade\r\nUpgrade: seriald-raw\r\n\r\n",
    );
    assert_eq!(client.answer().expect("an answer").status, 101);
    assert_eq!(client.take(19), b"what b has printed\n");
}

#[test]
fn viewers_that_never_read_are_dropped_and_the_others_get_every_byte_once() {
    const READERS: usize = 90;
    const ALL: u64 = 3 << 20;
    let served = Served::start();
    let (spec, mut printer) = printing(&served);
    let idle: Vec<_> = (0..10).map(|_| Viewer::attach(&served.path, "a", "mode=spy")).collect();
    let places: Arc<Vec<AtomicU64>> = Arc::new((0..READERS).map(|_| AtomicU64::new(0)).collect());
    let (of_printer, path) = (places.clone(), &served.path);
    thread::scope(|scope| {
        for place in places.iter() {
            let (mut viewer, from) = Viewer::attach(path, "a", "mode=spy");
            assert_eq!(from, 0);
            scope.spawn(move || {
                while place.load(Ordering::Relaxed) < ALL {
                    let at = place.load(Ordering::Relaxed);
                    match viewer.next().expect("a frame") {
                        Frame::Output(output) => {
                            assert_eq!(output, bytes_from(at, output.len()));
                            place.fetch_add(output.len() as u64, Ordering::Relaxed);
                        }
                        Frame::Notice(notice) => assert_eq!(notice["notice"], "connected"),
                    }
                }
            });
        }
        // No faster than the slowest of those who read.
        printer.print(vec![16_384], move |at| {
            let slowest = of_printer.iter().map(|place| place.load(Ordering::Relaxed)).min();
            at < ALL && at < slowest.unwrap_or(0) + 65_536
        });
    });
    for (mut viewer, mut at) in idle {
        let mut last = None;
        while let Some(frame) = viewer.next() {
            if let Frame::Output(output) = &frame {
                assert_eq!(*output, bytes_from(at, output.len()));
                at += output.len() as u64;
            }
            last = Some(frame);
        }
        let expected = Frame::Notice(json!({"notice": "lagged", "offset": at}));
        assert_eq!(last, Some(expected));
        assert!(at < ALL, "it has missed nothing");
    }
    let counted = "\nseriald_clients_dropped_total{cause=\"lagged\"} 10\n";
    let page = super::metrics::page(&served);
    assert!(page.contains(counted), "{page}");
    let printed = printer.stop();
    let text = super::support::logs::whole(&spec.log.path);
    assert_eq!((printed, text.len() as u64), (ALL, ALL));
    assert!((0..ALL).zip(&text).all(|(at, byte)| byte_at(at) == *byte));
}

#[test]
fn one_types_and_whoever_else_would_is_told_who_unless_he_forces() {
    let served = Served::start();
    let (spec, printer) = printing(&served);
    let mut console = printer.console();
    console.set_read_timeout(Some(PATIENCE)).expect("set");
    let (mut spy, _) = Viewer::attach(&served.path, "a", "mode=spy");
    let (mut first, _) = Viewer::attach(&served.path, "a", "");
    let (uid, pid) = (own_uid(), std::process::id());
    let me = json!({"uid": uid, "pid": pid});
    assert_eq!(spy.notice("writer")["writer"], me);
    let told = served.client().get("/v1/vms/a");
    assert_described("GET", "/v1/vms/{id}", &told);
    assert_eq!((&told.json()["viewers"], &told.json()["writer"]), (&json!(2), &me));
    let refused = Viewer::ask(&served.path, "a", "mode=attach", "seriald-raw").err();
    let refused = refused.expect("refused");
    assert_described("GET", "/v1/vms/{id}/console", &refused);
    assert_eq!((refused.status, refused.code().as_str()), (409, "has_writer"));
    let why = format!("user {uid}, process {pid}, types into this console already");
    assert!(String::from_utf8_lossy(&refused.body).contains(&why));
    first.type_in(b"ls\r");
    let mut typed = [0; 3];
    console.read_exact(&mut typed).expect("typed");
    assert_eq!(&typed, b"ls\r");
    let (mut second, _) = Viewer::attach(&served.path, "a", "mode=force");
    assert_eq!(first.notice("spy")["why"], "forced");
    first.type_in(b"nobody reads this");
    first.notice("read_only");
    second.type_in(b"\x03");
    let mut typed = [0; 1];
    console.read_exact(&mut typed).expect("typed");
    assert_eq!(&typed, b"\x03");
    console.write_all(b"printed").expect("sent");
    for viewer in [&mut spy, &mut first, &mut second] {
        assert!(viewer.output_to(b"printed").ends_with(b"printed"));
    }
    drop(second);
    wait_until(PATIENCE, "no writer", || {
        served.client().get("/v1/vms/a").json()["writer"].is_null()
    });
    assert_eq!(served.client().get("/v1/vms/a").json()["viewers"], 2);
    let events = std::fs::read_to_string(spec.log.path.with_extension("log.events"));
    let events = events.expect("events");
    for event in [
        format!("\"event\":\"attached\",\"uid\":{uid},\"pid\":{pid}}}"),
        format!("\"event\":\"detached\",\"uid\":{uid},\"pid\":{pid},\"cause\":\"forced\"}}"),
        format!("\"event\":\"attached\",\"uid\":{uid},\"pid\":{pid},\"forced\":true}}"),
        format!("\"event\":\"detached\",\"uid\":{uid},\"pid\":{pid},\"cause\":\"closed\"}}"),
    ] {
        assert!(events.contains(&event), "{event} is not in {events}");
    }
    let followed = served.client().get("/v1/events");
    assert_described("GET", "/v1/events", &followed);
    let told: Vec<_> = followed.json_lines().into_iter().filter(|one| one["uid"] == uid).collect();
    let expected = ["attached", "detached", "attached", "detached"];
    assert_eq!(told.iter().map(|one| &one["event"]).collect::<Vec<_>>(), expected);
    assert!(told.iter().all(|one| one["pid"] == pid), "{told:?}");
    assert_eq!((&told[1]["cause"], &told[2]["forced"]), (&json!("forced"), &json!(true)));
}

fn own_uid() -> u32 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").expect("/proc").uid()
}

#[test]
fn nobody_types_where_the_configuration_says_so() {
    let served = Served::with(|spec| spec.interactive = false);
    served.adopt(&["a"]);
    for mode in ["attach", "force"] {
        let query = format!("mode={mode}");
        let refused = Viewer::ask(&served.path, "a", &query, "seriald-raw").err();
        let refused = refused.expect("refused");
        assert_eq!((refused.status, refused.code().as_str()), (403, "not_interactive"));
        assert!(String::from_utf8_lossy(&refused.body).contains("interactive"));
    }
    Viewer::attach(&served.path, "a", "mode=spy");
}

#[test]
fn what_is_no_console_is_refused_by_name() {
    let served = Served::start();
    served.adopt(&["a"]);
    let ask = |id: &str, query: &str, protocol: &str| {
        let refused = Viewer::ask(&served.path, id, query, protocol).err().expect("refused");
        assert_described("GET", "/v1/vms/{id}/console", &refused);
        (refused.status, refused.code(), refused.header("Upgrade").map(str::to_owned))
    };
    let both = Some("seriald-raw, seriald-frames".to_owned());
    assert_eq!(ask("a", "", "websocket"), (426, "upgrade_required".into(), both));
    assert_eq!(ask("b", "", "seriald-raw"), (404, "no_such_vm".into(), None));
    for query in ["mode=look", "history=x", "history=1&offset=1", "tail=1"] {
        assert_eq!(ask("a", query, "seriald-raw"), (400, "bad_query".into(), None), "{query}");
    }
}

#[test]
fn a_writer_who_types_nothing_becomes_a_spy_and_is_told() {
    let served = Served::with(|spec| spec.console_idle = Some(Duration::from_millis(50)));
    served.adopt(&["a"]);
    let (mut idle, _) = Viewer::attach(&served.path, "a", "");
    assert_eq!(idle.notice("spy")["why"], "idle");
    assert!(served.client().get("/v1/vms/a").json()["writer"].is_null());
    // It may be the writer again, who then is another.
    Viewer::attach(&served.path, "a", "mode=attach");
}

#[test]
fn a_break_and_what_is_no_frame_are_answered() {
    let served = Served::start();
    served.adopt(&["a"]);
    let (mut viewer, _) = Viewer::attach(&served.path, "a", "");
    viewer.client.send(&frame(b'b', b""));
    let told = viewer.notice("not_known");
    assert!(told["why"].as_str().expect("a reason").contains("has no break"), "{told}");
    viewer.client.send(b"i\xff\xff\xff");
    viewer.notice("bad_frame");
    assert_eq!(viewer.next(), None);
}

#[test]
fn input_waits_for_a_console_and_reaches_it_whole() {
    let served = Served::start();
    let spec = served.spec("a");
    served.adopt(&["a"]);
    let (mut viewer, _) = Viewer::attach(&served.path, "a", "");
    let typed: Vec<u8> = (0..100_000).map(byte_at).collect();
    for piece in typed[..50_000].chunks(1000) {
        viewer.type_in(piece);
    }
    let printer = Printer::at(&spec.serial);
    let mut console = printer.console();
    viewer.notice("connected");
    thread::scope(|scope| {
        scope.spawn(|| {
            for piece in typed[50_000..].chunks(333) {
                viewer.type_in(piece);
            }
        });
        let mut read = vec![0; typed.len()];
        console.set_read_timeout(Some(PATIENCE)).expect("set");
        console.read_exact(&mut read).expect("all of it");
        assert!(read == typed);
    });
}

#[test]
fn a_reboot_keeps_viewers_attached_and_a_release_tells_them() {
    let served = Served::start();
    let (spec, printer) = printing(&served);
    let mut console = printer.console();
    let (mut viewer, _) = Viewer::attach(&served.path, "a", "");
    console.write_all(b"one\n").expect("sent");
    assert_eq!(viewer.output_to(b"one\n"), b"one\n");
    std::fs::remove_file(&spec.serial).expect("the path");
    drop((console, printer));
    viewer.notice("disconnected");
    let printer = Printer::at(&spec.serial);
    let mut console = printer.console();
    viewer.notice("connected");
    console.write_all(b"two\n").expect("sent");
    assert_eq!(viewer.output_to(b"two\n"), b"two\n");
    viewer.type_in(b"typed");
    let mut typed = [0; 5];
    console.set_read_timeout(Some(PATIENCE)).expect("set");
    console.read_exact(&mut typed).expect("typed");
    assert_eq!(&typed, b"typed");
    console.write_all(b"last").expect("sent");
    assert_eq!(served.client().ask("DELETE", "/v1/vms/a", "").status, 202);
    drop(console);
    let mut left = Vec::new();
    loop {
        match viewer.next().expect("a frame") {
            Frame::Output(output) => left.extend(output),
            notice if notice.word() == "console_gone" => break,
            _ => {}
        }
    }
    assert_eq!((left, viewer.next()), (b"last".to_vec(), None));
}
