//! The kernel of the simulated world: one process, which is the collector, among others.
//!
//! Owns everything that outlives a call: clock, descriptors, disk, sockets, processes.
//! **Invariant:** the world moves on at each call of the collector, by what that call takes; nothing
//! but the seed decides how.

pub mod children;
pub mod inotify;
pub mod sockets;
pub mod store;
pub mod viewers;

use crate::dice::Dice;
use crate::disk::{DirHandle, Disk, FileHandle};
use crate::faults::{Fault, Faults};
use crate::trace::Trace;
use crate::vmm::{Deed, Vmm};
use children::Process;
use inotify::Inotify;
use seriald::env::Announced;
use sockets::{Conn, Listener, Server};
use std::any::Any;
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::panic::resume_unwind;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use store::{Memory, Store};
use viewers::Control;

pub type Shared = Rc<RefCell<Kernel>>;

/// What a descriptor stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Object {
    /// A client's end of a connection, from socket(2) on.
    Stream(usize),
    File(FileHandle),
    Dir(DirHandle),
    /// A socket's file, held (O_PATH).
    Target(u64),
    /// A pidfd.
    Process(u32),
    /// Memory for a successor.
    Memory(u64),
    /// The socket of our own API.
    Listener,
    /// A connection to one who asks for it.
    Viewer(usize),
}

/// What happens in the world at a moment of its own.
#[derive(Clone, Debug)]
pub enum Event {
    /// A VMM, or somebody outside, does something.
    Deed { vm: usize, deed: Deed },
    /// A token is announced late.
    Late { descriptor: i32, token: u64 },
    /// A child is through.
    ChildDone { pid: u32 },
    /// The service manager reads what it was sent.
    StoreReads,
    /// One who asks for our own API reads what he was sent.
    ViewerReads { viewer: usize },
}

/// The unwinding by which the collector's process ends in the midst of a call.
pub struct Killed;

/// Why the unwinding of a panic came: a kill, or a defect of the collector.
pub fn was_killed(payload: &(dyn Any + Send)) -> bool {
    payload.is::<Killed>()
}

pub struct Kernel {
    /// CLOCK_MONOTONIC.
    pub now: Duration,
    /// The wall clock is so much ahead.
    pub wall_ahead: Duration,
    /// So long the machine was suspended.
    pub slept: Duration,
    pub dice: Dice,
    pub faults: Faults,
    pub trace: Trace,
    pub disk: Disk,
    pub vmms: Vec<Vmm>,
    agenda: BTreeMap<(Duration, u64), Event>,
    last_event: u64,

    // The collector's process.
    /// Counts its starts by other means than execve(2).
    pub incarnation: u64,
    pub is_dead: bool,
    /// execve(2) has begun: what is dropped closes nothing.
    pub replaces_itself: bool,
    pub descriptors: BTreeMap<i32, Object>,
    pub descriptors_max: usize,
    /// Calls so far, and the one before which the process is killed.
    pub calls: u64,
    pub kill_at: Option<u64>,
    pub woken: Arc<AtomicBool>,
    /// Tokens of what is watched, and of what is ready, in order.
    watched: BTreeMap<i32, u64>,
    ready: VecDeque<(i32, u64)>,
    /// Tokens that are nobody's any more.
    stale: Vec<u64>,
    /// The last wait took time, or brought something.
    pub waited: bool,
    /// Bytes that a log may hold in memory when its collector is killed.
    pub may_hold: usize,

    pub conns: Vec<Conn>,
    pub listeners: Vec<Listener>,
    pub processes: BTreeMap<u32, Process>,
    last_pid: u32,
    pub inotify: Inotify,
    pub store: Store,
    pub control: Control,
    pub memories: BTreeMap<u64, Memory>,
    /// References to file descriptions that children have too.
    shared_files: BTreeMap<FileHandle, usize>,
    /// The first rule that was found broken, in the midst of a call.
    pub broken: Option<String>,
}

/// What an event's descriptor is for sources that are no descriptors of ours.
pub const NO_DESCRIPTOR: i32 = -1;

