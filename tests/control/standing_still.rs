//! What depends on a time, or on the order of things within a turn: by a clock that stands still
//! and a loop that turns when it is told to.

use std::cell::RefCell;
use std::io::Write;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use seriald::ch::api::Call;
use seriald::{Config, ControlSpec, Reactor, VmId, VmSpec, limits};
use tempfile::TempDir;

use super::client::{Answer, Client};
use super::launching::deaf;
use super::noting::{Noting, Pauses, noted_loop, settle};
use super::requests::refused;
use super::support::account::Account;
use super::support::embedded::spec;
use super::support::wait::{PATIENCE, wait_for, wait_until};
use super::viewer::{Frame, Viewer};

pub struct Still {
    pub reactor: Reactor<Noting>,
    pub pauses: Rc<RefCell<Pauses>>,
    pub path: PathBuf,
    pub dir: TempDir,
}

pub const JUST: Duration = Duration::from_millis(1);

/// So much of a console is kept for those who look at it: more than any socket takes.
const KEPT: usize = 1 << 20;

impl Still {
    pub fn new() -> Still {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("c.sock");
        let (mut reactor, pauses) = noted_loop(Config::default());
        let kept = ControlSpec { viewer_buffer_bytes: KEPT, ..ControlSpec::new(&path) };
        reactor.serve_control(kept).expect("served");
        settle(&mut reactor);
        let mut noted = pauses.borrow_mut();
        noted.clock = Some(noted.seen);
        drop(noted);
        Still { reactor, pauses, path, dir }
    }

    fn spec(&self) -> VmSpec {
        spec("a", self.dir.path(), 1 << 20)
    }

    /// Lets time pass, and the loop do what is due then.
    pub fn pass(&mut self, time: Duration) {
        let mut pauses = self.pauses.borrow_mut();
        pauses.clock = pauses.clock.map(|now| now + time);
        drop(pauses);
        settle(&mut self.reactor);
    }

    /// Time passes a little at a time, until this is so.
    pub fn pass_until(&mut self, what: &str, is_so: impl Fn(&Still) -> bool) {
        wait_until(PATIENCE, what, || {
            self.pass(JUST);
            is_so(self)
        });
    }

    /// Does this in another thread while the loop turns here, and no time passes.
    pub fn meanwhile<T: Send>(&mut self, act: impl FnOnce(&PathBuf) -> T + Send) -> T {
        let (path, reactor) = (&self.path, &mut self.reactor);
        thread::scope(|scope| {
            let acts = scope.spawn(|| act(path));
            while !acts.is_finished() {
                reactor.turn(Some(JUST)).expect("a turn");
            }
            acts.join().expect("it went well")
        })
    }

    pub fn ask(&mut self, method: &str, what: &str, body: &Value) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let path = format!("/v1/vms/a{what}");
        self.meanwhile(|socket| Client::connect(socket).ask(method, &path, &body))
    }

    /// A client that has asked this, of which the loop knows nothing yet.
    pub fn asking(&self, method: &str, what: &str, body: &Value) -> Client {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let length = body.len();
        let head = format!("{method} /v1/vms/a{what} HTTP/1.1\r\nHost: x\r\n");
        let mut client = Client::connect(&self.path);
        client.send(format!("{head}Content-Length: {length}\r\n\r\n{body}").as_bytes());
        client
    }

    /// Takes charge of a VM whose VMM is this test.
    pub fn adopt(&mut self) -> (VmId, UnixStream) {
        let spec = self.spec();
        let listener = UnixListener::bind(&spec.serial).expect("bound");
        listener.set_nonblocking(true).expect("set");
        let vm = self.reactor.adopt(spec).expect("adopted");
        let reactor = &mut self.reactor;
        let console = wait_for(PATIENCE, "a client", || {
            reactor.turn(Some(JUST)).expect("a turn");
            listener.accept().ok()
        });
        (vm, console.0)
    }
}

