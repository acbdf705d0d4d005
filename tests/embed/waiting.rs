//! When the loop sleeps, seen through a world that notes every sleep and every wait.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use seriald::config::AfterRotate;
use seriald::env::os::{OsEnv, OsFile, OsFiles, OsProcess, OsStream, OsWaker};
use seriald::env::{
    Change, Descriptor, Env, Exit, FileId, Interest, Moment, Notify, PeerId, ProcessSignal,
    Processes, Remains, Signal, SocketId, Sockets, WatchId, Watches,
};
use seriald::{Config, EventKind, Reactor};

use super::support::embedded::{Peer, spec};
use super::support::vmm::Vmm;
use super::support::wait::{PATIENCE, wait_until};

/// What was slept and waited for, in order.
#[derive(Default)]
pub struct Pauses {
    pub sleeps: Vec<Moment>,
    pub waits: Vec<Option<Duration>>,
    /// The directories that are watched.
    pub watches: BTreeSet<WatchId>,
    /// Directories that were listed or watched.
    pub looks: usize,
    /// A directory that is made right before the one above it is watched for the first time.
    pub made_in_between: Option<PathBuf>,
    /// A directory that may be passed through, not read.
    pub unreadable: Option<PathBuf>,
    /// Reads that are yet to fail, as the kernel has no memory for them.
    pub reads_without_memory: u32,
    /// As many directories are watched as may be.
    pub watches_are_used_up: bool,
    /// So many children can't be started yet: there is no descriptor for them.
    pub starts_refused: usize,
}

/// The real world, and a note of its pauses.
pub struct Noting {
    pub world: OsEnv,
    pub pauses: Rc<RefCell<Pauses>>,
    /// A path that seems to be absent whenever it is connected to.
    pub absent: Option<PathBuf>,
}

impl Sockets for Noting {
    type Stream = OsStream;
    type Target = OwnedFd;

