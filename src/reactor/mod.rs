//! The loop: one turn after another, each in seven phases.
//!
//! Owns the table of VMs, the run queue, the timers and the one scratch buffer of all reads.
//! **Invariant:** an event only marks; what runs, runs in the order of the phases, with one `now`
//! a turn; slots are freed in the last phase alone.

mod adopt;
mod error;
mod exchange;
mod handle;
mod key;
mod launching;
mod report;
mod serial;
mod slot;
mod table;
mod timers;

pub use error::{AdoptError, Error, Gone};
pub use handle::Handle;
pub use report::{Event, EventKind, Stats, Turn, VmId, VmStatus};

use crate::ch::api::Call;
use crate::config::Config;
use crate::env::os::OsEnv;
use crate::env::{Env, Moment, SIGNAL_TOKEN, WAKE_TOKEN};
use crate::limits;
use crate::vm::{Jitter, State};
use key::Key;
use slot::Slot;
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;
use table::Table;
use timers::{Clock, Timers};

/// A single-threaded loop that appends the serial consoles of VMs to their logs.
///
/// Dropping it leaves every console in order, which may take up to a second; [`Reactor::run`]
/// after [`Reactor::stop`] does the same in sight.
pub struct Reactor<E: Env> {
    env: E,
    config: Config,
    table: Table<Slot<E>>,
    index: adopt::Index,
    timers: Timers,
    queue: VecDeque<Key>,
    stepping: Vec<Key>,
    to_reap: Vec<Key>,
    events: VecDeque<Event>,
    mailbox: handle::Mailbox,
    stats: Stats,
    jitter: Jitter,
    scratch: Box<[u8]>,
    tokens: Vec<u64>,
    /// A read of this many bytes found the socket full, if they came one by one.
    full_mark: usize,
    turn_bytes: u64,
    /// When the last turn began, if it moved bytes.
    busy_since: Option<Moment>,
    stopping: bool,
}

impl Reactor<OsEnv> {
    /// Opens the loop over the real system, and raises RLIMIT_NOFILE to its hard limit. It dials
    /// nothing and touches no signal.
    ///
    /// # Errors
    /// The system call that failed.
    pub fn bind(config: Config) -> Result<Self, Error> {
        let env = OsEnv::new().map_err(|cause| Error { what: "open the event loop", cause })?;
        Self::with_env(config, env)
    }

    /// From now on SIGTERM and SIGINT do what [`Reactor::stop`] does. For a binary: signals are
    /// the process', so a library leaves them alone.
    ///
    /// # Errors
    /// The system call that failed.
    pub fn stop_on_signals(&mut self) -> Result<(), Error> {
        self.env.watch_end_signals().map_err(|cause| Error { what: "watch signals", cause })
    }
}

impl AsFd for Reactor<OsEnv> {
    /// The epoll instance, to nest the loop in another: when it is readable, or
    /// [`Reactor::next_wake`] has passed, call [`Reactor::turn`] with `Some(Duration::ZERO)`.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.env.as_fd()
    }
}

impl<E: Env> Reactor<E> {
    /// The same loop over another world.
    ///
    /// # Errors
    /// The socketpair on which the size of a socket is measured.
    pub fn with_env(config: Config, mut env: E) -> Result<Self, Error> {
        let full_mark = env
            .messages_that_fill()
            .map_err(|cause| Error { what: "measure what fills a socket", cause })?;
        Ok(Reactor {
            jitter: Jitter::new(env.seed()),
            env,
            config,
            table: Table::new(),
            index: adopt::Index::default(),
            timers: Timers::default(),
            queue: VecDeque::new(),
            stepping: Vec::new(),
            to_reap: Vec::new(),
            events: VecDeque::new(),
            mailbox: handle::Mailbox::new(),
            stats: Stats::default(),
            scratch: vec![0; limits::TURN_BUDGET].into_boxed_slice(),
            tokens: Vec::with_capacity(limits::WAIT_BATCH),
            full_mark,
            turn_bytes: 0,
            busy_since: None,
            stopping: false,
        })
    }

    /// One wait and one bounded pass. Sleeps at most `max_wait`; `None`: until there is something
    /// to do; zero never sleeps.
    ///
    /// # Errors
    /// The wait itself failed: the loop is of no further use.
    pub fn turn(&mut self, max_wait: Option<Duration>) -> Result<Turn, Error> {
        self.wait(max_wait)?;
        let now = self.env.now();
        self.mark_all();
        self.work(now);
        self.fire_timers(now);
        self.flush(now);
        self.reap(now);
        Ok(self.end_turn(now))
    }

    /// Turns until it was stopped and every VM is closed, or, where nothing is left, stopped.
    ///
    /// # Errors
    /// As [`Reactor::turn`].
    pub fn run(&mut self, mut on_event: impl FnMut(&mut Self, &Event)) -> Result<(), Error> {
        while !self.is_stopped() {
            self.turn(None)?;
            while let Some(event) = self.next_event() {
                on_event(self, &event);
            }
        }
        Ok(())
    }

