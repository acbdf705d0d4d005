//! The real world, and a note of what the loop asked of it; its clock can be made to stand still.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use seriald::env::os::{OsEnv, OsFile, OsFiles, OsProcess, OsStream, OsWaker};
use seriald::env::{
    Announced, Caller, Change, Descriptor, Env, Exit, FileId, Interest, Listens, ListensTcp,
    Moment, Notify, PeerId, ProcessSignal, Processes, Remains, Signal, SocketId, Sockets, WatchId,
    Watches,
};
use seriald::{Config, Reactor};

use super::support::wait::{PATIENCE, wait_until};

/// How long each of these takes by a clock that stands still otherwise.
#[derive(Clone, Copy, Debug, Default)]
pub struct Costs {
    pub read: Duration,
    /// A look for a socket, as each dial begins with.
    pub find: Duration,
    pub shutdown: Duration,
    /// Something done to a log.
    pub files: Duration,
    /// A directory's names read.
    pub entries: Duration,
}

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
    /// Children that were started.
    pub started: Vec<u32>,
    /// The time, where the clock stands still but for what things cost.
    pub clock: Option<Moment>,
    /// A VMM that sends a byte as soon as a stream was read.
    pub quick_vmm: Option<UnixStream>,
    /// When the clock was looked at last.
    pub seen: Moment,
    pub costs: Costs,
    /// Whoever connects to us is this user.
    pub caller: Option<u32>,
}

impl Pauses {
    fn spend(&mut self, cost: impl Fn(&Costs) -> Duration) {
        let cost = cost(&self.costs);
        self.clock = self.clock.map(|now| now + cost);
    }
}

/// A loop over this world, and the note.
pub fn noted_loop(config: Config) -> (Reactor<Noting>, Rc<RefCell<Pauses>>) {
    let pauses = Rc::new(RefCell::new(Pauses::default()));
    let world = OsEnv::new().expect("a world");
    let noting = Noting { world, pauses: pauses.clone(), absent: None };
    (Reactor::with_env(config, noting).expect("a loop"), pauses)
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
        self.pauses.borrow_mut().spend(|costs| costs.find);
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
        pauses.spend(|costs| costs.read);
        if let Some(left) = pauses.reads_without_memory.checked_sub(1) {
            pauses.reads_without_memory = left;
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        let read = self.world.read(stream, into);
        if let Some(vmm) = &mut pauses.quick_vmm {
            vmm.write_all(b"x")?;
        }
        read
    }
    fn send(&mut self, stream: &OsStream, bytes: &[u8]) -> io::Result<usize> {
        self.world.send(stream, bytes)
    }
    fn shutdown_write(&mut self, stream: &OsStream) -> io::Result<()> {
        self.pauses.borrow_mut().spend(|costs| costs.shutdown);
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
impl Listens for Noting {
    fn listen(&mut self, path: &Path, mode: u32, group: Option<u32>) -> io::Result<SocketId> {
        self.world.listen(path, mode, group)
    }
    fn accept(&mut self, token: u64) -> io::Result<(OsStream, Caller)> {
        let (stream, caller) = self.world.accept(token)?;
        let uid = self.pauses.borrow().caller.unwrap_or(caller.uid);
        Ok((stream, Caller { uid, ..caller }))
    }
    fn stop_listening(&mut self) {
        self.world.stop_listening();
    }
}

impl ListensTcp for Noting {
    fn listen_tcp(&mut self, at: SocketAddr) -> io::Result<SocketAddr> {
        self.world.listen_tcp(at)
    }
    fn accept_tcp(&mut self, token: u64) -> io::Result<OsStream> {
        self.world.accept_tcp(token)
    }
    fn stop_listening_tcp(&mut self) {
        self.world.stop_listening_tcp();
    }
}

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
        let mut pauses = self.pauses.borrow_mut();
        pauses.looks += 1;
        pauses.spend(|costs| costs.entries);
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
        self.pauses.borrow_mut().spend(|costs| costs.files);
        self.world.files()
    }
    fn now(&self) -> Moment {
        let mut pauses = self.pauses.borrow_mut();
        pauses.seen = pauses.clock.unwrap_or_else(|| self.world.now());
        pauses.seen
    }
    fn wait(&mut self, timeout: Option<Duration>, ready: &mut Vec<Announced>) -> io::Result<()> {
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
        let process = self.world.spawn_filter(command, input, output, most, token)?;
        self.pauses.borrow_mut().started.push(self.world.pid(&process));
        Ok(process)
    }
    fn descriptors_max(&self) -> u64 {
        self.world.descriptors_max()
    }
    fn seed(&mut self) -> u64 {
        self.world.seed()
    }
}

/// Turns until nothing is to be done any more.
pub fn settle(reactor: &mut Reactor<Noting>) {
    wait_until(PATIENCE, "nothing to do", || {
        reactor.turn(Some(Duration::from_millis(1))).expect("a turn");
        reactor.next_wake() != Some(Duration::ZERO)
    });
}
