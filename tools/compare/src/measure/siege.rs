//! Clients of seriald's own API that do their worst while VMs print, and one that has a request.
//!
//! Owns their connections and the thread that plays them.
//! **Invariant:** they work half of the time at most, so that what is measured is not who gets a
//! processor; whoever was sent away is followed by another at once.

use anyhow::{Context, Result, anyhow};
use serde::Serialize;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Clients that do something before the others have their turn.
const AT_ONCE: usize = 50;
/// How long the one that has a request waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

const LIST: &[u8] = b"GET /v1/vms HTTP/1.1\r\nHost: x\r\n\r\n";
const DRIP: &[u8] = b"PUT /v1/vms/a HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{\"dir\": ";

/// What came of it.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Besieged {
    /// Connections that were made.
    pub came: u64,
    /// Bytes that they were sent.
    pub answered_bytes: u64,
    /// Requests of the one that has any: those that were done.
    pub served: u64,
    /// Those for which there was no place.
    pub turned_away: u64,
}

/// The clients.
pub struct Siege {
    playing: JoinHandle<Result<Besieged>>,
    over: Arc<AtomicBool>,
}

impl Siege {
    /// So many come to the control socket `path`, and the followers among them to the VM.
    pub fn lay(path: &Path, vm: &str, count: usize) -> Siege {
        let over = Arc::new(AtomicBool::new(false));
        let (theirs, path, vm) = (Arc::clone(&over), path.to_path_buf(), vm.to_string());
        let playing = thread::spawn(move || play(&path, &vm, count, &theirs));
        Siege { playing, over }
    }

    /// They go.
    ///
    /// # Errors
    /// Where nobody listens, or nobody was answered.
    pub fn lift(self) -> Result<Besieged> {
        self.over.store(true, Ordering::Relaxed);
        self.playing.join().map_err(|_| anyhow!("the thread of the hostile clients panicked"))?
    }
}

fn play(path: &Path, vm: &str, count: usize, over: &AtomicBool) -> Result<Besieged> {
    let mut played = Besieged::default();
    let place = Place { path: path.to_path_buf(), vm: vm.to_string() };
    let mut all: Vec<Option<Hostile>> = (0..count).map(|_| None).collect();
    let mut at = 0;
    while !over.load(Ordering::Relaxed) {
        let began = Instant::now();
        for _ in 0..AT_ONCE {
            let number = at % count;
            let before = all[number].take();
            let stays = before.and_then(|one| one.go_on(&mut played));
            all[number] = match stays {
                None => Some(place.come(number, &mut played)?),
                stays => stays,
            };
            at += 1;
        }
        match place.ask()? {
            true => played.served += 1,
            false => played.turned_away += 1,
        }
        thread::sleep(began.elapsed());
    }
    Ok(played)
}

/// Where they go.
struct Place {
    path: PathBuf,
    vm: String,
}

impl Place {
    fn connect(&self) -> Result<UnixStream> {
        UnixStream::connect(&self.path)
            .with_context(|| format!("can't ask {}", self.path.display()))
    }

    /// One comes, and does the first of what it does. That it is sent away is its own affair.
    fn come(&self, number: usize, played: &mut Besieged) -> Result<Hostile> {
        let mut stream = self.connect()?;
        stream.set_nonblocking(true)?;
        played.came += 1;
        let kind = number % 10;
        let mut say = |bytes: &[u8]| drop(stream.write(bytes));
        match kind {
            // Noise; half a word, which goes on a byte at a time; a head without an end.
            0 => say(&(0..20_000_usize).map(|n| (n * 7 + number) as u8).collect::<Vec<_>>()),
            1 | 2 => say(&DRIP[..1]),
            3 => say(&[&LIST[..20], &[b'A'; 100_000]].concat()),
            // A body that lacks its last byte.
            4 => {
                let head = b"PUT /v1/vms/a HTTP/1.1\r\nHost: x\r\nContent-Length: 65536\r\n\r\n";
                say(&[&head[..], &[b' '; 65_535]].concat());
            }
            // Answers that are not taken, or of which some bytes are before it hangs up.
            5 | 6 => say(&LIST.repeat(200)),
            7 => {
                say(&LIST.repeat(50));
                let _ = stream.shutdown(Shutdown::Write);
            }
            // What never ends, and is not taken.
            8 => {
                let vm = &self.vm;
                say(format!("GET /v1/vms/{vm}/log?follow HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes());
            }
            _ => {}
        }
        Ok(Hostile { stream, kind, dripped: 1 })
    }

    /// Whether one who has a request is answered.
    fn ask(&self) -> Result<bool> {
        let mut stream = self.connect()?;
        stream.set_read_timeout(Some(PATIENCE))?;
        // One for whom there is no place may have been told so already.
        let _ = write!(stream, "GET /v1/vms/{} HTTP/1.1\r\nHost: x\r\n\r\n", self.vm);
        let mut head = [0; 12];
        stream.read_exact(&mut head).context("a client that asked was not answered")?;
        Ok(&head == b"HTTP/1.1 200")
    }
}

/// One of them.
struct Hostile {
    stream: UnixStream,
    kind: usize,
    /// How much of what drips in was sent.
    dripped: usize,
}

impl Hostile {
    /// Does the next. `None`: it has gone, or was sent away.
    fn go_on(mut self, played: &mut Besieged) -> Option<Hostile> {
        match self.kind {
            1 | 2 => {
                let next = DRIP.get(self.dripped).copied();
                self.dripped += 1;
                self.stream.write_all(next.as_slice()).ok()?;
            }
            6 => {
                played.answered_bytes += self.stream.read(&mut [0; 10]).unwrap_or(0) as u64;
                return None;
            }
            0 | 3 | 9 => match self.stream.read(&mut [0; 4096]) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                read => {
                    played.answered_bytes += read.unwrap_or(0) as u64;
                    return None;
                }
            },
            _ => {}
        }
        Some(self)
    }
}