    /// Phase 1: to the next timer, or not at all while work is queued.
    fn wait(&mut self, max_wait: Option<Duration>) -> Result<(), Error> {
        let until_due = self.next_wake();
        let mut timeout = match (max_wait, until_due) {
            (Some(most), Some(due)) => Some(most.min(due)),
            (most, due) => most.or(due),
        };
        if let Some(began) = self.busy_since.take()
            && timeout != Some(Duration::ZERO)
        {
            // Woken for each byte, we and the guest's vCPU would pay for each: let some gather.
            let now = self.env.now();
            let pause = (began + self.config.coalesce).saturating_sub(now);
            let pause = timeout.map_or(pause, |timeout| timeout.min(pause));
            if !pause.is_zero() {
                self.env.sleep_until(now + pause);
                timeout = timeout.map(|timeout| timeout - pause);
            }
        }
        self.env
            .wait(timeout, &mut self.tokens)
            .map_err(|cause| Error { what: "wait for events", cause })
    }

    /// Phase 3: events become marks; no handler runs here.
    fn mark_all(&mut self) {
        let tokens = std::mem::take(&mut self.tokens);
        let mut woken = false;
        for token in &tokens {
            match *token {
                WAKE_TOKEN => woken = true,
                SIGNAL_TOKEN => self.stop(),
                token => self.mark(token),
            }
        }
        self.tokens = tokens;
        self.tokens.clear();
        if woken {
            self.serve_requests();
        }
    }

    /// Phase 4: each queued VM gets one budget; what is not drained goes to the tail.
    fn work(&mut self, now: Moment) {
        for _ in 0..self.queue.len() {
            let Some(key) = self.queue.pop_front() else { break };
            let Some(slot) = self.table.get_mut(key) else { continue };
            slot.queued = false;
            let ready = slot.ready;
            if ready.process {
                self.look_for_exit(key, now);
            }
            if ready.api {
                self.exchange_io(key, now);
            }
            if ready.serial {
                self.pump(key, now);
            }
            if self.table.get(key).is_some_and(|slot| slot.ready.any() && !slot.closing) {
                self.enqueue(key);
            }
        }
    }

    /// Phase 5: every deadline that is due; the next one is then strictly later.
    fn fire_timers(&mut self, now: Moment) {
        while let Some((key, clock)) = self.timers.due(now) {
            let Some(slot) = self.table.get_mut(key) else { break };
            self.timers.set(&mut slot.armed, key, clock, None);
            match clock {
                Clock::Vm => {
                    let next = slot.vm.on_timer(now);
                    self.apply(key, next, now);
                }
                Clock::Log => {
                    let before = *slot.log.counters();
                    slot.log.on_timer(self.env.files(), now);
                    self.after_log(key, before);
                }
                Clock::Launch => self.on_launch_timer(key, now),
                Clock::Call => self.on_exchange_deadline(key, now),
            }
        }
        debug_assert!(self.timers.next().is_none_or(|at| at > now), "a timer that is due again");
    }

    /// Phase 6: one step of each rotation under way.
    fn flush(&mut self, now: Moment) {
        for key in std::mem::take(&mut self.stepping) {
            let Some(slot) = self.table.get_mut(key) else { continue };
            let before = *slot.log.counters();
            slot.log.step(self.env.files(), now);
            slot.stepping = false;
            self.after_log(key, before);
        }
    }

    fn end_turn(&mut self, began: Moment) -> Turn {
        let read_bytes = std::mem::take(&mut self.turn_bytes);
        self.busy_since = (read_bytes > 0).then_some(began);
        let took = self.env.now().saturating_sub(began).as_micros() as u64;
        self.stats.turns += 1;
        self.stats.turn_us_max = self.stats.turn_us_max.max(took);
        Turn { read_bytes, vms: self.table.len(), next_wake: self.next_wake() }
    }

    /// How long until a turn is due although nothing became ready; `None`: never. Zero while a VM
    /// has more than its budget to read, or a rotation is under way.
    pub fn next_wake(&self) -> Option<Duration> {
        if !self.queue.is_empty() || !self.stepping.is_empty() || self.is_stopped() {
            return Some(Duration::ZERO);
        }
        self.timers.next().map(|at| at.saturating_sub(self.env.now()))
    }

    /// Lets go of a VM: its console is left in order, its log closed. The VMM goes on, launched or
    /// not; a launch under way is broken off, and ends its VMM. `false`: it is gone already.
    pub fn release(&mut self, vm: VmId) -> bool {
        let now = self.env.now();
        let Some(slot) = self.table.get_mut(vm.0).filter(|slot| !slot.closing) else {
            return false;
        };
        if slot.launch.as_ref().is_some_and(|part| !part.machine.is_running()) {
            self.on_launch_stop(vm.0, now);
            return true;
        }
        let next = slot.vm.on_release(now);
        self.apply(vm.0, next, now);
        true
    }

