//! Those who look at a VM's console while it is measured, by seriald's own API.
//!
//! Owns their connections and the thread that reads them.
//! **Invariant:** some never read; each of the others has to get every byte that is printed once
//! they are all there, and once.

use anyhow::{Context, Result, anyhow, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Of ten viewers one never reads.
const DEAF_OF: usize = 10;
/// How long they are given to take the last byte.
const PATIENCE: Duration = Duration::from_secs(10);

/// Some who look at one console.
pub struct Viewers {
    reading: Option<JoinHandle<Result<Vec<u64>>>>,
    /// Bytes that each is to get; `u64::MAX`: that is not known yet.
    wanted: Arc<AtomicU64>,
    _deaf: Vec<UnixStream>,
}

impl Viewers {
    /// So many connect to the console of `vm`, at the control socket `path`.
    ///
    /// # Errors
    /// Where one is not let in.
    pub fn connect(path: &Path, vm: &str, count: usize) -> Result<Viewers> {
        let streams = (0..count).map(|_| attached(path, vm)).collect::<Result<Vec<_>>>()?;
        let (mut deaf, mut readers) = (Vec::new(), Vec::new());
        for (number, stream) in streams.into_iter().enumerate() {
            match number % DEAF_OF == DEAF_OF - 1 {
                true => deaf.push(stream),
                false => readers.push(stream),
            }
        }
        let wanted = Arc::new(AtomicU64::new(u64::MAX));
        let shared = Arc::clone(&wanted);
        let reading = Some(std::thread::spawn(move || read_all(&readers, &shared)));
        Ok(Viewers { reading, wanted, _deaf: deaf })
    }

    /// The guest prints no more, and has printed so many bytes: what is wrong with what they got.
    ///
    /// # Errors
    /// Where one can't be read.
    pub fn end(mut self, bytes: u64) -> Result<Option<String>> {
        self.wanted.store(bytes, Ordering::Relaxed);
        let Some(reading) = self.reading.take() else { return Ok(None) };
        let got = reading.join().map_err(|_| anyhow!("the viewers' thread has panicked"))??;
        let wrong = got.iter().position(|got| *got != bytes);
        Ok(wrong.map(|number| format!("viewer {number} got {} of {bytes} bytes", got[number])))
    }
}

fn attached(path: &Path, vm: &str) -> Result<UnixStream> {
    let mut stream =
        UnixStream::connect(path).with_context(|| format!("can't ask {}", path.display()))?;
    write!(
        stream,
        "GET /v1/vms/{vm}/console?mode=spy HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n\
         Upgrade: seriald-raw\r\n\r\n"
    )?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).context("a viewer is not answered")?;
        head.push(byte[0]);
    }
    if !head.starts_with(b"HTTP/1.1 101 ") {
        bail!("a viewer is not let in: {}", String::from_utf8_lossy(&head));
    }
    stream.set_nonblocking(true)?;
    Ok(stream)
}

/// Reads until each has what it is to get, or time is up: how much that was.
fn read_all(streams: &[UnixStream], wanted: &AtomicU64) -> Result<Vec<u64>> {
    let mut got = vec![0; streams.len()];
    let mut buffer = vec![0; 64 * 1024];
    let mut deadline = None;
    loop {
        let mut sockets: Vec<_> =
            streams.iter().map(|stream| PollFd::new(stream.as_fd(), PollFlags::POLLIN)).collect();
        poll(&mut sockets, PollTimeout::from(20_u8))?;
        for (stream, got) in streams.iter().zip(&mut got) {
            let mut stream = stream;
            match stream.read(&mut buffer) {
                // Its end is not the end of all: what it lacks is told.
                Ok(n) => *got += n as u64,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error).context("a viewer can't be read"),
            }
        }
        let wanted = wanted.load(Ordering::Relaxed);
        if wanted == u64::MAX {
            continue;
        }
        let deadline = *deadline.get_or_insert_with(|| Instant::now() + PATIENCE);
        if got.iter().all(|got| *got >= wanted) || Instant::now() > deadline {
            return Ok(got);
        }
    }
}