impl Kernel {
    pub fn new(dice: Dice, faults: Faults, trace: Trace) -> Kernel {
        let mut disk = Disk::new();
        let wall_ahead = Duration::from_secs(1_700_000_000);
        disk.wall = wall_ahead;
        Kernel {
            now: Duration::from_secs(1000),
            wall_ahead,
            slept: Duration::ZERO,
            dice,
            faults,
            trace,
            disk,
            vmms: Vec::new(),
            agenda: BTreeMap::new(),
            last_event: 0,
            incarnation: 0,
            is_dead: true,
            replaces_itself: false,
            descriptors: BTreeMap::new(),
            descriptors_max: 20_000,
            calls: 0,
            kill_at: None,
            woken: Arc::new(AtomicBool::new(false)),
            watched: BTreeMap::new(),
            ready: VecDeque::new(),
            stale: Vec::new(),
            waited: false,
            may_hold: 0,
            conns: Vec::new(),
            listeners: Vec::new(),
            processes: BTreeMap::new(),
            last_pid: 100,
            inotify: Inotify::default(),
            store: Store::default(),
            control: Control::default(),
            memories: BTreeMap::new(),
            shared_files: BTreeMap::new(),
            broken: None,
        }
    }

    /// A fresh process of the collector.
    pub fn start_process(&mut self) {
        assert!(self.is_dead, "one collector at a time");
        self.incarnation += 1;
        self.is_dead = false;
        self.kill_at = None;
        self.woken = Arc::new(AtomicBool::new(false));
    }

    /// The time that the machine was awake.
    pub fn awake(&self) -> Duration {
        self.now - self.slept
    }

    /// The wall clock, since 1970.
    pub fn wall(&self) -> Duration {
        self.wall_ahead + self.now
    }

    /// Says that a rule is broken; the first one counts.
    pub fn break_rule(&mut self, what: impl Into<String>) {
        let what = what.into();
        self.note(|| format!("BROKEN: {what}"));
        self.broken.get_or_insert(what);
    }

    /// A line of the trace.
    pub fn note(&mut self, line: impl FnOnce() -> String) {
        self.trace.add(self.now, line);
    }

    /// Whether a fault strikes.
    pub fn strikes(&mut self, kind: Fault) -> bool {
        let strikes = self.faults.strike(kind, &mut self.dice);
        if strikes {
            self.note(|| format!("fault: {kind:?}"));
        }
        strikes
    }

    /// What happens `after` from now.
    pub fn schedule(&mut self, after: Duration, event: Event) {
        self.last_event += 1;
        self.agenda.insert((self.now + after, self.last_event), event);
    }

    /// When something next happens by itself.
    pub fn next_event(&self) -> Option<Duration> {
        self.agenda.first_key_value().map(|((at, _), _)| *at)
    }

    /// A call of the collector begins: time passes, the world moves, and it may be killed here.
    pub fn begin_call(&mut self, name: &'static str) -> io::Result<()> {
        if self.is_dead {
            return Err(io::Error::other("the process is gone"));
        }
        self.calls += 1;
        if self.kill_at.is_some_and(|at| self.calls >= at) {
            self.note(|| format!("killed before {name}"));
            self.kill();
            resume_unwind(Box::new(Killed));
        }
        let takes = match self.strikes(Fault::Slow) {
            true => self.dice.micros(500, 20_000),
            false => self.dice.micros(1, 4),
        };
        self.pass(takes);
        if self.strikes(Fault::Suspended) {
            let slept = Duration::from_secs(self.dice.between(1, 4000));
            self.pass(slept);
            self.slept += slept;
        }
        if self.strikes(Fault::ClockSet) {
            let by = Duration::from_secs(self.dice.between(1, 100_000));
            self.wall_ahead = match self.dice.chance(5000) {
                true => self.wall_ahead + by,
                false => self.wall_ahead - by,
            };
        }
        self.disk.wall = self.wall();
        Ok(())
    }

