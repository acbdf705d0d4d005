//! The threads that CH has, by name: who looks into /proc finds what he would find there.
//!
//! They do nothing; all work is done by the one loop.
//! **Invariant:** a thread with one of these names exists exactly as long as CH's: `vcpu0` while
//! there is a machine, `serial-manager` while the serial thread accepts, reads or sleeps.

use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};

/// A thread that sleeps until it is dropped.
struct Named {
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Named {
    fn start(name: &str) -> Option<Self> {
        let (end, ended) = channel::<()>();
        // An error: the sender is gone, which is the end.
        let sleep = move || ended.recv().unwrap_or(());
        match thread::Builder::new().name(name.to_string()).spawn(sleep) {
            Ok(thread) => Some(Self { end: Some(end), thread: Some(thread) }),
            Err(error) => {
                eprintln!("ch-sim: no thread {name}: {error}");
                None
            }
        }
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        self.end = None;
        if let Some(thread) = self.thread.take() {
            // It only waits for the end above.
            let _ = thread.join();
        }
    }
}

/// The threads of one VM.
#[derive(Default)]
pub struct Threads {
    vcpu: Option<Named>,
    serial: Option<Named>,
}

impl Threads {
    /// Starts and ends threads, so that those exist that are named.
    pub fn set(&mut self, vcpu: bool, serial: bool) {
        set(&mut self.vcpu, vcpu, "vcpu0");
        set(&mut self.serial, serial, "serial-manager");
    }
}

fn set(slot: &mut Option<Named>, wanted: bool, name: &str) {
    if slot.is_some() != wanted {
        *slot = if wanted { Named::start(name) } else { None };
    }
}
