//! The loop: one turn after another, each in seven phases.
//!
//! Owns the table of VMs, the run queue, the timers and the one scratch buffer of all reads.
//! **Invariant:** an event only marks; what runs, runs in the order of the phases, with one `now`
//! a turn; slots are freed in the last phase alone. No phase goes on for longer than its pace
//! lets it: what is left of it is the first of the next turn, which follows at once.

mod adopt;
#[cfg(feature = "bench")]
#[doc(hidden)]
pub mod bench;
mod coalesce;
mod control;
mod embedding;
mod ends;
mod errands;
mod error;
mod exchange;
mod handle;
mod heritage;
mod index;
mod key;
mod launching;
mod limiting;
mod line;
mod notes;
mod orderly;
mod pace;
mod patterns;
mod rate;
mod real;
mod reconfigure;
mod report;
mod seldom;
mod serial;
mod service;
mod shared;
mod slot;
mod store;
mod stranger;
mod table;
mod timers;
mod upgrade;
mod watch;

pub use control::ControlError;
pub use error::{AdoptError, Error, Gone};
pub use handle::Handle;
pub use patterns::Directory;
pub use reconfigure::ReconfigureError;
pub use report::{Ends, Event, EventKind, Stats, TURN_US_BOUNDS, Turn, VmId, VmStatus};
pub use upgrade::Check;

