//! The one loop: events, turns, timers, signals, ledgers.
//!
//! It owns the poll and the instances. Each turn takes in all events, then runs instances that
//! have something to do, in a queue, for a slice of time; what is left of the queue comes before
//! the next events are waited for, but events are looked at in between.
//!
//! **Invariant:** with an empty queue it sleeps until the next deadline; it never spins.

use std::collections::{BTreeSet, VecDeque};
use std::io::{self, Read};
use std::time::{Duration, Instant};

use mio::net::UnixStream;
use mio::{Events, Interest, Poll, Registry, Token};
use signal_hook::consts::{SIGINT, SIGSYS, SIGTERM, SIGUSR1};

use super::instance::{self, Exit, Instance};

/// Running instances is interrupted after this, to look at events.
const SLICE: Duration = Duration::from_millis(2);
/// Ledgers written at once by a fleet, so that thousands don't stop the guests.
const LEDGERS_AT_ONCE: usize = 20;
/// Guests that wait for the clock are woken at most this often.
const TICK: Duration = Duration::from_millis(1);

const SIGNAL_END: Token = Token(usize::MAX);
const SIGNAL_LEDGERS: Token = Token(usize::MAX - 1);

/// The loop.
pub struct EventLoop {
    poll: Poll,
    instances: Vec<Instance>,
    /// Those that have something to do, each once.
    queue: VecDeque<usize>,
    queued: Vec<bool>,
    timers: BTreeSet<(Instant, usize)>,
    /// Each instance's entry in `timers`.
    deadlines: Vec<Option<Instant>>,
    living: usize,
    /// How old a ledger on disk gets while its guest prints.
    ledger_age_max: Duration,
    ledgers_due: Instant,
    next_ledger: usize,
    end_signal: UnixStream,
    ledger_signal: UnixStream,
}

impl EventLoop {
    /// A loop without instances, which hears SIGTERM, SIGINT and SIGUSR1 (write all ledgers).
    ///
    /// # Errors
    /// Those of the system.
    pub fn new(ledger_age_max: Duration) -> io::Result<Self> {
        let poll = Poll::new()?;
        let (mut end_signal, mut ledger_signal) =
            (signal_pipe(&[SIGTERM, SIGINT])?, { signal_pipe(&[SIGUSR1])? });
        let registry = poll.registry();
        registry.register(&mut end_signal, SIGNAL_END, Interest::READABLE)?;
        registry.register(&mut ledger_signal, SIGNAL_LEDGERS, Interest::READABLE)?;
        Ok(Self {
            poll,
            instances: Vec::new(),
            queue: VecDeque::new(),
            queued: Vec::new(),
            timers: BTreeSet::new(),
            deadlines: Vec::new(),
            living: 0,
            ledger_age_max,
            ledgers_due: Instant::now(),
            next_ledger: 0,
            end_signal,
            ledger_signal,
        })
    }

    /// What sockets are registered with.
    pub fn registry(&self) -> &Registry {
        self.poll.registry()
    }

    /// The index of the next instance.
    pub fn next_index(&self) -> usize {
        self.instances.len()
    }

    /// Takes an instance in.
    pub fn push(&mut self, instance: Instance) {
        self.queue.push_back(self.instances.len());
        self.queued.push(true);
        self.deadlines.push(None);
        self.instances.push(instance);
        self.living += 1;
    }

    /// The instances.
    pub fn instances(&self) -> &[Instance] {
        &self.instances
    }

