//! Where the API is asked for, and by whom.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use seriald::limits::{CONTROL_CLIENTS_ADMIN, CONTROL_CLIENTS_MAX};
use seriald::{Config, ControlSpec, Grants, Seriald};

use super::client::Client;
use super::served::{Served, mode};
use super::support::process::output;
use super::support::wait::{PATIENCE, wait_until};

/// The user `nobody`, and a group that it is not in.
const NOBODY: u32 = 65534;
const GROUP: u32 = 4242;

/// What a client of another user gets: the status of its answer. `None` where this test is not
/// root's, who alone can be another.
fn status_for(path: &Path, groups: &[u32], request: &str) -> Option<String> {
    let is_root = fs::metadata("/proc/self").expect("/proc").uid() == 0;
    if !is_root {
        eprintln!("not root: who else may is not looked at");
        return None;
    }
    let script = "import os,socket,sys\n\
        os.setgroups([int(g) for g in sys.argv[3].split(',') if g])\n\
        os.setgid(65534); os.setuid(65534)\n\
        s = socket.socket(socket.AF_UNIX)\n\
        try: s.connect(sys.argv[1])\n\
        except PermissionError: print('refused'); sys.exit()\n\
        try: s.sendall((sys.argv[2] + ' HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n').encode())\n\
        except BrokenPipeError: pass\n\
        print(s.recv(65536).split(b' ')[1].decode())\n";
    let groups = groups.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    let path = path.to_str().expect("UTF-8");
    let ended = output(Command::new("python3").args(["-c", script, path, request, &groups]));
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    Some(String::from_utf8_lossy(&ended.stdout).trim().to_owned())
}

fn open_way(dir: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).expect("its mode");
}

#[test]
fn the_socket_is_its_owners_alone_and_goes_with_the_loop() {
    let served = Served::start();
    assert_eq!(mode(&served.path), 0o600);
    open_way(served.dir.path());
    if let Some(status) = status_for(&served.path, &[], "GET /healthz") {
        assert_eq!(status, "refused");
    }
    let path = served.path.clone();
    let _dir = served.stop();
    assert!(!path.exists());
}

#[test]
fn others_may_what_their_user_or_one_of_their_groups_was_given() {
    let given = |change: fn(&mut ControlSpec)| {
        Served::with(|spec| {
            spec.mode = 0o666;
            change(spec);
        })
    };
    let nobody = given(|_| {});
    let reader = given(|spec| spec.read = Grants { uids: vec![NOBODY], gids: vec![] });
    let group = given(|spec| spec.read = Grants { uids: vec![], gids: vec![GROUP] });
    let admin = given(|spec| spec.admin = Grants { uids: vec![], gids: vec![GROUP] });
    let (get, delete) = ("GET /healthz", "DELETE /v1/vms/a");
    for (served, groups, request, expected) in [
        (&nobody, &[GROUP][..], get, "403"),
        (&reader, &[], get, "200"),
        (&reader, &[], delete, "403"),
        (&group, &[], get, "403"),
        (&group, &[1, GROUP], get, "200"),
        (&group, &[GROUP], delete, "403"),
        (&admin, &[GROUP], delete, "404"),
        (&admin, &[], get, "403"),
    ] {
        assert_eq!(mode(&served.path), 0o666, "whatever the umask");
        open_way(served.dir.path());
        let Some(status) = status_for(&served.path, groups, request) else { return };
        assert_eq!(status, expected, "{groups:?} {request}");
    }
}

#[test]
fn the_socket_gets_the_group_that_it_is_to_have() {
    let own = fs::metadata("/proc/self").expect("/proc");
    let gid = if own.uid() == 0 { GROUP } else { own.gid() };
    let served = Served::with(|spec| {
        spec.group = Some(gid.to_string());
        spec.mode = 0o660;
    });
    let made = fs::metadata(&served.path).expect("the socket");
    assert_eq!((made.gid(), made.mode() & 0o777), (gid, 0o660));
}

fn serve(path: &Path) -> Result<Seriald, String> {
    let mut reactor = Seriald::bind(Config::default()).expect("a loop");
    let served = reactor.serve_control(ControlSpec::new(path));
    served.map(|()| reactor).map_err(|error| error.to_string())
}

#[test]
fn a_dead_socket_is_replaced_and_nothing_else_is() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("c.sock");
    let refused = |what: &str| {
        let error = serve(&path).err().expect("refused");
        let place = format!("control: cannot listen on {}: ", path.display());
        assert_eq!(error, format!("{place}{what}"));
    };
    drop(UnixListener::bind(&path).expect("bound"));
    drop(serve(&path).expect("a dead one is in nobody's way"));
    let alive = UnixListener::bind(&path).expect("the loop has removed its own");
    refused("another process listens there");
    assert!(fs::metadata(&path).expect("it stays").file_type().is_socket());
    drop(alive);
    fs::remove_file(&path).expect("removed");
    fs::write(&path, "a file").expect("written");
    refused("what is there is no socket, and is left alone");
    assert_eq!(fs::read(&path).expect("it stays"), b"a file");
    fs::remove_file(&path).expect("removed");
    std::os::unix::fs::symlink("elsewhere", &path).expect("a link");
    refused("what is there is no socket, and is left alone");
}

#[test]
fn a_second_loop_is_refused_and_the_first_goes_on() {
    let served = Served::start();
    let error = serve(&served.path).err().expect("refused");
    assert!(error.ends_with("another process listens there"), "{error}");
    assert_eq!(served.client().get("/healthz").status, 200);
}