use crate::config::Config;
use crate::env::{
    Announced, CHANGES_TOKEN, CHECK_TOKEN, Descriptor, Env, LISTEN_TOKEN, Moment, NOTIFY_TOKEN,
    ProcessSignal, SIGNAL_TOKEN, TCP_TOKEN, WAKE_TOKEN, WORK_TOKEN,
};
use crate::limits;
use crate::vm::Jitter;
use key::Key;
use slot::Slot;
use std::collections::VecDeque;
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
    host: Option<limiting::Host>,
    table: Table<Slot<E>>,
    index: index::Index,
    shared: shared::Shared,
    timers: Timers,
    queue: VecDeque<Key>,
    stepping: VecDeque<Key>,
    errands: errands::Errands<E::Process>,
    /// Logs to be looked at on request.
    to_reopen: VecDeque<Key>,
    /// VMs to be let go of, as the loop was stopped.
    to_stop: VecDeque<Key>,
    to_reap: Vec<Key>,
    events: VecDeque<Event>,
    signals: VecDeque<ProcessSignal>,
    watching: watch::Watching,
    patterns: patterns::Patterns,
    mailbox: handle::Mailbox,
    control: control::Control<E::Stream>,
    scraping: control::Scraping,
    consoles: control::Consoles<E::Files>,
    /// A successor that is being asked.
    upgrade: Option<upgrade::Upgrade<E::Process>>,
    service: Option<service::Service>,
    service_has_room: bool,
    store: Option<store::Store>,
    /// Memory of the store that a predecessor in this process has left.
    memory_left: Option<Descriptor>,
    stats: Stats,
    jitter: Jitter,
    scratch: Box<[u8]>,
    announced: Vec<Announced>,
    /// A read of this many bytes found the socket full, if they came one by one.
    full_mark: usize,
    turn_bytes: u64,
    /// Bytes that all logs together hold in memory.
    held_total: usize,
    /// A read of this turn failed, the kernel having no memory for it, say.
    short_of_memory: bool,
    /// The last wait took as many events as it could: there may be more, which make no new edge
    /// for a loop outside that is edge-triggered.
    batch_full: bool,
    coalescing: coalesce::Coalescing,
    turn_ended: Moment,
    stopping: bool,
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
            host: limiting::Host::of(&config, env.now()),
            env,
            config,
            table: Table::new(),
            index: index::Index::default(),
            shared: shared::Shared::default(),
            timers: Timers::default(),
            queue: VecDeque::new(),
            stepping: VecDeque::new(),
            errands: errands::Errands::default(),
            to_reopen: VecDeque::new(),
            watching: watch::Watching::default(),
            patterns: patterns::Patterns::default(),
            to_stop: VecDeque::new(),
            to_reap: Vec::new(),
            events: VecDeque::new(),
            signals: VecDeque::new(),
            mailbox: handle::Mailbox::new(),
            control: control::Control::default(),
            scraping: control::Scraping::default(),
            consoles: control::Consoles::default(),
            upgrade: None,
            service: None,
            service_has_room: false,
            store: None,
            memory_left: None,
            stats: Stats::default(),
            scratch: vec![0; limits::TURN_BUDGET].into_boxed_slice(),
            announced: Vec::with_capacity(limits::WAIT_BATCH),
            full_mark,
            turn_bytes: 0,
            held_total: 0,
            short_of_memory: false,
            batch_full: false,
            coalescing: coalesce::Coalescing::default(),
            turn_ended: Moment::ZERO,
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
        self.mark_all(now);
        Ok(self.serve_marked(now))
    }

    /// The phases of a turn after its marks.
    fn serve_marked(&mut self, now: Moment) -> Turn {
        self.work(now);
        self.fire_timers(now);
        self.flush(now);
        self.reap();
        self.end_turn(now)
    }

    /// Turns until it was stopped and every VM is closed, or, where nothing is left, stopped.
    ///
    /// # Errors
    /// As [`Reactor::turn`].
    pub fn run(&mut self, mut on_event: impl FnMut(&mut Self, &Event)) -> Result<(), Error> {
        loop {
            while let Some(event) = self.next_event() {
                on_event(self, &event);
            }
            if self.is_stopped() {
                return Ok(());
            }
            self.turn(None)?;
        }
    }

    /// Phase 1: to the next timer, or not at all while work is queued.
    fn wait(&mut self, max_wait: Option<Duration>) -> Result<(), Error> {
        let until_due = match std::mem::take(&mut self.short_of_memory) {
            // What is queued could not be read just now.
            true => Some(limits::MEMORY_PAUSE),
            false => self.next_wake(),
        };
        let mut timeout = match (max_wait, until_due) {
            (Some(most), Some(due)) => Some(most.min(due)),
            (most, due) => most.or(due),
        };
        if let Some(until) = self.coalescing.take_pause(self.config.coalesce, self.full_mark) {
            let now = self.env.now();
            let pause = until.saturating_sub(now);
            let pause = timeout.map_or(pause, |timeout| timeout.min(pause));
            if !pause.is_zero() {
                self.env.sleep_until(now + pause);
                timeout = timeout.map(|timeout| timeout - pause);
            }
        }
        self.env
            .wait(timeout, &mut self.announced)
            .map_err(|cause| Error { what: "wait for events", cause })
    }

    /// Phase 3: events become marks; no handler runs here.
    fn mark_all(&mut self, now: Moment) {
        let announced = std::mem::take(&mut self.announced);
        self.batch_full = announced.len() >= limits::WAIT_BATCH;
        let mut woken = false;
        for one in &announced {
            match one.token {
                WAKE_TOKEN => woken = true,
                SIGNAL_TOKEN => self.take_signals(),
                NOTIFY_TOKEN => self.service_has_room = true,
                // Whoever asked for it looks after each turn.
                CHECK_TOKEN => {}
                WORK_TOKEN => self.errands.ready = true,
                CHANGES_TOKEN => self.watching.ready = true,
                LISTEN_TOKEN => self.mark_listener(),
                TCP_TOKEN => self.mark_scraping(),
                token => match Key::of_client(token) {
                    Some(client) => self.mark_client(client, *one),
                    None => self.mark(*one),
                },
            }
        }
        self.announced = announced;
        self.announced.clear();
        if woken || self.mailbox.has_left {
            self.serve_requests(now);
        }
    }

    fn take_signals(&mut self) {
        while let Some(signal) = self.env.next_signal() {
            match signal {
                ProcessSignal::End => self.stop(),
                // Twice the same asks for no more than once.
                signal if self.signals.contains(&signal) => {}
                signal => self.signals.push_back(signal),
            }
        }
    }

    /// Phase 4: each queued VM gets one budget; what is not drained goes to the tail.
    fn work(&mut self, now: Moment) {
        self.stop_some(now);
        self.look_at_changes(now);
        let mut pace = self.pace(now);
        for _ in 0..self.queue.len() {
            let Some(key) = self.queue.pop_front() else { break };
            let before = self.dear_things();
            self.serve_vm(key, now);
            let is_over = match self.dear_things() == before {
                true => pace.is_over_by_now(&self.env),
                false => pace.is_over(&self.env),
            };
            if is_over {
                break;
            }
        }
    }

    fn serve_vm(&mut self, key: Key, now: Moment) {
        let Some(slot) = self.table.get_mut(key) else { return };
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
            self.read_stranger(key);
        }
        if self.table.get(key).is_some_and(|slot| slot.ready.any() && !slot.closing) {
            self.enqueue(key);
        }
    }

    /// Phase 5: deadlines that are due, the earliest first; each is set anew to later than now.
    fn fire_timers(&mut self, now: Moment) {
        let mut pace = self.pace(now);
        while let Some((at, clock)) = self.timers.due(now) {
            let Some((key, _)) = self.table.at(at) else { break };
            let Some(slot) = self.table.get_mut(key) else { break };
            self.timers.set(slot.armed(clock), key, clock, None);
            match clock {
                Clock::Vm => self.on_vm_timer(key, now),
                Clock::Log => {
                    let before = slot.log.counters();
                    slot.log.on_timer(self.env.files(), now);
                    self.after_log(key, before);
                }
                Clock::Launch => self.on_launch_timer(key, now),
                Clock::Call => self.on_exchange_deadline(key, now),
            }
            let again = self.table.get(key).and_then(|slot| slot.due(clock));
            debug_assert!(again.is_none_or(|at| at > now), "a timer that is due again");
            if pace.is_over(&self.env) {
                break;
            }
        }
        if std::mem::take(&mut self.service_has_room) {
            self.flush_service();
            self.service_has_room = self.dial_waiting(now);
        }
        self.serve_due(now);
        self.patterns_timer(now);
        self.control_timer(now);
    }

    /// Phase 6: a step of some of the rotations under way, some of the logs to be looked at, the
    /// children that work on backups, and the clients of our own API.
    fn flush(&mut self, now: Moment) {
        self.reopen_some(now);
        let mut pace = self.pace(now);
        for _ in 0..self.stepping.len() {
            let Some(key) = self.stepping.pop_front() else { break };
            let Some(slot) = self.table.get_mut(key) else { continue };
            let before = slot.log.counters();
            slot.log.step(self.env.files(), now);
            slot.stepping = false;
            self.after_log(key, before);
            if pace.is_over(&self.env) {
                break;
            }
        }
        self.run_errands(now);
        self.serve_clients(now);
    }

    fn end_turn(&mut self, began: Moment) -> Turn {
        let read_bytes = std::mem::take(&mut self.turn_bytes);
        self.coalescing.end_turn(began);
        if read_bytes == 0 {
            self.shrink_queues();
        }
        self.turn_ended = self.env.now();
        let took = self.turn_ended.saturating_sub(began).as_micros() as u64;
        if self.stopping && self.table.len() == 0 {
            self.say_farewell(self.turn_ended);
        }
        if self.is_stopped() {
            self.mailbox.close();
            self.end_store();
            self.stop_control();
            self.stop_metrics();
        }
        self.stats.count_turn(took);
        Turn { read_bytes, vms: self.table.len() }
    }

    /// How long until a turn is due although nothing became ready; `None`: never. Zero while there
    /// is something left to do: a VM has more to read, a rotation is under way, a closed VM is yet
    /// to be freed, a request, or a change in a watched directory, yet to be looked at.
    pub fn next_wake(&self) -> Option<Duration> {
        let work = !self.queue.is_empty() || !self.stepping.is_empty() || !self.to_reap.is_empty();
        let work = work || !self.to_reopen.is_empty() || self.has_changes() || self.has_errand();
        let work = work || !self.to_stop.is_empty() || self.mailbox.has_left;
        let work = work || self.service_has_room || self.has_clients_to_serve();
        let ends = self.stopping && self.table.len() == 0 && !self.is_saying_farewell();
        if work || self.batch_full || ends {
            return Some(Duration::ZERO);
        }
        let (service, rescan) = (self.service_deadline(), self.patterns.rescan_at);
        let errands = self.errands.deadline();
        let control = self.clients_deadline();
        let due = [self.timers.next(), self.upgrade_deadline(), service, rescan, errands, control];
        due.into_iter().flatten().min().map(|at| at.saturating_sub(self.env.now()))
    }

    /// The next signal but those that stop the loop; each kind waits once at most.
    pub fn next_signal(&mut self) -> Option<ProcessSignal> {
        self.signals.pop_front()
    }

    fn tell(&mut self, key: Key, kind: EventKind) {
        if let Some(what) = notes::noted(&kind) {
            self.note(key, what);
        }
        self.tell_clients(key, &kind);
        self.tell_embedder(key, kind);
    }

    /// What is news for whoever embeds the loop alone.
    fn tell_embedder(&mut self, key: Key, kind: EventKind) {
        if self.events.len() >= limits::EVENTS_MAX {
            self.events.pop_front();
            self.stats.events_dropped += 1;
        }
        self.status_changed();
        self.events.push_back(Event { id: self.name(key), vm: VmId(key), kind });
    }

    fn name(&self, key: Key) -> String {
        self.table.get(key).map_or_else(String::new, |slot| slot.id().to_owned())
    }

    fn roll(&mut self) -> u64 {
        self.jitter.roll()
    }
}
