//! Model VMMs, each with its guest: what Cloud Hypervisor v52 and v53 do on their serial sockets.
//!
//! Owns what each guest printed into a socket of the collector: the truth that logs are held to.
//! **Invariant:** the measured facts (ring, displacement, the death of the serial thread, bind before
//! listen), with their times.

mod deeds;
mod output;

pub use deeds::Deed;

use crate::faults::Fault;
use crate::kernel::Kernel;
use crate::kernel::sockets::Conn;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// Without a ring: the guest waits for a full socket.
    V52,
    /// With a ring, which is flushed at the next byte or at an accept.
    V53,
}

/// The serial thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Thread {
    /// Before the boot, and after the guest's end.
    None,
    Serves,
    /// After a client's plain close (fact 3.6).
    Sleeps,
    /// After a client's close with unread bytes (fact 3.3).
    Dead,
}

/// A crash without a store behind it: what was under way is gone with it, up to so much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crash {
    /// How many bytes had been printed into sockets of the collector.
    pub sent: usize,
    /// So many of them at most are in no file and on no record.
    pub window: usize,
}

/// What others did to a VM's log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outside {
    pub truncations: u32,
    pub truncated_bytes: u64,
    pub moves: u32,
}

#[derive(Debug)]
pub struct Vmm {
    pub id: String,
    pub version: Version,
    pub dir: PathBuf,
    pub serial: PathBuf,
    pub log: PathBuf,
    /// Its process, while there is one.
    pub pid: Option<u32>,
    listener: Option<usize>,
    client: Option<usize>,
    thread: Thread,
    ring: VecDeque<u8>,
    pub ring_max: usize,
    /// The ring has dropped something, or a socket was missing: the guest's bytes are not all sent.
    pub is_paused: bool,
    /// The guest runs.
    pub is_on: bool,
    /// What the guest is yet to print.
    to_print: u64,
    /// How many bytes it has printed.
    printed: u64,
    prints: bool,
    /// The vCPU waits for room in the socket.
    is_blocked: bool,
    /// Counts ends, so that what was planned before one does not happen after it.
    life: u64,
    /// Bytes that were put into sockets of the collector, in order.
    pub sent: Vec<u8>,
    pub crashes: Vec<Crash>,
    /// Until when another client, once displaced, comes again.
    rival_until: Duration,
    /// When another client took the console from us, within the last second.
    displaced: Vec<Duration>,
    pub outside: Outside,
    /// It was closed, or its collector was killed, while the disk may have been full.
    pub may_lack_records: bool,
    /// Bytes that were told to be lost.
    pub lost: u64,
    /// A crash found bytes of it held: their number is told, and not how they lay between others.
    pub held_in_crash: bool,
    /// Bytes that the collector has read, in all and since its last wait.
    pub read: usize,
    pub read_since_wait: usize,
}

impl Vmm {
    pub fn new(number: usize, version: Version) -> Vmm {
        let id = format!("vm{number}");
        let dir = Path::new("/vms").join(&id);
        Vmm {
            serial: dir.join("serial.sock"),
            log: dir.join("logs/app.log"),
            id,
            version,
            dir,
            pid: None,
            listener: None,
            client: None,
            thread: Thread::None,
            ring: VecDeque::new(),
            ring_max: 1024 * 1024,
            is_paused: false,
            is_on: false,
            to_print: 0,
            printed: 0,
            prints: false,
            is_blocked: false,
            life: 0,
            sent: Vec::new(),
            crashes: Vec::new(),
            rival_until: Duration::ZERO,
            displaced: Vec::new(),
            outside: Outside::default(),
            may_lack_records: false,
            lost: 0,
            held_in_crash: false,
            read: 0,
            read_since_wait: 0,
        }
    }

    /// Whether a serial thread shows in `/proc`.
    pub fn has_thread(&self) -> bool {
        matches!(self.thread, Thread::Serves | Thread::Sleeps)
    }

    pub fn is_dead(&self) -> bool {
        self.thread == Thread::Dead
    }

    pub fn was_read(&mut self, bytes: usize) {
        self.read += bytes;
        self.read_since_wait += bytes;
    }

    /// The guest has printed all that it was to.
    pub fn is_silent(&self) -> bool {
        self.to_print == 0 || !self.is_on
    }

    pub fn ring_len(&self) -> usize {
        self.ring.len()
    }

    pub fn client(&self) -> Option<usize> {
        self.client
    }
}

impl Kernel {
    /// Whether somebody answers the clients of this VM.
    pub fn serves(&self, vm: usize) -> bool {
        self.vmms.get(vm).is_some_and(|vmm| vmm.has_thread() && vmm.listener.is_some())
    }

    /// Nobody is in charge of this VM any more: what was under way, and could not be written, is left.
    pub fn note_unclaimed(&mut self, vm: usize) {
        let held = self.may_hold + seriald::limits::TURN_BUDGET;
        let crash = self.crash(vm, held);
        self.vmms[vm].crashes.push(crash);
    }

    /// Whether nothing delays what a VM has to tell.
    pub fn tells_in_time(&self) -> bool {
        let delays = [Fault::Late, Fault::NoMemory, Fault::Interrupted, Fault::Slow];
        self.faults.budget == 0 || delays.iter().all(|kind| self.faults.chance(*kind) == 0)
    }

    /// Since when a stream of the collector's has something that was not read.
    pub fn readable_since(&self, vm: usize) -> Option<Duration> {
        let conns = self.conns.iter().filter(|conn| conn.vm == vm && conn.watch.is_some());
        conns.filter_map(|conn| conn.readable_since).min()
    }

    fn crash(&self, vm: usize, held: usize) -> Crash {
        let ours = |conn: &&Conn| conn.vm == vm && conn.is_ours;
        let unread: usize = self.conns.iter().filter(ours).map(Conn::unread).sum();
        let vmm = &self.vmms[vm];
        Crash { sent: vmm.sent.len(), window: unread + vmm.read_since_wait + held }
    }

    /// The collector's process was killed with no store behind it.
    pub fn note_crash(&mut self) {
        for vm in 0..self.vmms.len() {
            let crash = self.crash(vm, self.may_hold);
            let vmm = &mut self.vmms[vm];
            vmm.crashes.push(crash);
            vmm.read_since_wait = 0;
        }
    }
}