    /// Runs until every instance has ended.
    ///
    /// # Errors
    /// Those of poll.
    pub fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        while self.living > 0 {
            let now = Instant::now();
            match self.poll.poll(&mut events, self.timeout(now)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                polled => polled?,
            }
            self.take_in(&events);
            let now = Instant::now();
            self.wake_due(now);
            self.run_slice(now);
            self.write_ledgers(Instant::now());
        }
        Ok(())
    }

    fn timeout(&self, now: Instant) -> Option<Duration> {
        if !self.queue.is_empty() {
            return Some(Duration::ZERO);
        }
        let timer = self.timers.first().map(|(at, _)| at.saturating_duration_since(now));
        let stale = self.instances.iter().any(Instance::is_stale);
        let ledgers = stale.then(|| self.ledgers_due.saturating_duration_since(now));
        [timer, ledgers].into_iter().flatten().min()
    }

    fn take_in(&mut self, events: &Events) {
        for event in events {
            match event.token() {
                SIGNAL_END => {
                    drain(&mut self.end_signal);
                    for index in 0..self.instances.len() {
                        self.instances[index].terminate();
                        self.enqueue(index);
                    }
                }
                SIGNAL_LEDGERS => {
                    drain(&mut self.ledger_signal);
                    for instance in &mut self.instances {
                        instance.write_ledger();
                    }
                }
                token => {
                    let index = instance::index_of(token);
                    if let Some(instance) = self.instances.get_mut(index) {
                        instance.on_event(self.poll.registry(), event);
                        self.enqueue(index);
                    }
                }
            }
        }
    }

    fn enqueue(&mut self, index: usize) {
        if !std::mem::replace(&mut self.queued[index], true) {
            self.queue.push_back(index);
        }
    }

    fn wake_due(&mut self, now: Instant) {
        while let Some(&(at, index)) = self.timers.first() {
            if at > now {
                break;
            }
            self.timers.pop_first();
            self.deadlines[index] = None;
            self.enqueue(index);
        }
    }

    fn run_slice(&mut self, start: Instant) {
        let mut now = start;
        // Each at most once, so that an instance with much to do doesn't starve the events.
        for _ in 0..self.queue.len() {
            let Some(index) = self.queue.pop_front() else {
                break;
            };
            self.queued[index] = false;
            let instance = &mut self.instances[index];
            let living = instance.exit().is_none();
            instance.turn(self.poll.registry(), now);
            if living && let Some(exit) = instance.exit() {
                self.living -= 1;
                self.on_exit(exit);
            }
            self.schedule(index, now);
            now = Instant::now();
            if now.saturating_duration_since(start) > SLICE {
                break;
            }
        }
    }

    fn schedule(&mut self, index: usize, now: Instant) {
        if let Some(old) = self.deadlines[index].take() {
            self.timers.remove(&(old, index));
        }
        match self.instances[index].next_wake(now) {
            Some(at) if at <= now => self.enqueue(index),
            Some(at) => {
                // A guest that prints at a rate has bytes due every few microseconds; they are
                // printed in a burst at each tick.
                let at = at.max(now + TICK);
                self.timers.insert((at, index));
                self.deadlines[index] = Some(at);
            }
            None => {}
        }
    }

    /// A lone VMM that is killed takes its process along; one of a fleet only its sockets.
    fn on_exit(&mut self, exit: Exit) {
        if exit == Exit::Killed && self.instances.len() == 1 {
            // It only returns if the default action could not be had.
            let _ = signal_hook::low_level::emulate_default_handler(SIGSYS);
        }
    }

    fn write_ledgers(&mut self, now: Instant) {
        if now < self.ledgers_due {
            return;
        }
        self.ledgers_due = now + self.ledger_age_max;
        let mut written = 0;
        for _ in 0..self.instances.len() {
            let index = self.next_ledger % self.instances.len();
            self.next_ledger = index + 1;
            written += usize::from(self.instances[index].write_ledger());
            if written == LEDGERS_AT_ONCE {
                break;
            }
        }
    }
}

/// A stream that becomes readable at any of these signals.
fn signal_pipe(signals: &[i32]) -> io::Result<UnixStream> {
    let (reader, writer) = std::os::unix::net::UnixStream::pair()?;
    for signal in signals {
        signal_hook::low_level::pipe::register(*signal, writer.try_clone()?)?;
    }
    reader.set_nonblocking(true)?;
    Ok(UnixStream::from_std(reader))
}

fn drain(stream: &mut UnixStream) {
    let mut bytes = [0; 64];
    while stream.read(&mut bytes).is_ok_and(|count| count > 0) {}
}
