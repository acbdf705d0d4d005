//! The library's loop, driven by a test, and a peer that stands where a VMM would.
//!
//! **Invariant:** the loop turns until a condition holds or a deadline has passed.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use seriald::{Config, Event, EventKind, LogSpec, Seriald, VmId, VmSpec};

use super::wait::PATIENCE;

/// A loop and every event that it told.
pub struct Loop {
    pub reactor: Seriald,
    pub events: Vec<Event>,
}

impl Loop {
    pub fn new() -> Self {
        let reactor = Seriald::bind(Config::default()).expect("a loop");
        Loop { reactor, events: Vec::new() }
    }

    /// Turns until `done` holds.
    pub fn turn_until(&mut self, what: &str, done: impl FnMut(&mut Self) -> bool) {
        self.turn_until_within(PATIENCE, what, done);
    }

    /// The same, with a deadline of its own.
    pub fn turn_until_within(
        &mut self,
        patience: Duration,
        what: &str,
        mut done: impl FnMut(&mut Self) -> bool,
    ) {
        let deadline = Instant::now() + patience;
        while !done(self) {
            assert!(Instant::now() < deadline, "turned in vain for {what}; {:?}", self.events);
            self.reactor.turn(Some(Duration::from_millis(5))).expect("a turn");
            while let Some(event) = self.reactor.next_event() {
                self.events.push(event);
            }
        }
    }

    /// Turns until the VM is in this state.
    pub fn turn_until_state(&mut self, vm: VmId, state: &str) {
        self.turn_until(state, |this| {
            this.reactor.status(vm).is_some_and(|status| status.state == state)
        });
    }

    /// Turns until more than so many bytes of the VM's console have been read.
    pub fn turn_until_read(&mut self, vm: VmId, bytes: u64) {
        self.turn_until("output", |this| {
            this.reactor.status(vm).is_some_and(|status| status.read_bytes > bytes)
        });
    }

    /// Turns until nothing has come from the VM's console for a while: its tail is fetched by then.
    pub fn turn_until_quiet(&mut self, vm: VmId) {
        let (mut seen, mut since) = (0, Instant::now());
        self.turn_until("quiet", |this| {
            let read = this.reactor.status(vm).map_or(0, |status| status.read_bytes);
            if read != seen {
                (seen, since) = (read, Instant::now());
            }
            since.elapsed() > Duration::from_millis(400)
        });
    }

    /// Turns until the VMM has answered the call of this name: what the last one came to.
    pub fn turn_until_answered(&mut self, vm: VmId, name: &str) -> Result<(), String> {
        let mut answer = None;
        self.turn_until(name, |this| {
            answer = this.events.iter().rev().find_map(|event| match &event.kind {
                EventKind::Answered(of, result) if *of == name && event.vm == vm => {
                    Some(result.clone())
                }
                _ => None,
            });
            answer.is_some()
        });
        answer.expect("an answer").map(|_| ())
    }

    /// Turns until the VM is gone; says why it was closed.
    pub fn turn_until_closed(&mut self, vm: VmId) -> String {
        self.turn_until("its end", |this| this.reactor.status(vm).is_none());
        let reasons = self.events.iter().rev().filter(|event| event.vm == vm);
        let mut reasons = reasons.filter_map(|event| match &event.kind {
            EventKind::Closed(reason) => Some(reason.to_string()),
            _ => None,
        });
        reasons.next().expect("a reason")
    }

    /// How often this happened to the VM.
    pub fn count(&self, vm: VmId, kind: impl Fn(&EventKind) -> bool) -> usize {
        self.events.iter().filter(|event| event.vm == vm && kind(&event.kind)).count()
    }
}

impl Drop for Loop {
    /// A test that fails leaves no VMM behind.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let pids = self.reactor.vms().filter_map(|vm| self.reactor.status(vm)?.pid);
            let others = pids.filter(|pid| *pid != std::process::id());
            for pid in others {
                let _ = std::process::Command::new("kill").arg(pid.to_string()).status();
            }
        }
    }
}

/// A VM of this directory, with a log that rotates at `max_bytes`.
pub fn spec(id: &str, dir: &Path, max_bytes: u64) -> VmSpec {
    let mut log = LogSpec::new(dir.join(format!("{id}.log")));
    log.max_bytes = max_bytes;
    log.keep = 1000;
    VmSpec::new(id, dir.join(format!("{id}.sock")), log)
}

/// What listens on a VM's serial path.
pub struct Peer {
    pub listener: UnixListener,
    pub path: PathBuf,
}

impl Peer {
    pub fn at(path: &Path) -> Self {
        let listener = UnixListener::bind(path).expect("a listener");
        listener.set_nonblocking(true).expect("a non-blocking listener");
        Peer { listener, path: path.to_owned() }
    }

    /// The client that has connected, once the loop has dialed.
    pub fn accept(&self, turns: &mut Loop) -> UnixStream {
        let mut accepted = None;
        turns.turn_until("a client", |_| {
            accepted = self.listener.accept().ok();
            accepted.is_some()
        });
        accepted.expect("a client").0
    }

    /// Unlinks the path and binds it anew, as CH does at a reboot.
    pub fn bind_anew(&mut self) {
        fs::remove_file(&self.path).expect("the path");
        *self = Peer::at(&self.path);
    }
}

/// Sends all of `bytes` while the loop turns.
pub fn send(turns: &mut Loop, client: &mut UnixStream, mut bytes: &[u8]) {
    client.set_nonblocking(true).expect("a non-blocking client");
    turns.turn_until("room in the socket", |_| {
        while !bytes.is_empty() {
            match client.write(bytes) {
                Ok(n) => bytes = &bytes[n..],
                Err(_) => return false,
            }
        }
        true
    });
}

/// Turns until the client has read our end of stream, and the bytes before it.
pub fn read_to_end(turns: &mut Loop, client: &mut UnixStream) -> Vec<u8> {
    client.set_nonblocking(true).expect("a non-blocking client");
    let mut all = Vec::new();
    turns.turn_until("our end of stream", |_| {
        let mut piece = [0; 4096];
        loop {
            match client.read(&mut piece) {
                Ok(0) => return true,
                Ok(n) => all.extend_from_slice(&piece[..n]),
                Err(_) => return false,
            }
        }
    });
    all
}
