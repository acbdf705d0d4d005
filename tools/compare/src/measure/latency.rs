//! How long a byte takes from the guest's send to its log: an observer's thread, which looks at one
//! line at a time.
//!
//! Owns the thread. The guests' thread hands it a line (how many bytes its VM has printed with it,
//! when the last of them was sent) whenever it is free, and it looks at the log's size, naps, and
//! looks again until the bytes are there. A time is therefore up to a nap and a wake-up too long,
//! never too short.
//! **Invariant:** handing a line over makes no system call and never waits: the guests' speed is
//! measured too.

use super::clock;
use super::follow::Follow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// A line on its way.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    /// Its VM.
    pub vm: usize,
    /// Bytes that the VM has printed with it.
    pub bytes: u64,
    /// When its last byte was about to be sent.
    pub sent: Instant,
}

/// How an observer looks.
#[derive(Clone, Copy, Debug)]
pub struct Eyes {
    /// Its naps while a line is not there yet: what a time is rounded up to.
    pub nap: Duration,
    /// The longest pause between two lines. Its length varies: a line taken right after another
    /// became visible would always wait for a whole turn of the collector.
    pub pause: Duration,
}

#[derive(Default)]
struct Shared {
    /// The observer waits for a line.
    free: AtomicBool,
    /// No more lines will come.
    over: AtomicBool,
    line: Mutex<Option<Line>>,
}

/// What an observer saw.
#[derive(Debug, Default)]
pub struct Seen {
    /// How long each line took.
    pub times: Vec<Duration>,
    /// Lines that had not come when the watching ended.
    pub missed: usize,
}

/// The observer.
pub struct Observer {
    shared: Arc<Shared>,
    thread: JoinHandle<Seen>,
}

impl Observer {
    /// Watches these logs, one a VM.
    pub fn start(logs: Vec<Follow>, eyes: Eyes) -> Observer {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let thread = thread::spawn(move || observe(&theirs, logs, eyes));
        Observer { shared, thread }
    }

    /// Whether it would take a line now.
    pub fn is_free(&self) -> bool {
        self.shared.free.load(Ordering::Acquire)
    }

    /// Hands it a line; only while it is free, else the line is not looked at.
    pub fn take(&self, line: Line) {
        if let Ok(mut place) = self.shared.line.try_lock() {
            *place = Some(line);
            self.shared.free.store(false, Ordering::Release);
        }
    }

    /// No more lines come: what it saw.
    pub fn end(self) -> Seen {
        self.shared.over.store(true, Ordering::Release);
        self.thread.join().unwrap_or_default()
    }
}

fn observe(shared: &Shared, mut logs: Vec<Follow>, eyes: Eyes) -> Seen {
    clock::sharpen_naps();
    let mut seen = Seen::default();
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    shared.free.store(true, Ordering::Release);
    while !shared.over.load(Ordering::Acquire) {
        let line = shared.line.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(line) = line {
            match wait_for(shared, &mut logs, line, eyes.nap) {
                Some(time) => seen.times.push(time),
                None => seen.missed += 1,
            }
            // Xorshift: nothing depends on its quality.
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let part = f64::from(random as u16) / f64::from(u16::MAX);
            thread::sleep(eyes.pause.mul_f64(part));
            shared.free.store(true, Ordering::Release);
        }
        thread::sleep(eyes.nap);
    }
    seen
}

/// The time until the line is in its log. `None`: it never came.
fn wait_for(shared: &Shared, logs: &mut [Follow], line: Line, nap: Duration) -> Option<Duration> {
    let log = logs.get_mut(line.vm)?;
    loop {
        let over = shared.over.load(Ordering::Acquire);
        if log.has(line.bytes).ok()? {
            return Some(line.sent.elapsed());
        }
        if over {
            return None;
        }
        thread::sleep(nap);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const EYES: Eyes = Eyes { nap: Duration::from_micros(50), pause: Duration::ZERO };

    fn wait_until_free(observer: &Observer) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !observer.is_free() {
            assert!(Instant::now() < deadline, "the observer never gets free");
            thread::yield_now();
        }
    }

    #[test]
    fn a_line_that_came_has_a_time_and_one_that_did_not_is_missed() {
        let dir = tempfile::tempdir().expect("a directory");
        let log = dir.path().join("app.log");
        fs::write(&log, "").expect("a log");
        let observer = Observer::start(vec![Follow::new(&log, 0)], EYES);
        wait_until_free(&observer);
        observer.take(Line { vm: 0, bytes: 5, sent: Instant::now() });
        assert!(!observer.is_free(), "it looks at one line at a time");
        fs::write(&log, "line\n").expect("room");
        wait_until_free(&observer);
        observer.take(Line { vm: 0, bytes: 6, sent: Instant::now() });
        // So that it has begun to look before it is told that no more come.
        while observer.shared.line.lock().expect("a lock").is_some() {
            thread::yield_now();
        }
        let seen = observer.end();
        assert_eq!((seen.times.len(), seen.missed), (1, 1));
    }
}
