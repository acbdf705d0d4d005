//! `seriald run`.

use crate::family::output;
use crate::program::{DEADLINE, Running, ended, seriald, tree, wait_until};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

pub fn dir() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

pub fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// `id=..,serial=..,log=..` of a VM in a directory.
pub fn vm(dir: &Path, id: &str) -> String {
    let path = |name: &str| dir.join(format!("{id}.{name}"));
    format!("id={id},serial={},log={}", path("sock").display(), path("log").display())
}

/// A VM's end of the serial port.
pub struct Port {
    pub listener: UnixListener,
}

impl Port {
    pub fn bind(dir: &Path, id: &str) -> Port {
        let path = dir.join(format!("{id}.sock"));
        Port { listener: UnixListener::bind(path).expect("bound") }
    }

    pub fn accept(&self) -> UnixStream {
        self.listener.set_nonblocking(true).expect("set");
        let mut stream = None;
        wait_until("a client comes", || {
            stream = self.listener.accept().ok();
            stream.is_some()
        });
        let stream = stream.expect("a client").0;
        stream.set_nonblocking(false).expect("set");
        stream.set_read_timeout(Some(DEADLINE)).expect("set");
        stream
    }
}

/// Answers the leaving client's end of stream as CH does: by ending the stream.
pub fn let_go(mut stream: UnixStream) {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).expect("until the client's end");
    assert!(rest.is_empty(), "{rest:?}");
}

#[test]
fn nothing_to_run_is_a_usage_error() {
    let dir = dir();
    let config = dir.path().join("c.json");
    fs::write(&config, "{}").expect("written");
    let nothing = "nothing to run: name VMs by --instance, by --vm, by --watch, or in a file by \
                   --config (see `seriald run --help`)";
    for args in [&["run"][..], &["run", "--check"]] {
        ended(args).is(2, &format!("seriald: {nothing}"));
    }
    let name = text(&config);
    ended(&["run", "--config", name]).is(1, &format!("seriald: {name} names no VM: {nothing}"));
    fs::write(&config, " \n").expect("written");
    ended(&["run", "--config", name]).is(1, &format!("seriald: {name}: is empty"));
}

#[test]
fn paths_that_cannot_go_together_are_refused_by_check_too() {
    let dir = dir();
    let run = |arguments: [&str; 2]| {
        let vms = arguments.iter().flat_map(|vm| ["--vm", vm]);
        let words: Vec<&str> = ["run", "--check"].into_iter().chain(vms).collect();
        let mut command = Command::new(env!("CARGO_BIN_EXE_seriald"));
        output(command.args(words).current_dir(dir.path()), DEADLINE)
    };
    for (one, other, why) in [
        ("id=a,serial=s,log=l", "id=b,serial=t,log=l.1", "are each other's backup"),
        ("id=a,serial=s,log=l.2", "id=b,serial=t,log=l", "are each other's backup"),
        ("id=a,serial=s,log=l,api=p", "id=b,serial=t,log=m,api=p", "p is already taken, by"),
        ("id=a,serial=s,log=l", "id=b,serial=t,log=t", "serial t is the log's path too"),
        ("id=a,serial=s,log=l", "id=b,serial=t,log=m,api=t", "api t is the serial socket's too"),
    ] {
        let end = run([one, other]);
        let said = String::from_utf8_lossy(&end.stderr).into_owned();
        assert!(!end.status.success() && said.contains(why), "{said}");
    }
    assert_eq!(fs::read_dir(dir.path()).expect("the directory").count(), 0);
}

#[test]
fn an_answer_that_cannot_be_written_is_a_failure_and_no_panic() {
    let run = |arguments: &str| {
        let mut command = Command::new("sh");
        let script = format!("exec {:?} {arguments}", env!("CARGO_BIN_EXE_seriald"));
        Running::start({
            command.args(["-c", &script]);
            command
        })
        .end()
    };
    run("run --check --vm id=a,serial=s,log=l >/dev/full").has(1, "cannot write to stdout");
    assert_eq!(run("run 2>/dev/full").code, Some(2));
}

