//! A loop as an embedder has it, and guests at the other end of real sockets.

use std::io::Write;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use seriald::{Config, EventKind, LogSpec, Seriald, VmSpec};
use tempfile::TempDir;

/// Long enough for ten thousand VMs to be dialed.
const PATIENCE: Duration = Duration::from_secs(120);

/// A log's size at which it is rotated, so that a benchmark never fills the disk. One rotation is a
/// small part of what it takes to get there.
const MAX_BYTES: u64 = 64 << 20;

/// A loop, its VMs' directory, and whoever keeps descriptors for it.
pub struct Bench {
    pub reactor: Seriald,
    dir: TempDir,
    service: Option<UnixDatagram>,
}

impl Bench {
    /// A loop that never sleeps to let bytes gather.
    pub fn new() -> Self {
        let config = Config { coalesce: Duration::ZERO, ..Config::default() };
        let reactor = Seriald::bind(config).expect("a loop");
        Bench { reactor, dir: tempfile::tempdir().expect("a directory"), service: None }
    }

    /// The same with a descriptor store, so that each read is kept for a successor.
    #[allow(dead_code, reason = "not every benchmark has one")]
    pub fn with_store() -> Self {
        let mut bench = Bench::new();
        let path = bench.dir.path().join("service");
        let service = UnixDatagram::bind(&path).expect("a service manager");
        service.set_nonblocking(true).expect("non-blocking");
        bench.reactor.connect_service(path.as_os_str(), None).expect("connected");
        bench.service = Some(service);
        bench.reactor.keep_in_store(Vec::new()).expect("a store");
        bench
    }

    /// As many VMs as this process may have descriptors for, at most `wanted`, all streaming and
    /// silent, and the guests' ends of their consoles.
    pub fn guests(&mut self, wanted: usize) -> Vec<UnixStream> {
        let limit = self.reactor.descriptors_max();
        let fit = (0..=wanted).rev().find(|vms| self.reactor.descriptors_for(*vms) <= limit);
        let vms = fit.unwrap_or(0);
        if vms < wanted {
            let needed = self.reactor.descriptors_for(wanted);
            eprintln!("{wanted} VMs need RLIMIT_NOFILE {needed}, it is {limit}: {vms} are taken");
        }
        let paths = (0..vms).map(|n| self.dir.path().join(format!("{n}.sock")));
        let listeners: Vec<UnixListener> =
            paths.map(|path| UnixListener::bind(path).expect("a listener")).collect();
        for n in 0..vms {
            let spec = spec(&format!("{n}"), self.dir.path());
            self.reactor.adopt(spec).expect("adopted");
        }
        let mut connected = 0;
        self.turn_until(|bench| {
            while let Some(event) = bench.reactor.next_event() {
                connected += usize::from(matches!(event.kind, EventKind::Connected(_)));
            }
            connected == vms
        });
        // A guest that was heard is not looked into for its silence.
        let mut guests: Vec<UnixStream> =
            listeners.iter().map(|listener| listener.accept().expect("a client").0).collect();
        for guest in &mut guests {
            guest.write_all(b"x").expect("room");
            guest.set_nonblocking(true).expect("non-blocking");
        }
        self.turn_until(|bench| {
            let read = bench.reactor.stats().read_bytes;
            read == vms as u64 && bench.reactor.next_wake() != Some(Duration::ZERO)
        });
        guests
    }

    fn turn_until(&mut self, mut done: impl FnMut(&mut Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(Instant::now() < deadline, "the VMs are not all there");
            self.reactor.turn(Some(Duration::from_millis(1))).expect("a turn");
            self.hear_service();
        }
    }

    /// One turn that does not wait: how long it took.
    pub fn timed_turn(&mut self) -> Duration {
        let began = Instant::now();
        self.reactor.turn(Some(Duration::ZERO)).expect("a turn");
        began.elapsed()
    }

    /// Takes what the service manager was told, as it would.
    fn hear_service(&mut self) {
        let Some(service) = &self.service else { return };
        while service.recv(&mut [0; 4096]).is_ok() {}
    }
}

fn spec(id: &str, dir: &Path) -> VmSpec {
    let mut log = LogSpec::new(dir.join(format!("{id}.log")));
    (log.max_bytes, log.keep) = (MAX_BYTES, 1);
    VmSpec::new(id, dir.join(format!("{id}.sock")), log)
}