    /// Ends the VMM that was launched for this VM, in order (vmm.shutdown; SIGTERM if that is not
    /// answered). `false`: it was not launched here, or is gone.
    pub fn shutdown_vmm(&mut self, vm: VmId) -> bool {
        let now = self.env.now();
        let launched = self.table.get(vm.0).is_some_and(|slot| slot.launch.is_some());
        if launched {
            self.on_launch_stop(vm.0, now);
        }
        launched
    }

    /// Puts a question to the VMM's API, behind those under way; the answer is an event.
    /// `false`: the VM is gone, or [`limits::API_QUEUE_MAX`] questions wait already.
    pub fn call(&mut self, vm: VmId, call: Call) -> bool {
        let now = self.env.now();
        let Some(slot) = self.table.get_mut(vm.0).filter(|slot| !slot.closing) else {
            return false;
        };
        if slot.asked.len() >= limits::API_QUEUE_MAX {
            return false;
        }
        slot.asked.push_back(call);
        self.ask_next(vm.0, now);
        true
    }

    /// Rotates a VM's log, unless it is empty. `false`: the VM is gone.
    pub fn rotate(&mut self, vm: VmId) -> bool {
        let now = self.env.now();
        let Some(slot) = self.table.get_mut(vm.0).filter(|slot| !slot.closing) else {
            return false;
        };
        let before = *slot.log.counters();
        slot.log.rotate(self.env.files(), now);
        self.after_log(vm.0, before);
        true
    }

    /// Lets go of every VM; those that were launched here have their VMM ended.
    pub fn stop(&mut self) {
        self.stopping = true;
        let now = self.env.now();
        let keys: Vec<Key> = self.table.iter().map(|(key, _)| key).collect();
        for key in keys {
            let launched = self.shutdown_vmm(VmId(key));
            if !launched && let Some(slot) = self.table.get_mut(key) {
                let next = slot.vm.on_release(now);
                self.apply(key, next, now);
            }
        }
    }

    /// It was stopped; what VMs are left are being let go of.
    pub fn is_stopping(&self) -> bool {
        self.stopping
    }

    /// No VM is in charge.
    pub fn is_empty(&self) -> bool {
        self.table.len() == 0
    }

    /// It was stopped, and no VM is left.
    pub fn is_stopped(&self) -> bool {
        self.stopping && self.table.len() == 0
    }

    /// How one VM stands; `None`: it is gone.
    pub fn status(&self, vm: VmId) -> Option<VmStatus> {
        let slot = self.table.get(vm.0)?;
        let dialing = matches!(slot.vm.state(), State::Dialing { .. });
        let failure = slot.vm.last_failure().filter(|_| dialing);
        Some(VmStatus {
            id: slot.spec.id.clone(),
            state: slot.vm.state().name(),
            serial: slot.spec.serial.clone(),
            log: slot.spec.log.path.clone(),
            pid: slot.pid,
            read_bytes: slot.read_bytes,
            connects: slot.connects,
            displaced: slot.displaced,
            upstream_loss_possible: slot.upstream_loss_possible,
            dial_failure: failure.map(|failure| failure.to_string()),
            log_counters: *slot.log.counters(),
            log_bytes: slot.log.size(),
            held_bytes: slot.log.held_bytes() as u64,
        })
    }

    /// The counters of this loop.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// The VM of this name.
    pub fn find(&self, id: &str) -> Option<VmId> {
        self.index.find(id).map(VmId)
    }

    /// All VMs in charge.
    pub fn vms(&self) -> impl Iterator<Item = VmId> {
        self.table.iter().map(|(key, _)| VmId(key))
    }

    /// The next state change that nobody has taken yet. At most [`limits::EVENTS_MAX`] wait; the
    /// oldest are then dropped and counted.
    pub fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn tell(&mut self, key: Key, kind: EventKind) {
        if self.events.len() >= limits::EVENTS_MAX {
            self.events.pop_front();
            self.stats.events_dropped += 1;
        }
        self.events.push_back(Event { id: self.name(key), vm: VmId(key), kind });
    }

    fn name(&self, key: Key) -> String {
        self.table.get(key).map_or_else(String::new, |slot| slot.spec.id.clone())
    }

    fn roll(&mut self) -> u64 {
        self.jitter.roll()
    }
}

impl<E: Env> Drop for Reactor<E> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        // A console that is closed with unread bytes is dead until its guest reboots; VMMs that
        // were launched here are left running.
        let now = self.env.now();
        let keys: Vec<Key> = self.table.iter().map(|(key, _)| key).collect();
        for key in keys {
            if let Some(slot) = self.table.get_mut(key) {
                let next = slot.vm.on_release(now);
                self.apply(key, next, now);
            }
        }
        let deadline = now + limits::LEAVE_DEADLINE;
        self.stopping = true;
        while self.table.len() > 0 && self.env.now() < deadline {
            if self.turn(Some(limits::LEAVE_DEADLINE)).is_err() {
                return;
            }
        }
    }
}