#[test]
fn a_wrong_configuration_is_refused_with_its_place_and_nothing_is_made() {
    let dir = dir();
    let config = dir.path().join("c.json");
    let name = text(&config);
    ended(&["run", "--config", name])
        .is(1, &format!("seriald: {name}: cannot be read: No such file or directory (os error 2)"));
    let cases = [
        (
            "{\"vms\": [\n  {\"dir\": \"a\"},\n  {\"dir\": \"b\", \"log\": {\"max_byte\": 1}}\n]}",
            ":3:24: vms[1].log: unknown key \"max_byte\", did you mean \"max_bytes\"?",
        ),
        ("{\"vms\": [{]}", ":1:11: not JSON: key must be a string"),
        ("{\"log\": {\"keep\": \"4\"}}", ":1:18: log.keep: must be a whole number, is a string"),
        (
            "{\"colours\": \"/run/c.sock\"}",
            ":1:2: unknown key \"colours\", the keys here are: control, metrics, coalesce_us, \
             dial_timeout_s, hold_bytes_total, host_rate_bytes, host_burst_bytes, \
             after_rotate_parallel, log, watch, instances, vms",
        ),
    ];
    for (content, message) in cases {
        fs::write(&config, content).expect("written");
        for check in [&["--check"][..], &[]] {
            let args = [&["run", "--config", name], check].concat();
            ended(&args).is(1, &format!("seriald: {name}{message}"));
        }
    }
    fs::write(&config, b"{\"vms\": \"\xff\"}").expect("written");
    ended(&["run", "--config", name])
        .is(1, &format!("seriald: {name}: byte 9 is not UTF-8, which JSON must be"));
    assert_eq!(tree(dir.path()), [config]);
}

#[test]
fn a_check_counts_the_vms_and_touches_nothing() {
    let dir = dir();
    let config = dir.path().join("c.json");
    let a = dir.path().join("a");
    let instances = serde_json::json!({"instances": [a], "vms": [{"dir": dir.path().join("b")}]});
    fs::write(&config, instances.to_string()).expect("written");
    let vm = vm(dir.path(), "c");
    let checked = ended(&["run", "--config", text(&config), "--vm", &vm, "--check"]);
    assert_eq!((checked.code, checked.err.as_str()), (Some(0), ""));
    assert_eq!(checked.out, "VMs to run: 3. Nothing is wrong.\n");
    assert_eq!(tree(dir.path()), [config]);
}

#[test]
fn a_wrong_vm_on_the_command_line_is_a_usage_error() {
    ended(&["run", "--vm", "id=a,serial=s"])
        .is(2, "seriald: --vm id=a,serial=s: key \"log\" is missing");
    ended(&["run", "--instance", "/a b"])
        .is(2, "seriald: instance /a b: VM \"a b\": id must match [A-Za-z0-9][A-Za-z0-9._-]{0,63}");
    ended(&["run", "--instance", "/x/a", "--instance", "/y/a"])
        .is(2, "seriald: --instance /y/a: id a is already taken, by --instance /x/a");
    let same = "id=b,serial=/x/a/serial.sock,log=l";
    ended(&["run", "--instance", "/x/a", "--vm", same]).is(
        2,
        &format!(
            "seriald: --vm {same}: serial /x/a/serial.sock is already taken, by --instance /x/a"
        ),
    );
}

#[test]
fn bytes_reach_the_log_and_a_signal_drains_and_ends_with_0() {
    for signal in ["TERM", "INT"] {
        let dir = dir();
        let port = Port::bind(dir.path(), "a");
        let run = Running::start(seriald(&["run", "--vm", &vm(dir.path(), "a")]));
        let mut stream = port.accept();
        stream.write_all(b"before\n").expect("sent");
        let log = dir.path().join("a.log");
        wait_until("the log has it", || fs::read(&log).is_ok_and(|got| got == b"before\n"));
        stream.write_all(b"in the socket\n").expect("sent");
        run.signal(signal);
        let_go(stream);
        let end = run.end();
        assert_eq!((end.code, end.err.as_str()), (Some(0), ""));
        assert_eq!(fs::read_to_string(&log).expect("read"), "before\nin the socket\n");
    }
}

#[test]
fn a_vm_that_is_refused_holds_no_other_back() {
    let dir = dir();
    fs::write(dir.path().join("target"), "untouched").expect("written");
    symlink(dir.path().join("target"), dir.path().join("bad.log")).expect("linked");
    let port = Port::bind(dir.path(), "good");
    let (bad, good) = (vm(dir.path(), "bad"), vm(dir.path(), "good"));
    let run = Running::start(seriald(&["run", "--vm", &bad, "--vm", &good]));
    let mut stream = port.accept();
    stream.write_all(b"here\n").expect("sent");
    let log = dir.path().join("good.log");
    wait_until("the log has it", || fs::read(&log).is_ok_and(|got| got == b"here\n"));
    run.signal("TERM");
    let_go(stream);
    let end = run.end();
    end.has(0, "seriald: VM \"bad\": ");
    assert!(end.err.contains("bad.log") && end.err.lines().count() == 1, "{}", end.err);
    assert_eq!(fs::read_to_string(dir.path().join("target")).expect("read"), "untouched");
}