    fn find(&mut self, path: &Path, owner: Option<u32>) -> io::Result<(OwnedFd, SocketId)> {
        if self.absent.as_deref() == Some(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.world.find(path, owner)
    }
    fn open(&mut self, token: u64, interest: Interest) -> io::Result<OsStream> {
        self.world.open(token, interest)
    }
    fn connect_to(&mut self, stream: &OsStream, target: &OwnedFd) -> io::Result<()> {
        self.world.connect_to(stream, target)
    }
    fn stream_number(&self, stream: &OsStream) -> Descriptor {
        self.world.stream_number(stream)
    }
    fn socket_id(&mut self, path: &Path) -> io::Result<SocketId> {
        self.world.socket_id(path)
    }
    fn read(&mut self, stream: &OsStream, into: &mut [u8]) -> io::Result<usize> {
        let mut pauses = self.pauses.borrow_mut();
        if let Some(left) = pauses.reads_without_memory.checked_sub(1) {
            pauses.reads_without_memory = left;
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        self.world.read(stream, into)
    }
    fn send(&mut self, stream: &OsStream, bytes: &[u8]) -> io::Result<usize> {
        self.world.send(stream, bytes)
    }
    fn shutdown_write(&mut self, stream: &OsStream) -> io::Result<()> {
        self.world.shutdown_write(stream)
    }
    fn peer(&mut self, stream: &OsStream) -> io::Result<PeerId> {
        self.world.peer(stream)
    }
    fn unlink_socket(&mut self, path: &Path) -> io::Result<()> {
        self.world.unlink_socket(path)
    }
    fn messages_that_fill(&mut self) -> io::Result<usize> {
        self.world.messages_that_fill()
    }
    fn place(&mut self, path: &Path) -> (Option<FileId>, OsString) {
        self.world.place(path)
    }
}

impl Remains for Noting {}
impl Notify for Noting {}
impl Watches for Noting {
    fn watch_dir(&mut self, path: &Path) -> io::Result<WatchId> {
        let mut pauses = self.pauses.borrow_mut();
        pauses.looks += 1;
        if pauses.watches_are_used_up {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if pauses.unreadable.as_deref() == Some(path) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        if let Some(made) = pauses.made_in_between.take_if(|made| made.parent() == Some(path)) {
            std::fs::create_dir(made)?;
        }
        let id = self.world.watch_dir(path)?;
        pauses.watches.insert(id);
        Ok(id)
    }
    fn unwatch_dir(&mut self, dir: WatchId) {
        self.pauses.borrow_mut().watches.remove(&dir);
        self.world.unwatch_dir(dir);
    }
    fn take_changes(&mut self, into: &mut Vec<Change>) -> bool {
        self.world.take_changes(into)
    }
    fn entries(&mut self, path: &Path) -> io::Result<Vec<(OsString, bool)>> {
        self.pauses.borrow_mut().looks += 1;
        self.world.entries(path)
    }
    fn is_dir(&mut self, path: &Path, through_link: bool) -> bool {
        self.world.is_dir(path, through_link)
    }
}

impl Processes for Noting {
    type Process = OsProcess;

    fn watch(&mut self, stream: &OsStream, pid: u32, token: u64) -> io::Result<OsProcess> {
        self.world.watch(stream, pid, token)
    }
    fn spawn(&mut self, command: &[OsString], token: u64) -> io::Result<OsProcess> {
        self.world.spawn(command, token)
    }
    fn pid(&self, process: &OsProcess) -> u32 {
        self.world.pid(process)
    }
    fn is_of(&self, process: &OsProcess, pid: u32) -> bool {
        self.world.is_of(process, pid)
    }
    fn thread_names(&mut self, pid: u32) -> io::Result<Vec<String>> {
        self.world.thread_names(pid)
    }
    fn signal(&mut self, process: &OsProcess, signal: Signal) -> io::Result<()> {
        self.world.signal(process, signal)
    }
    fn exit(&mut self, process: &mut OsProcess) -> Option<Exit> {
        self.world.exit(process)
    }
}

impl Env for Noting {
    type Files = OsFiles;
    type Waker = OsWaker;

    fn files(&mut self) -> &mut OsFiles {
        self.world.files()
    }
    fn now(&self) -> Moment {
        self.world.now()
    }
    fn wait(&mut self, timeout: Option<Duration>, ready: &mut Vec<u64>) -> io::Result<()> {
        self.pauses.borrow_mut().waits.push(timeout);
        self.world.wait(timeout, ready)
    }
    fn sleep_until(&mut self, moment: Moment) {
        self.pauses.borrow_mut().sleeps.push(moment);
        self.world.sleep_until(moment);
    }
    fn waker(&self) -> OsWaker {
        self.world.waker()
    }
    fn next_signal(&mut self) -> Option<ProcessSignal> {
        self.world.next_signal()
    }
    fn spawn_filter(
        &mut self,
        command: &[String],
        input: &OsFile,
        output: &OsFile,
        most: u64,
        token: u64,
    ) -> io::Result<OsProcess> {
        if self.pauses.borrow().starts_refused > 0 {
            self.pauses.borrow_mut().starts_refused -= 1;
            return Err(io::Error::from_raw_os_error(24));
        }
        self.world.spawn_filter(command, input, output, most, token)
    }
    fn descriptors_max(&self) -> u64 {
        self.world.descriptors_max()
    }
    fn seed(&mut self) -> u64 {
        self.world.seed()
    }
}

/// A loop that has just moved a few bytes, its pauses so far forgotten, and what keeps its VM printing.
fn busy_loop(
    dir: &Path,
    coalesce: Duration,
) -> (Reactor<Noting>, Rc<RefCell<Pauses>>, (Peer, UnixStream)) {
    busy_with(dir, coalesce, b"busy\n")
}

fn busy_with(
    dir: &Path,
    coalesce: Duration,
    bytes: &[u8],
) -> (Reactor<Noting>, Rc<RefCell<Pauses>>, (Peer, UnixStream)) {
    let pauses = Rc::new(RefCell::new(Pauses::default()));
    let world = OsEnv::new().expect("a world");
    let noting = Noting { world, pauses: pauses.clone(), absent: None };
    let mut reactor =
        Reactor::with_env(Config { coalesce, ..Config::default() }, noting).expect("a loop");
    let spec = spec("a", dir, 1 << 20);
    let peer = Peer::at(&spec.serial);
    reactor.adopt(spec).expect("adopted");
    let mut client = None;
    wait_until(PATIENCE, "a client", || {
        reactor.turn(Some(Duration::from_millis(1))).expect("a turn");
        client = client.take().or_else(|| peer.listener.accept().ok());
        client.is_some()
    });
    let (mut client, _) = client.expect("a client");
    client.write_all(bytes).expect("room");
    wait_until(PATIENCE, "the bytes", || {
        reactor.turn(Some(Duration::ZERO)).expect("a turn").read_bytes > 0
    });
    *pauses.borrow_mut() = Pauses::default();
    (reactor, pauses, (peer, client))
}

#[test]
fn a_turn_with_no_time_to_wait_never_sleeps_also_after_a_busy_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut reactor, pauses, _peer) = busy_loop(dir.path(), Duration::from_secs(1));
    for _ in 0..100 {
        reactor.turn(Some(Duration::ZERO)).expect("a turn");
    }
    assert_eq!(pauses.borrow().sleeps, []);
    assert_eq!(pauses.borrow().waits, vec![Some(Duration::ZERO); 100]);
}

#[test]
fn a_read_that_the_kernel_has_no_memory_for_is_tried_again_and_ends_no_console() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut reactor, pauses, peer) = busy_loop(dir.path(), Duration::from_millis(1));
    pauses.borrow_mut().reads_without_memory = 20;
    let (_, mut client) = peer;
    client.write_all(b"more\n").expect("room");
    wait_until(PATIENCE, "the bytes", || {
        reactor.turn(Some(Duration::from_millis(5))).expect("a turn").read_bytes > 0
    });
    assert_eq!(pauses.borrow().reads_without_memory, 0);
    let paused = |wait: &&Option<Duration>| wait.is_none_or(|wait| !wait.is_zero());
    let pauses = pauses.borrow().waits.iter().filter(paused).count();
    assert!(pauses >= 20, "it spins: {pauses} pauses in 20 attempts");
    let vm = reactor.vms().next().expect("the VM");
    let status = reactor.status(vm).expect("a status");
    assert_eq!((status.state, status.connects, status.read_bytes), ("streaming", 1, 10));
}

