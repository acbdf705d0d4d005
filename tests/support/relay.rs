//! A recording relay between a VMM's serial port and seriald: what it has recorded is the truth
//! that a log is compared with.
//!
//! The VMM connects to one path and is always read, whether or not a client takes the bytes. The
//! other path is what Cloud Hypervisor would bind: a new client there displaces the old one, which
//! may read on to its end; a client that shuts down its writing side is let go; and when the VMM
//! has gone and everything has been handed over, the client sees the end and the path is removed.
//! **Invariant:** each recorded byte is handed to exactly one client, in order.

use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;

use super::wait::PATIENCE;

/// One relay, for one VMM. Its threads end with the streams they serve.
pub struct Relay {
    serial: PathBuf,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Default)]
struct Inner {
    /// Every byte that the VMM has printed.
    record: Vec<u8>,
    /// How many of them have been handed to a client.
    handed_over: usize,
    /// The VMM has closed its side.
    vmm_gone: bool,
    /// All is done: there will be no further client.
    ended: bool,
    /// How many clients there have been; the number of the present one.
    clients: u64,
    client: Option<UnixStream>,
}

impl Relay {
    /// Binds both paths: `vmm` for the VMM to connect to, `serial` for seriald.
    pub fn start(vmm: &Path, serial: &Path) -> Relay {
        let bind = |path: &Path| {
            UnixListener::bind(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        };
        let (vmm, clients) = (bind(vmm), bind(serial));
        let relay = Relay { serial: serial.to_owned(), state: Arc::default() };
        let state = relay.state.clone();
        thread::spawn(move || state.record_the_vmm(&vmm));
        let state = relay.state.clone();
        thread::spawn(move || state.accept_clients(&clients));
        let (state, serial) = (relay.state.clone(), serial.to_owned());
        thread::spawn(move || state.hand_over(&serial));
        relay
    }

    /// What the VMM has printed so far.
    pub fn record(&self) -> Vec<u8> {
        self.state.lock().record.clone()
    }

    /// How many clients have connected so far.
    pub fn clients(&self) -> u64 {
        self.state.lock().clients
    }

    /// Waits until the VMM has gone and a client has got all it printed, and returns that.
    pub fn wait_for_end(&self) -> Vec<u8> {
        let goes_on = |inner: &mut Inner| !inner.ended;
        let waited = self.state.changed.wait_timeout_while(self.state.lock(), PATIENCE, goes_on);
        let (inner, result) = waited.expect("no thread of the relay panics with the lock held");
        let (taken, printed, gone) = (inner.handed_over, inner.record.len(), inner.vmm_gone);
        drop(inner);
        assert!(
            !result.timed_out(),
            "the relay's end: waited {PATIENCE:?} in vain; {taken} of {printed} bytes handed over, \
             the VMM has gone: {gone}"
        );
        self.record()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.state.end(&self.serial);
    }
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no thread of the relay panics with the lock held")
    }

    fn record_the_vmm(&self, listener: &UnixListener) {
        let Ok((mut vmm, _)) = listener.accept() else { return };
        let mut chunk = [0; 4096];
        while let Ok(count @ 1..) = vmm.read(&mut chunk) {
            self.lock().record.extend_from_slice(&chunk[..count]);
            self.changed.notify_all();
        }
        self.lock().vmm_gone = true;
        self.changed.notify_all();
    }

    fn accept_clients(self: &Arc<State>, listener: &UnixListener) {
        while let Ok((client, _)) = listener.accept() {
            let mut inner = self.lock();
            if inner.ended {
                return;
            }
            inner.clients += 1;
            let (state, number) = (self.clone(), inner.clients);
            let watched = client.try_clone().expect("a second descriptor of a client");
            if let Some(displaced) = inner.client.replace(client) {
                let _ = displaced.shutdown(Shutdown::Write);
            }
            drop(inner);
            self.changed.notify_all();
            thread::spawn(move || state.watch_client(number, watched));
        }
    }

    /// Reads a client's input, which nobody wants, for the end of it.
    fn watch_client(&self, number: u64, mut client: UnixStream) {
        let mut chunk = [0; 64];
        while let Ok(1..) = client.read(&mut chunk) {}
        let mut inner = self.lock();
        if inner.clients == number {
            inner.client = None;
        }
        let _ = client.shutdown(Shutdown::Write);
    }

    fn hand_over(&self, serial: &Path) {
        while let Some((chunk, mut client)) = self.next_chunk() {
            // Not under the lock: it blocks while the client doesn't read. A client that leaves
            // or is displaced meanwhile fails the write, and the next one goes on from there.
            let written = client.write(&chunk).unwrap_or(0);
            self.lock().handed_over += written;
            self.changed.notify_all();
        }
        self.end(serial);
    }

    /// The next bytes and who is to get them; `None` when there will be no more.
    fn next_chunk(&self) -> Option<(Vec<u8>, UnixStream)> {
        let waits = |inner: &mut Inner| {
            let idle = inner.handed_over == inner.record.len() || inner.client.is_none();
            !inner.ended && idle && !(inner.vmm_gone && inner.handed_over == inner.record.len())
        };
        let inner = self.changed.wait_while(self.lock(), waits).ok()?;
        if inner.ended || inner.handed_over == inner.record.len() {
            return None;
        }
        let rest = &inner.record[inner.handed_over..];
        let chunk = rest[..rest.len().min(4096)].to_vec();
        let client = inner.client.as_ref()?.try_clone().expect("a second descriptor of a client");
        Some((chunk, client))
    }

    /// Lets the client see the end and gives up the path. Idempotent.
    fn end(&self, serial: &Path) {
        let mut inner = self.lock();
        if inner.ended {
            return;
        }
        inner.ended = true;
        let client = inner.client.take();
        drop(inner);
        self.changed.notify_all();
        // The accepting thread is woken by a last client and finds that all has ended. The path
        // goes before the client sees the end, so that it can't dial a listener about to close.
        let _ = UnixStream::connect(serial);
        let _ = fs::remove_file(serial);
        if let Some(client) = client {
            let _ = client.shutdown(Shutdown::Write);
        }
    }
}