#[test]
fn a_vm_that_is_being_let_go_of_is_left_alone_by_everything_but_another_release() {
    let mut still = Still::new();
    let (_, mut console) = still.adopt();
    console.write_all(b"printed").expect("sent");
    assert_eq!(still.ask("DELETE", "", &Value::Null).status, 202);
    let told = still.ask("GET", "", &Value::Null).json();
    assert_eq!(told["state"], "leaving", "{told}");
    let (serial, log) = (still.spec().serial, still.spec().log.path);
    let put = json!({"serial": serial, "log": log});
    let launch = json!({"dir": still.dir.path(), "launch": {"config": {}}});
    for (method, what, body) in [
        ("PUT", "", &put),
        ("PUT", "", &launch),
        ("POST", "/shutdown", &Value::Null),
        ("POST", "/shutdown?vmm=true", &Value::Null),
        ("POST", "/reboot", &Value::Null),
        ("POST", "/snapshot", &json!({"url": "file:///tmp"})),
    ] {
        let answer = still.ask(method, what, body);
        assert_eq!(refused(&answer), (409, "leaving".into()), "{method} {what}");
    }
    // One that is being let go of already is no less let go of.
    assert_eq!(still.ask("DELETE", "", &Value::Null).status, 202);
    still.pass(limits::LEAVE_DEADLINE);
    assert_eq!(still.ask("DELETE", "", &Value::Null).status, 404);
}

#[test]
fn a_launch_that_failed_within_this_turn_is_asked_for_nothing_more() {
    let mut still = Still::new();
    let (dir, log) = (still.dir.path(), still.spec().log.path);
    let vmm = json!(["/no/such/vmm"]);
    let body = json!({"dir": dir, "log": log, "launch": {"vmm": vmm, "config": {}}});
    let mut first = still.asking("PUT", "", &body);
    // They are served in the turn in which it fails, before its name is free.
    let after = [
        still.asking("POST", "/shutdown", &Value::Null),
        still.asking("POST", "/reboot", &Value::Null),
        still.asking("PUT", "", &body),
    ];
    let mut release = still.asking("DELETE", "", &Value::Null);
    settle(&mut still.reactor);
    assert_eq!(refused(&first.answer().expect("an answer")), (502, "launch_failed".into()));
    for mut client in after {
        assert_eq!(refused(&client.answer().expect("an answer")), (409, "leaving".into()));
    }
    assert_eq!(release.answer().expect("an answer").status, 202);
}

#[test]
fn a_launch_and_a_call_have_ten_minutes_unless_they_are_given_others() {
    let mut still = Still::new();
    let (mut body, asked) = deaf(still.dir.path());
    body["launch"].as_object_mut().expect("an object").remove("launch_timeout_s");
    let mut launch = still.asking("PUT", "", &body);
    // It is asked again and again whether it is there.
    let mut passed = Duration::ZERO;
    wait_until(PATIENCE, "vm.create", || {
        still.pass(JUST);
        passed += JUST;
        asked.exists()
    });
    still.pass(limits::API_OPERATION_DEADLINE - passed - JUST);
    // It was asked for within the first of them.
    assert_eq!(still.reactor.next_wake(), Some(2 * JUST), "it is waited for still");
    still.pass(JUST);
    still.pass_until("its end", |still| still.reactor.find("a").is_none());
    let told = launch.answer().expect("an answer");
    assert_eq!(refused(&told), (504, "launch_failed".into()));
    // A call of a VM that is there already.
    let api = UnixListener::bind(still.dir.path().join("api.sock")).expect("bound");
    let spec = VmSpec { api: Some(still.dir.path().join("api.sock")), ..still.spec() };
    still.reactor.adopt(spec).expect("adopted");
    let mut call = still.asking("POST", "/reboot", &Value::Null);
    settle(&mut still.reactor);
    let _silent = api.accept().expect("asked");
    still.pass(limits::API_OPERATION_DEADLINE - JUST);
    assert!(still.reactor.next_wake().is_some_and(|wake| wake <= JUST), "it waits still");
    still.pass(JUST);
    assert_eq!(refused(&call.answer().expect("an answer")), (504, "vmm_silent".into()));
}