#[test]
fn no_vm_left_is_exit_code_1() {
    let dir = dir();
    symlink("nowhere", dir.path().join("a.log")).expect("linked");
    let end = ended(&["run", "--vm", &vm(dir.path(), "a")]);
    end.has(1, "seriald: VM \"a\": ");
    assert!(end.err.ends_with("seriald: no VM is left to run\n"), "{}", end.err);
    assert_eq!(tree(dir.path()), [dir.path().join("a.log")]);
}

#[test]
fn a_second_seriald_refuses_the_vm_of_the_first() {
    let dir = dir();
    let port = Port::bind(dir.path(), "a");
    let vm = vm(dir.path(), "a");
    let first = Running::start(seriald(&["run", "--vm", &vm]));
    let mut stream = port.accept();
    let second = ended(&["run", "--vm", &vm]);
    second.has(1, "seriald: VM \"a\": ");
    assert!(second.err.contains("a.log"), "{}", second.err);
    stream.write_all(b"still the first's\n").expect("sent");
    first.signal("TERM");
    let_go(stream);
    assert_eq!(first.end().code, Some(0));
    let log = fs::read_to_string(dir.path().join("a.log")).expect("read");
    assert_eq!(log, "still the first's\n");
}

#[test]
fn out_of_descriptors_is_said_and_hurts_no_other_vm() {
    let dir = dir();
    let ids: Vec<String> = (0..40).map(|n| format!("vm{n}")).collect();
    let ports: Vec<Port> = ids.iter().map(|id| Port::bind(dir.path(), id)).collect();
    let script = "ulimit -n 128; exec \"$0\" \"$@\" 2>err";
    let mut command = Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_seriald"), "run"]).env("RUST_LOG", "off");
    command.current_dir(dir.path());
    for id in &ids {
        command.args(["--vm", &vm(dir.path(), id)]);
    }
    let run = Running::start(command);
    let mut stream = ports[0].accept();
    stream.write_all(b"served\n").expect("sent");
    let log = dir.path().join("vm0.log");
    wait_until("the log has it", || fs::read(&log).is_ok_and(|got| got == b"served\n"));
    // 64 and 12 are set aside, ten for each VM.
    let words = "seriald: out of descriptors: 5 VMs are all that RLIMIT_NOFILE 128 is enough for; \
                 35 more, VM \"vm10\" among them, wait until others end, or for a start with the \
                 hard limit at 476 (LimitNOFILE= in systemd, ulimit -Hn)\n";
    let told = || fs::read_to_string(dir.path().join("err")).unwrap_or_default();
    wait_until("it is told", || told() == words);
    run.signal("TERM");
    drop(ports);
    let_go(stream);
    assert_eq!(run.end().code, Some(0));
    assert_eq!(told(), words, "once");
}

#[test]
fn the_first_vms_are_dialed_and_read_while_the_last_are_yet_to_be_adopted() {
    let dir = dir();
    let ids: Vec<String> = (0..300).map(|n| format!("vm{n}")).collect();
    let ports: Vec<Port> = ids.iter().map(|id| Port::bind(dir.path(), id)).collect();
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$0\" \"$@\" 2>err", env!("CARGO_BIN_EXE_seriald"), "run"]);
    command.env("RUST_LOG", "debug").current_dir(dir.path());
    for id in &ids {
        command.args(["--vm", &vm(dir.path(), id)]);
    }
    let run = Running::start(command);
    let told = || fs::read_to_string(dir.path().join("err")).unwrap_or_default();
    wait_until("all are dialed", || told().matches(": connected").count() == ids.len());
    drop(ports);
    run.signal("TERM");
    assert_eq!(run.end().code, Some(0));
    let told = told();
    let connected = told.find("VM vm0: connected").expect("the first is dialed");
    let adopted = told.find("VM vm299: adopted").expect("the last is adopted");
    assert!(connected < adopted, "the first waits for the last");
    assert!(told.contains("300 VMs in charge"));
}
