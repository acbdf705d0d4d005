//! A loop in a thread of its own that serves its API.
//!
//! **Invariant:** stopped and joined when dropped.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use seriald::env::os::OsWaker;
use seriald::{Config, ControlSpec, Handle, MetricsSpec, Seriald, VmSpec};
use tempfile::TempDir;

use super::client::Client;
use super::support::embedded::spec;
use super::support::wait::PATIENCE;

pub struct Served {
    pub dir: TempDir,
    pub path: PathBuf,
    pub handle: Handle<OsWaker>,
    /// Where counters are asked for by TCP, if anywhere.
    pub metrics: Option<SocketAddr>,
    thread: Option<JoinHandle<()>>,
}

impl Served {
    pub fn start() -> Served {
        Served::with(|_| {})
    }

    pub fn with(change: impl FnOnce(&mut ControlSpec)) -> Served {
        Served::telling(MetricsSpec::default(), change)
    }

    /// One that tells counters so, at a port of its own.
    pub fn scraped(per_vm: bool) -> Served {
        let listen = Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        Served::telling(MetricsSpec { per_vm, listen }, |_| {})
    }

    fn telling(metrics: MetricsSpec, change: impl FnOnce(&mut ControlSpec)) -> Served {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("control.sock");
        let mut wanted = ControlSpec::new(&path);
        change(&mut wanted);
        let (sender, handle) = mpsc::channel();
        let thread = thread::spawn(move || {
            let mut reactor = Seriald::bind(Config::default()).expect("a loop");
            reactor.serve_control(wanted).expect("served");
            reactor.serve_metrics(metrics).expect("served");
            let told = (reactor.handle(), reactor.metrics_address());
            sender.send(told).expect("the test waits");
            reactor.run(|_, _| {}).expect("it turns");
        });
        let (handle, metrics) = handle.recv_timeout(PATIENCE).expect("a handle");
        Served { dir, path, handle, metrics, thread: Some(thread) }
    }

    pub fn client(&self) -> Client {
        Client::connect(&self.path)
    }

    pub fn scraper(&self) -> Client<TcpStream> {
        Client::tcp(self.metrics.expect("an address"))
    }

    pub fn spec(&self, id: &str) -> VmSpec {
        spec(id, self.dir.path(), 1 << 20)
    }

    /// Takes charge of VMs whose sockets are absent.
    pub fn adopt(&self, ids: &[&str]) {
        for id in ids {
            self.handle.adopt(self.spec(id)).expect("it turns").expect("adopted");
        }
    }

    /// Stops the loop: what is left of its directory.
    pub fn stop(mut self) -> TempDir {
        self.end();
        std::mem::replace(&mut self.dir, tempfile::tempdir().expect("a directory"))
    }

    fn end(&mut self) {
        let _ = self.handle.stop();
        let Some(thread) = self.thread.take() else { return };
        let deadline = Instant::now() + PATIENCE;
        while !thread.is_finished() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
        let how = match thread.is_finished() {
            false => "does not end",
            true if thread.join().is_err() => "has panicked",
            true => return,
        };
        assert!(thread::panicking(), "the loop {how}");
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.end();
    }
}

/// A path's permission bits.
pub fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).expect("it is there").permissions().mode() & 0o7777
}