    /// Time passes, with all that happens meanwhile.
    pub fn pass(&mut self, time: Duration) {
        self.pass_until(self.now + time);
    }

    pub fn pass_until(&mut self, until: Duration) {
        while let Some(entry) = self.agenda.first_entry() {
            let at = entry.key().0;
            if at > until {
                break;
            }
            let event = entry.remove();
            self.now = self.now.max(at);
            self.disk.wall = self.wall();
            self.happen(event);
            self.hear_of_names();
        }
        self.now = self.now.max(until);
        self.disk.wall = self.wall();
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Deed { vm, deed } => self.do_deed(vm, deed),
            Event::Late { descriptor, token } => {
                if descriptor == NO_DESCRIPTOR || self.watched.get(&descriptor) == Some(&token) {
                    self.announce_now(descriptor, token);
                }
            }
            Event::ChildDone { pid } => self.child_done(pid),
            Event::StoreReads => self.store_reads(),
            Event::ViewerReads { viewer } => self.viewer_reads(viewer),
        }
    }

    /// epoll_wait(2), with the time-out in whole milliseconds, as mio gives it.
    pub fn wait(&mut self, timeout: Option<Duration>, into: &mut Vec<Announced>, most: usize) {
        let (began, known) = (self.now, into.len());
        self.look(timeout, into, most);
        self.waited = self.now > began || into.len() > known;
    }

    fn look(&mut self, timeout: Option<Duration>, into: &mut Vec<Announced>, most: usize) {
        let millis =
            |time: Duration| Duration::from_millis(time.as_nanos().div_ceil(1_000_000) as u64);
        let until = timeout.map(|timeout| self.now + millis(timeout));
        if self.strikes(Fault::Interrupted) {
            return;
        }
        loop {
            if self.woken.swap(false, Ordering::SeqCst) {
                self.announce_now(NO_DESCRIPTOR, seriald::env::WAKE_TOKEN);
            }
            if !self.ready.is_empty() {
                break;
            }
            let next = match (self.next_event(), until) {
                (Some(event), Some(until)) => event.min(until),
                (Some(event), None) => event,
                (None, Some(until)) => until,
                // Nothing will be ready by itself.
                (None, None) => return,
            };
            if until.is_some_and(|until| self.now >= until) {
                break;
            }
            self.pass_until(next);
        }
        let count = match self.ready.len() > 1 && self.dice.chance(500) {
            // The rest is told by the next wait.
            true => self.dice.between(1, self.ready.len() as u64) as usize,
            false => self.ready.len(),
        };
        let ready: Vec<_> = self.ready.drain(..count.min(most)).collect();
        into.extend(ready.into_iter().map(|(number, token)| {
            let ended = self.has_ended(number);
            Announced { token, ended, readable: true }
        }));
        if self.strikes(Fault::Spurious) {
            let any: Vec<u64> = self.watched.values().chain(&self.stale).copied().collect();
            if !any.is_empty() {
                into.push(Announced { token: *self.dice.pick(&any), ended: false, readable: true });
            }
        }
    }
}

/// Descriptors.
impl Kernel {
    /// Whether the other end of this stream is shut down or closed (EPOLLRDHUP).
    fn has_ended(&self, number: i32) -> bool {
        let Some(Object::Stream(conn)) = self.descriptors.get(&number) else { return false };
        self.conns[*conn].server == Server::Closed
    }

    /// The lowest free number. EMFILE: there is none.
    pub fn new_descriptor(&mut self, object: Object) -> io::Result<i32> {
        if self.descriptors.len() >= self.descriptors_max || self.strikes(Fault::NoDescriptor) {
            return Err(errno(libc::EMFILE));
        }
        let number = self.lowest_free();
        self.descriptors.insert(number, object);
        Ok(number)
    }

    pub fn lowest_free(&self) -> i32 {
        (3..).find(|number| !self.descriptors.contains_key(number)).expect("a number")
    }

    /// What a number stands for.
    pub fn object(&self, number: i32) -> io::Result<Object> {
        self.descriptors.get(&number).copied().ok_or_else(|| errno(libc::EBADF))
    }