#[test]
fn a_directory_that_is_missing_is_told() {
    let error = serve(Path::new("/no/such/place/c.sock")).err().expect("refused");
    assert!(error.contains("/no/such/place/c.sock: No such file or directory"), "{error}");
}

#[test]
fn a_loop_that_ends_leaves_a_socket_alone_that_is_not_its_own() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("c.sock");
    let reactor = serve(&path).expect("served");
    fs::rename(&path, dir.path().join("mine.sock")).expect("moved");
    let _another = UnixListener::bind(&path).expect("bound");
    drop(reactor);
    assert!(path.exists());
}

#[test]
fn another_place_takes_over_and_the_old_one_is_gone() {
    let dir = tempfile::tempdir().expect("a directory");
    let (old, new) = (dir.path().join("old.sock"), dir.path().join("new.sock"));
    let mut reactor = serve(&old).expect("served");
    reactor.serve_control(ControlSpec::new(&new)).expect("moved");
    assert!(!old.exists() && new.exists());
    // One that can't be bound leaves things as they are.
    let missing = dir.path().join("missing/c.sock");
    reactor.serve_control(ControlSpec::new(missing)).expect_err("refused");
    assert!(new.exists());
    // The same place with another mode.
    let spec = ControlSpec { mode: 0o640, ..ControlSpec::new(&new) };
    reactor.serve_control(spec).expect("bound anew");
    assert_eq!(mode(&new), 0o640);
    reactor.stop_control();
    assert!(!new.exists());
}

/// So many who follow what happens: none of them stands still.
fn followers(served: &Served, count: usize) -> Vec<Client> {
    let follow = |_| {
        let mut client = served.client();
        client.send(b"GET /v1/events?follow=true HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(client.head().status, 200);
        client
    };
    (0..count).map(follow).collect()
}

#[test]
fn more_clients_than_there_may_be_are_told_so() {
    let served = Served::start();
    let mut clients = followers(&served, CONTROL_CLIENTS_MAX);
    let mut refused = served.client();
    assert_eq!(refused.answer().expect("told so").code(), "too_many_clients");
    assert!(refused.is_at_end());
    // One that goes makes room.
    drop(clients.pop());
    wait_until(PATIENCE, "room", || served.client().try_get("/healthz") == Some(200));
    served.adopt(&["a"]);
    for client in &mut clients {
        assert!(client.chunk().is_some(), "it is there still");
    }
}

#[test]
fn no_crowd_of_those_who_may_look_keeps_the_operator_out() {
    let others = CONTROL_CLIENTS_MAX - CONTROL_CLIENTS_ADMIN;
    let served = Served::with(|spec| {
        spec.mode = 0o666;
        spec.read = Grants { uids: vec![NOBODY], gids: vec![] };
    });
    open_way(served.dir.path());
    let mut clients = followers(&served, others - 1);
    let ask = || status_for(&served.path, &[], "GET /healthz");
    let Some(status) = ask() else { return };
    assert_eq!(status, "200");
    wait_until(PATIENCE, "it to be gone", || {
        let page = super::metrics::page(&served);
        page.contains(&format!("seriald_clients{{socket=\"control\"}} {others}\n"))
    });
    clients.extend(followers(&served, 1));
    assert_eq!(ask().as_deref(), Some("503"));
    clients.extend(followers(&served, CONTROL_CLIENTS_ADMIN - 1));
    assert_eq!(served.client().get("/healthz").status, 200);
}

/// What is asked in another thread, while the loop turns in this one.
fn turned<T: Send>(reactor: &mut Seriald, ask: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let asked = scope.spawn(ask);
        while !asked.is_finished() {
            reactor.turn(Some(Duration::from_millis(5))).expect("a turn");
        }
        asked.join().expect("answered")
    })
}

#[test]
fn whoever_came_under_other_grants_has_to_come_anew() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("c.sock");
    let mut reactor = serve(&path).expect("served");
    let mut client = turned(&mut reactor, || {
        let mut client = Client::connect(&path);
        assert_eq!(client.get("/healthz").status, 200);
        client
    });
    reactor.serve_control(ControlSpec::new(&path)).expect("as it was");
    client = turned(&mut reactor, move || {
        assert_eq!(client.get("/healthz").status, 200, "nothing has changed");
        client
    });
    let read = Grants { uids: vec![NOBODY], gids: vec![] };
    reactor.serve_control(ControlSpec { read, ..ControlSpec::new(&path) }).expect("served");
    assert!(turned(&mut reactor, move || client.is_at_end()));
    assert_eq!(turned(&mut reactor, || Client::connect(&path).get("/healthz").status), 200);
}

#[test]
fn a_vm_that_is_put_again_has_the_limits_of_the_last_time() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("c.sock");
    let mut reactor = serve(&path).expect("served");
    for max_bytes in [4096, 8192] {
        let log = dir.path().join("a.log");
        let log = serde_json::json!({"path": log, "max_bytes": max_bytes});
        let body = serde_json::json!({"serial": "/s", "log": log}).to_string();
        let put = || Client::connect(&path).ask("PUT", "/v1/vms/a", &body).status;
        assert!(matches!(turned(&mut reactor, put), 200 | 201));
        let vm = reactor.find("a").expect("it is in charge");
        assert_eq!(reactor.spec(vm).map(|spec| spec.log.max_bytes), Some(max_bytes));
        assert!(reactor.is_requested(vm));
    }
}