#[test]
fn a_socket_that_is_half_full_is_read_again_at_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let half = OsEnv::new().and_then(|mut os| os.messages_that_fill()).expect("a number") / 2;
    for (bytes, sleeps) in [(half, 0), (half - 1, 1)] {
        let home = dir.path().join(bytes.to_string());
        std::fs::create_dir(&home).expect("a directory");
        let (mut reactor, pauses, _peer) =
            busy_with(&home, Duration::from_secs(1), &vec![b'x'; bytes]);
        reactor.turn(Some(Duration::from_millis(2))).expect("a turn");
        assert_eq!(pauses.borrow().sleeps.len(), sleeps, "{bytes} bytes");
    }
}

#[test]
fn after_a_busy_turn_the_loop_lets_bytes_gather_once_and_no_longer_than_asked() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut reactor, pauses, _peer) = busy_loop(dir.path(), Duration::from_secs(1));
    reactor.turn(Some(Duration::from_millis(2))).expect("a turn");
    assert_eq!(pauses.borrow().sleeps.len(), 1);
    assert_eq!(pauses.borrow().waits, [Some(Duration::ZERO)], "the wait was slept");
    reactor.turn(Some(Duration::from_millis(2))).expect("a turn");
    assert_eq!(pauses.borrow().sleeps.len(), 1, "the turn before moved nothing");
}

