//! What an idle VM weighs on the heap.
//!
//! One test, in a process of its own: every byte that is live in it counts.

mod allocator;

use std::io::Write;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use allocator::{Counting, Live};
use seriald::{Config, OnExit, Seriald, VmSpec};

#[global_allocator]
static HEAP: Counting = Counting;

/// The VMs at the first count, and as many again at the second: powers of two, at which what
/// doubles when it is full has just been filled.
const VMS: usize = 512;

/// Most bytes of heap that an idle VM may take.
const BYTES_PER_VM: isize = 512;

/// What a guest prints at its boot, before it is silent.
const BOOT: &[u8] = b"Linux version 6.12.0\nHello, tenant\nlogin: ";

const PATIENCE: Duration = Duration::from_secs(60);

/// The VMs, and what listens where their VMMs would.
struct Host {
    reactor: Seriald,
    listeners: Vec<UnixListener>,
    clients: Vec<UnixStream>,
}

impl Host {
    fn new() -> Self {
        let reactor = Seriald::bind(Config::default()).expect("a loop");
        // With room for all, so that these are no part of what is counted.
        let (listeners, clients) = (Vec::with_capacity(2 * VMS), Vec::with_capacity(2 * VMS));
        Host { reactor, listeners, clients }
    }

    /// Adopts so many more VMs, each of which prints its boot and is then silent.
    fn add(&mut self, dir: &Path, vms: usize) {
        let first = self.clients.len();
        for n in first..first + vms {
            // As hypeman names its guests.
            let id = format!("k3v9x0q2m7t1c5z8{n:08}");
            let home = dir.join("guests").join(&id);
            std::fs::create_dir_all(&home).expect("an instance directory");
            let listener = UnixListener::bind(home.join("serial.sock")).expect("a listener");
            self.listeners.push(listener);
            let spec = VmSpec { on_exit: OnExit::Wait, ..VmSpec::instance(id, home) };
            self.reactor.adopt(spec).expect("adopted");
        }
        self.turn_until("all stream", |reactor| {
            reactor.vms().all(|vm| reactor.status(vm).is_some_and(|s| s.state == "streaming"))
        });
        for listener in &self.listeners[first..] {
            let (mut client, _) = listener.accept().expect("a client");
            client.write_all(BOOT).expect("written");
            self.clients.push(client);
        }
        self.turn_until("all that was printed is in the logs", |reactor| {
            let written = |vm| reactor.status(vm).map(|status| status.log_bytes);
            reactor.vms().all(|vm| written(vm) == Some(BOOT.len() as u64))
        });
        // Nothing is left to do, and nothing came of it.
        self.turn_until("silence", |reactor| {
            reactor.next_wake().is_none_or(|wake| wake > Duration::from_secs(60))
        });
    }

    fn turn_until(&mut self, what: &str, done: impl Fn(&Seriald) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            while self.reactor.next_event().is_some() {}
            if done(&self.reactor) {
                return;
            }
            assert!(Instant::now() < deadline, "turned in vain: {what}");
            self.reactor.turn(Some(Duration::from_millis(5))).expect("a turn");
        }
    }
}

#[test]
fn an_idle_vm_takes_at_most_512_bytes_of_heap() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut host = Host::new();
    host.add(dir.path(), VMS);
    let first = Live::now();
    host.add(dir.path(), VMS);
    let came = Live::now().since(&first);
    let bytes = came.bytes() / VMS as isize;
    for (size, pieces) in &came.pieces {
        println!("{pieces} pieces of {size} bytes");
    }
    println!("{} bytes in larger pieces; {bytes} bytes a VM", came.large);
    assert!(bytes <= BYTES_PER_VM, "{bytes} bytes of heap a VM, at most {BYTES_PER_VM}");
}
