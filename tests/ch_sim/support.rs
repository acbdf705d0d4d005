//! What the tests share: a VMM in its own directory, API calls, serial clients, waiting.
//!
//! **Invariant:** nothing sleeps for a fixed time to be "surely ready"; every wait has a condition
//! and a deadline. (Where a test shows that nothing comes, it says how long it listens.)

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::ch_sim::ledger::Ledger;
use crate::ch_sim::transcript;

/// Nothing that is waited for takes longer, even on a machine that is busy.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Waits until the condition holds.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// What is run as the VMM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    V53,
    V52,
    /// The real one that `CLOUD_HYPERVISOR` names, with the guest of `CLOUD_HYPERVISOR_GUEST`.
    Real,
}

impl Program {
    /// Both simulated releases, and the real one where the environment names it.
    pub fn all() -> Vec<Self> {
        let mut all = vec![Self::V53, Self::V52];
        if real("CLOUD_HYPERVISOR").is_some() && real("CLOUD_HYPERVISOR_GUEST").is_some() {
            all.push(Self::Real);
        }
        all
    }

    pub fn is_real(self) -> bool {
        self == Self::Real
    }
}

fn real(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}

/// A VMM and its directory.
pub struct Vmm {
    pub program: Program,
    pub dir: TempDir,
    pub child: Child,
}

/// An HTTP answer.
#[derive(Debug)]
pub struct Answer {
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn status(&self) -> u16 {
        self.head[9..12].parse().expect("a status")
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    /// The words of a refusal, joined.
    pub fn words(&self) -> String {
        let words: Vec<String> = serde_json::from_slice(&self.body).expect("an array of strings");
        words.join(": ")
    }
}

impl Vmm {
    pub fn start(program: Program) -> Self {
        Self::start_with(program, &[])
    }

    pub fn start_with(program: Program, args: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let child = Self::spawn(program, dir.path(), args);
        Self {
            program,
            dir,
            child,
        }
    }

    /// Ends this VMM and starts another in its directory.
    pub fn replace(&mut self) {
        let _ = self.child.kill();
        self.child.wait().expect("reaped");
        self.child = Self::spawn(self.program, self.dir.path(), &[]);
    }