#[test]
fn a_request_for_a_vm_whose_embedder_asks_too_much_is_refused_and_its_client_goes_on() {
    let mut still = Still::new();
    let api = UnixListener::bind(still.dir.path().join("api.sock")).expect("bound");
    let spec = VmSpec { api: Some(still.dir.path().join("api.sock")), ..still.spec() };
    let vm = still.reactor.adopt(spec).expect("adopted");
    while still.reactor.call(vm, Call::Info) {}
    let (refused_so, then) = still.meanwhile(|path| {
        let mut client = Client::connect(path);
        let answer = client.ask("POST", "/v1/vms/a/reboot", "");
        (refused(&answer), client.get("/healthz").status)
    });
    assert_eq!((refused_so, then), ((409, "busy".into()), 200));
    drop(api);
}

#[test]
fn who_types_now_and_then_is_no_idle_writer_and_who_types_no_more_is_told() {
    let mut still = Still::new();
    let (_, _console) = still.adopt();
    let mut viewer = still.meanwhile(|path| Viewer::attach(path, "a", "").0);
    let writes =
        |still: &mut Still| still.ask("GET", "", &Value::Null).json()["writer"].is_object();
    for _ in 0..3 {
        still.pass(limits::CONSOLE_IDLE - JUST);
        assert!(writes(&mut still));
        viewer.type_in(b"x");
        settle(&mut still.reactor);
    }
    still.pass(limits::CONSOLE_IDLE - JUST);
    assert!(writes(&mut still));
    still.pass(JUST);
    assert!(!writes(&mut still));
    assert_eq!(viewer.notice("spy")["why"], "idle");
    assert_eq!(detached(&still), ["idle"]);
}

/// Why those who typed do so no more, by the VM's own account.
fn detached(still: &Still) -> Vec<String> {
    let account = Account::of(&still.spec().log.path);
    let causes = account.of_kind("detached").map(|line| line["cause"].as_str().expect("a word"));
    causes.map(str::to_owned).collect()
}

/// Prints so much, all of which is read.
fn print(still: &mut Still, console: &mut UnixStream, bytes: usize) {
    console.set_nonblocking(true).expect("set");
    for _ in 0..bytes / 4096 {
        console.write_all(&[b'.'; 4096]).expect("it is read");
        still.pass(limits::WATCH_INTERVAL);
    }
}

/// A writer whose socket is full of what the guest has printed, half of what is kept for him.
fn stuck(still: &mut Still, console: &mut UnixStream) -> Viewer {
    let (viewer, _) = still.meanwhile(|path| Viewer::attach(path, "a", ""));
    print(still, console, KEPT / 2);
    viewer
}

#[test]
fn a_writer_who_takes_nothing_for_too_long_leaves_his_place_and_why_is_noted() {
    let mut still = Still::new();
    let (_, mut console) = still.adopt();
    let _viewer = stuck(&mut still, &mut console);
    let told = still.ask("GET", "", &Value::Null).json();
    assert_eq!((told["writer"].is_object(), &told["viewers"]), (true, &json!(1)));
    still.pass(limits::CONTROL_ROOM_DEADLINE);
    let told = still.ask("GET", "", &Value::Null).json();
    assert_eq!((told["writer"].is_object(), &told["viewers"]), (false, &json!(0)));
    assert_eq!(detached(&still), ["late"]);
}

#[test]
fn a_writer_who_goes_with_a_full_socket_leaves_his_place() {
    let mut still = Still::new();
    let (_, mut console) = still.adopt();
    drop(stuck(&mut still, &mut console));
    settle(&mut still.reactor);
    let told = still.ask("GET", "", &Value::Null).json();
    assert_eq!((told["writer"].is_object(), &told["viewers"]), (false, &json!(0)));
    assert_eq!(detached(&still), ["closed"]);
}

#[test]
fn a_writer_who_lags_behind_leaves_his_place_and_why_is_noted() {
    let mut still = Still::new();
    let (_, mut console) = still.adopt();
    let mut viewer = stuck(&mut still, &mut console);
    print(&mut still, &mut console, KEPT);
    settle(&mut still.reactor);
    still.meanwhile(|_| viewer.notice("lagged"));
    assert_eq!(detached(&still), ["lagged"]);
    assert!(still.ask("GET", "", &Value::Null).json()["writer"].is_null());
}