#[test]
fn where_coalescing_is_off_the_loop_never_sleeps() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut reactor, pauses, _peer) = busy_loop(dir.path(), Duration::ZERO);
    reactor.turn(Some(Duration::from_millis(1))).expect("a turn");
    assert_eq!(pauses.borrow().sleeps, []);
}

#[test]
fn the_loops_own_settings_may_change_while_it_runs() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut reactor, pauses, _peer) = busy_loop(dir.path(), Duration::from_secs(1));
    reactor.set_config(Config { coalesce: Duration::ZERO, ..Config::default() });
    reactor.turn(Some(Duration::from_millis(1))).expect("a turn");
    assert_eq!(pauses.borrow().sleeps, []);
}

#[test]
fn a_streaming_vm_that_is_silent_needs_no_wake_up() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut reactor, pauses, _peer) = busy_loop(dir.path(), Duration::ZERO);
    // Its log has bytes, so that only its age is ahead: a day, less the jitter.
    reactor.turn(Some(Duration::from_secs(0))).expect("a turn");
    let ahead = reactor.next_wake().expect("the log's age");
    assert!(ahead > Duration::from_secs(60 * 60 * 12), "{ahead:?}");
    assert_eq!(pauses.borrow().waits.len(), 1);
}

#[test]
fn a_launch_without_a_connection_in_time_fails_ends_its_vmm_and_leaves_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut launch = Vmm::sim("v53").launch("a", dir.path(), "lines=1");
    launch.vm.dial_timeout = Some(Duration::from_millis(200));
    let (serial, api) = (launch.vm.serial.clone(), launch.vm.api.clone().expect("an API path"));
    let world = OsEnv::new().expect("a world");
    let noting = Noting { world, pauses: Rc::default(), absent: Some(serial.clone()) };
    let mut reactor = Reactor::with_env(Config::default(), noting).expect("a loop");
    let vm = reactor.launch(launch).expect("it begins");
    let mut reason = None;
    wait_until(PATIENCE, "its end", || {
        reactor.turn(Some(Duration::from_millis(5))).expect("a turn");
        while let Some(event) = reactor.next_event() {
            if let EventKind::Closed(why) = event.kind {
                reason = Some(why.to_string());
            }
        }
        reactor.status(vm).is_none()
    });
    let why = "launch failed: connection to the serial socket: none in 0.2 s";
    assert_eq!(reason.as_deref(), Some(why));
    assert!(!serial.exists() && !api.exists(), "a path is left");
}

#[test]
fn a_command_that_cannot_be_started_for_want_of_descriptors_waits_and_has_not_failed() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut reactor, pauses, _peer) = busy_loop(dir.path(), Duration::ZERO);
    pauses.borrow_mut().starts_refused = 2;
    let vm = reactor.find("a").expect("in charge");
    let mut spec = reactor.spec(vm).expect("in charge").clone();
    spec.log.after_rotate =
        Some(AfterRotate { command: vec!["cat".into()], suffix: ".cat".into() });
    reactor.reconfigure(vm, spec).expect("valid");
    reactor.rotate(vm);
    let packed = dir.path().join("a.log.1.cat");
    let mut turns = 0;
    wait_until(PATIENCE, "the packed backup", || {
        turns += 1;
        reactor.turn(None).expect("a turn");
        packed.exists()
    });
    let (stats, pauses) = (reactor.stats(), pauses.borrow());
    assert_eq!((stats.packed, stats.after_rotate_failures, pauses.starts_refused), (1, 0, 0));
    // It was slept in between, not asked again and again.
    let a_second = Duration::from_millis(500)..=Duration::from_secs(1);
    let slept = pauses.waits.iter().flatten().filter(|wait| a_second.contains(wait)).count();
    assert!(slept >= 2 && turns < 20, "{slept} of {turns} turns");
    assert!(!dir.path().join("a.log.packing").exists());
}