    fn spawn(program: Program, dir: &Path, args: &[&str]) -> Child {
        let mut command = match program {
            Program::V53 => sim("v53"),
            Program::V52 => sim("v52"),
            Program::Real => Command::new(real("CLOUD_HYPERVISOR").expect("a path")),
        };
        let api = dir.join("api");
        let _ = std::fs::remove_file(&api);
        let child = command
            .current_dir(dir)
            .args(["--api-socket", "path=api"])
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("started");
        wait_until("the API socket", || UnixStream::connect(&api).is_ok());
        child
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Whether something is at this path.
    pub fn has(&self, name: &str) -> bool {
        self.path(name).symlink_metadata().is_ok()
    }

    pub fn kernel(&self) -> String {
        match self.program {
            Program::Real => real("CLOUD_HYPERVISOR_GUEST")
                .expect("a path")
                .display()
                .to_string(),
            _ => "/dev/null".to_string(),
        }
    }

    /// A configuration with the serial socket at `serial`.
    pub fn config(&self, cmdline: &str) -> Value {
        json!({
            "payload": {"kernel": self.kernel(), "cmdline": cmdline},
            "serial": {"mode": "Socket", "socket": self.path("serial")},
            "console": {"mode": "Off"},
            "memory": {"size": 67_108_864},
            "cpus": {"boot_vcpus": 1, "max_vcpus": 1},
        })
    }

    pub fn api(&self) -> UnixStream {
        connect(&self.path("api"))
    }

    pub fn call(&self, method: &str, name: &str, body: Option<&Value>) -> Answer {
        let body = body.map(Value::to_string);
        let mut stream = self.api();
        let request = request(method, name, body.as_deref());
        stream.write_all(request.as_bytes()).expect("sent");
        read_answer(&mut stream).expect("an answer")
    }

    pub fn put(&self, name: &str) -> Answer {
        self.call("PUT", name, None)
    }

    pub fn put_json(&self, name: &str, body: &Value) -> Answer {
        self.call("PUT", name, Some(body))
    }

    pub fn get(&self, name: &str) -> Answer {
        self.call("GET", name, None)
    }

    /// Carries out calls that must succeed with 204.
    pub fn done(&self, name: &str) {
        let answer = self.put(name);
        assert_eq!(answer.status(), 204, "{name}: {answer:?}");
    }

    pub fn create(&self, cmdline: &str) {
        let answer = self.put_json("vm.create", &self.config(cmdline));
        assert_eq!(answer.status(), 204, "{answer:?}");
    }

    pub fn state(&self) -> String {
        self.get("vm.info").json()["state"]
            .as_str()
            .expect("a state")
            .to_string()
    }

    /// Connects to the serial socket, which must be there.
    pub fn serial(&self) -> UnixStream {
        connect(&self.path("serial"))
    }

    /// Connects to the serial socket, as soon as it lets anybody in.
    pub fn serial_when_there(&self) -> UnixStream {
        let mut stream = None;
        wait_until("a serial connection", || {
            stream = UnixStream::connect(self.path("serial")).ok();
            stream.is_some()
        });
        let stream = stream.expect("a stream");
        stream.set_read_timeout(Some(DEADLINE)).expect("set");
        stream
    }

    /// Creates, connects, boots.
    pub fn boot(&self, cmdline: &str) -> UnixStream {
        self.create(cmdline);
        let stream = self.serial();
        self.done("vm.boot");
        stream
    }

    /// The ledger as it is now.
    pub fn ledger(&self) -> Ledger {
        if self.path("api").symlink_metadata().is_ok() {
            let answer = self.get("ch-sim.ledger");
            assert_eq!(answer.status(), 200);
        }
        Ledger::read(&self.path("ledger.json")).expect("a ledger")
    }

    /// What the ledger says was handed over.
    pub fn handed_over(&self) -> Vec<u8> {
        transcript::bytes(&self.ledger())
    }

    pub fn wait_for_printed(&self, bytes: u64) {
        wait_until("the guest's output", || {
            self.ledger().sum().printed >= bytes
        });
    }

    pub fn exit(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until("the VMM's exit", || {
            status = self.child.try_wait().expect("waited");
            status.is_some()
        });
        status.expect("a status")
    }

    /// Sends a signal by name, as `kill -TERM` does.
    pub fn signal(&self, name: &str) {
        signal(&self.child, name);
    }
}

impl Drop for Vmm {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn signal(child: &Child, name: &str) {
    let pid = child.id().to_string();
    let done = Command::new("kill")
        .args([&format!("-{name}"), &pid])
        .status();
    assert!(done.expect("kill").success());
}

pub fn sim(release: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ch-sim"));
    command.args(["--as", release]);
    command
}

pub fn connect(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).expect("connected");
    stream.set_read_timeout(Some(DEADLINE)).expect("set");
    stream
}

pub fn request(method: &str, name: &str, body: Option<&str>) -> String {
    let length = match body {
        Some(body) => format!("Content-Length: {}\r\n", body.len()),
        None => String::new(),
    };
    let body = body.unwrap_or_default();
    format!("{method} /api/v1/{name} HTTP/1.1\r\nHost: localhost\r\n{length}\r\n{body}")
}

/// Reads one answer, its body by Content-Length.
pub fn read_answer(stream: &mut UnixStream) -> io::Result<Answer> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).expect("text");
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("Content-Length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().expect("a number"))];
    stream.read_exact(&mut body)?;
    Ok(Answer { head, body })
}

/// Reads until EOF.
pub fn read_to_end(stream: &mut UnixStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("EOF");
    bytes
}

/// Reads exactly so many bytes.
pub fn read_bytes(stream: &mut UnixStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes).expect("bytes");
    bytes
}

/// Reads until the text is there.
pub fn read_until(stream: &mut UnixStream, text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(text.as_bytes()) {
        bytes.extend(read_bytes(stream, 1));
    }
    bytes
}

/// Reads what there is, until nothing comes for `quiet`.
pub fn read_until_quiet(stream: &mut UnixStream, quiet: Duration) -> Vec<u8> {
    stream.set_read_timeout(Some(quiet)).expect("set");
    let mut bytes = Vec::new();
    let mut chunk = [0; 65536];
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => bytes.extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    stream.set_read_timeout(Some(DEADLINE)).expect("set");
    bytes
}

/// The whole output of a script that doesn't echo.
pub fn whole(cmdline: &str) -> Vec<u8> {
    let script = crate::ch_sim::script::Script::parse(cmdline);
    let len = script.scripted_len().expect("an end");
    (0..len).map(|at| script.byte_at(at)).collect()
}