    /// close(2) by the collector.
    pub fn close(&mut self, number: i32) {
        let Some(object) = self.descriptors.remove(&number) else {
            return self.break_rule(format!("descriptor {number} is closed, and is none"));
        };
        self.unwatch(number);
        match object {
            Object::Stream(conn) => {
                self.conns[conn].watch = None;
                self.judge_close(conn);
            }
            Object::Process(pid) => {
                if let Some(process) = self.processes.get_mut(&pid) {
                    process.watch = None;
                }
            }
            _ => {}
        }
        self.release(object);
    }

    /// One reference to an object fewer.
    pub fn release(&mut self, object: Object) {
        match object {
            Object::Stream(conn) => self.drop_client(conn),
            Object::File(handle) => self.drop_file(handle),
            Object::Dir(handle) => {
                let _ = self.disk.close_dir(handle);
            }
            Object::Target(inode) => self.disk.let_go(inode),
            Object::Process(_) => {}
            Object::Memory(id) => self.drop_memory(id),
            Object::Listener => self.drop_listener(),
            Object::Viewer(viewer) => self.drop_viewer(viewer),
        }
    }

    /// A child has the file open too.
    pub fn share_file(&mut self, handle: FileHandle) {
        *self.shared_files.entry(handle).or_insert(1) += 1;
    }

    pub fn drop_file(&mut self, handle: FileHandle) {
        if let Some(count) = self.shared_files.get_mut(&handle) {
            *count -= 1;
            if *count > 0 {
                return;
            }
            self.shared_files.remove(&handle);
        }
        if self.disk.close(handle).is_err() {
            self.break_rule("a file is closed twice");
        }
    }

    /// SIGKILL: the kernel closes what the process had.
    pub fn kill(&mut self) {
        if !self.store.is_in_use {
            self.note_crash();
        }
        for id in self.memories.values().flat_map(Memory::holders_of_bytes) {
            for vmm in self.vmms.iter_mut().filter(|vmm| vmm.id == id) {
                vmm.held_in_crash = true;
            }
        }
        self.is_dead = true;
        self.end_process();
    }

    /// The process is gone: nothing of it is left but what others hold.
    pub fn end_process(&mut self) {
        self.watch_nothing();
        for object in std::mem::take(&mut self.descriptors).into_values() {
            self.release(object);
        }
    }

    /// execve(2): those descriptors stay, what watched them goes.
    pub fn replace_process(&mut self, kept: &[i32]) {
        for number in self.descriptors.keys().copied().collect::<Vec<_>>() {
            if !kept.contains(&number) {
                self.close(number);
            }
        }
        self.watch_nothing();
    }

    /// The epoll and the inotify instance go.
    fn watch_nothing(&mut self) {
        self.watched.clear();
        self.ready.clear();
        self.inotify = Inotify::default();
        self.conns.iter_mut().for_each(|conn| conn.watch = None);
        self.watch_no_viewer();
        self.processes.values_mut().for_each(|process| process.watch = None);
    }
}

/// epoll.
impl Kernel {
    pub fn watch(&mut self, number: i32, token: u64) {
        self.watched.insert(number, token);
    }

    fn unwatch(&mut self, number: i32) {
        if let Some(token) = self.watched.remove(&number) {
            self.ready.retain(|(of, _)| *of != number);
            self.stale.push(token);
        }
    }

    /// An edge: told at once, or later.
    pub fn announce(&mut self, descriptor: i32, token: u64) {
        if self.is_dead {
            return;
        }
        if self.strikes(Fault::Late) {
            let after = self.dice.micros(10, 50_000);
            return self.schedule(after, Event::Late { descriptor, token });
        }
        self.announce_now(descriptor, token);
    }

    fn announce_now(&mut self, descriptor: i32, token: u64) {
        if !self.is_dead && !self.ready.contains(&(descriptor, token)) {
            self.ready.push_back((descriptor, token));
        }
    }
}

pub fn errno(code: i32) -> io::Error {
    io::Error::from_raw_os_error(code)
}