#[test]
fn what_a_writer_has_typed_into_no_console_goes_with_his_place() {
    let mut still = Still::new();
    let spec = still.spec();
    still.reactor.adopt(spec.clone()).expect("adopted");
    let mut first = still.meanwhile(|path| Viewer::attach(path, "a", "").0);
    first.type_in(b"rm -rf /\r");
    settle(&mut still.reactor);
    let mut second = still.meanwhile(|path| Viewer::attach(path, "a", "mode=force").0);
    let told = [first.next(), first.next()].map(|frame| frame.map(|f| f.word().to_owned()));
    assert_eq!(told, [Some("spy".to_owned()), Some("writer".to_owned())]);
    let listener = UnixListener::bind(&spec.serial).expect("bound");
    listener.set_nonblocking(true).expect("set");
    let reactor = &mut still.reactor;
    let (mut console, _) = wait_for(PATIENCE, "a client", || {
        reactor.turn(Some(JUST)).expect("a turn");
        listener.accept().ok()
    });
    second.type_in(b"ls");
    settle(&mut still.reactor);
    still.meanwhile(|_| {
        let mut typed = [0; 64];
        console.set_read_timeout(Some(PATIENCE)).expect("set");
        let n = std::io::Read::read(&mut console, &mut typed).expect("typed");
        assert_eq!(&typed[..n], b"ls");
    });
    // A notice of his own is yet to come: nothing else came before the console.
    assert!(matches!(first.next(), Some(Frame::Notice(told)) if told["notice"] == "connected"));
    // Whoever comes as a spy is told who types.
    let (mut spy, _) = still.meanwhile(|path| Viewer::attach(path, "a", "mode=spy"));
    assert!(spy.notice("writer")["writer"].is_object());
}

#[test]
fn events_that_nobody_could_follow_are_not_gone_on_with() {
    let mut still = Still::new();
    let (vm, _console) = still.adopt();
    let told = still.meanwhile(|path| Client::connect(path).get("/v1/events").json_lines());
    let last = told.last().expect("adopted")["id"].as_str().expect("an id").to_owned();
    still.reactor.stop_control();
    still.reactor.release(vm);
    still.pass(limits::LEAVE_DEADLINE);
    still.reactor.serve_control(ControlSpec::new(still.path.clone())).expect("served");
    let after = format!("/v1/events?after={last}");
    let told = still.meanwhile(|path| Client::connect(path).get(&after).json_lines());
    assert_eq!((&told[0]["event"], &told[0]["events"]), (&json!("missed"), &Value::Null));
    assert_eq!(told.len(), 1);
}

#[test]
fn a_follower_of_one_vm_takes_no_longer_than_others_whatever_there_is_of_others() {
    let mut still = Still::new();
    let lines = 8 * limits::FEED_LINES_A_PIECE;
    for n in 0..lines / 2 {
        let vm = still.reactor.adopt(spec(&format!("b{n}"), still.dir.path(), 4096));
        still.reactor.release(vm.expect("adopted"));
        settle(&mut still.reactor);
    }
    let mut client = Client::connect(&still.path);
    client.send(b"GET /v1/events?vm=none HTTP/1.1\r\nHost: x\r\n\r\n");
    client.stream.set_nonblocking(true).expect("set");
    let mut turns = 0;
    let mut got = Vec::new();
    while !got.ends_with(b"0\r\n\r\n") {
        still.reactor.turn(Some(Duration::ZERO)).expect("a turn");
        turns += 1;
        assert!(turns < 10_000, "no answer");
        let mut piece = [0; 4096];
        if let Ok(n) = std::io::Read::read(&mut client.stream, &mut piece) {
            got.extend_from_slice(&piece[..n]);
        }
    }
    assert!(turns >= lines / limits::FEED_LINES_A_PIECE, "{turns} turns");
}
