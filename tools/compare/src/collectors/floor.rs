//! The floor: a bare loop over ready sockets; read, append, nothing else. With our sleep it is
//! `floor`, without `loop`. Both are this very program, by a hidden subcommand.
//!
//! The sockets are registered once, edge-triggered, and read once per event, which is the fastest
//! way that is right: a read that doesn't fill the buffer has emptied the socket, and what comes
//! after it makes a new edge. One that fills it is followed by another, as there may be no edge any
//! more; so is one of an event that tells an end of stream. (Level-triggered the kernel looks at
//! each socket twice.)
//! **Invariant:** per event with bytes one read(2) and one write(2), per turn one epoll_wait(2) and
//! at most one sleep.

use super::Collector;
use crate::loads::Load;
use crate::measure::clock;
use crate::site::Site;
use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::unistd::read;
use std::env;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Bytes that are read at once.
const BUFFER: usize = 65_536;
/// Events that are taken at once.
const EVENTS: usize = 1024;

/// The bare loop.
pub struct Loop {
    name: &'static str,
    sleep: Duration,
    program: PathBuf,
}

impl Loop {
    /// The loop with this sleep after a busy turn.
    ///
    /// # Errors
    /// Where this program can't find itself.
    pub fn make(name: &'static str, sleep: Duration) -> Result<Loop> {
        Ok(Loop { name, sleep, program: env::current_exe().context("this program's path")? })
    }
}

impl Collector for Loop {
    fn name(&self) -> &'static str {
        self.name
    }

    fn version(&self) -> String {
        match self.sleep.as_micros() {
            0 => "a bare loop over ready sockets, no sleep".to_string(),
            sleep => format!("a bare loop over ready sockets, {sleep} us of sleep"),
        }
    }

    fn commands(&self, site: &Site, _: &Load) -> Result<Vec<Command>> {
        let mut command = Command::new(&self.program);
        let sleep = self.sleep.as_micros().to_string();
        command.args(["loop", "--sleep-us", &sleep, "--list"]).arg(site.write_list()?);
        Ok(vec![command])
    }
}

/// A VM's socket and log.
struct Pair {
    socket: UnixStream,
    log: File,
}

/// Runs the loop over the pairs that `list` names (a line `socket TAB log` each), until it is
/// killed.
///
/// # Errors
/// Where a socket or a log can't be opened, read or written.
pub fn run(list: &Path, sleep: Duration) -> Result<()> {
    let text = fs::read_to_string(list).with_context(|| list.display().to_string())?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let mut pairs = Vec::new();
    for line in text.lines() {
        let (socket, log) = line.split_once('\t').context("a line without a tab")?;
        let log = File::options().append(true).create(true).open(log).context(log.to_string())?;
        let socket = UnixStream::connect(socket).context(socket.to_string())?;
        socket.set_nonblocking(true)?;
        let interest = EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLET;
        epoll.add(&socket, EpollEvent::new(interest, pairs.len() as u64))?;
        pairs.push(Some(Pair { socket, log }));
    }
    let mut buffer = vec![0; BUFFER];
    let mut events = vec![EpollEvent::empty(); EVENTS];
    loop {
        let count = match epoll.wait(&mut events, EpollTimeout::NONE) {
            Ok(count) => count,
            Err(Errno::EINTR) => continue,
            Err(error) => bail!("epoll: {error}"),
        };
        let began = Instant::now();
        for event in &events[..count] {
            let place = &mut pairs[event.data() as usize];
            let Some(pair) = place else { continue };
            let ended = EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR;
            if !empty(pair, event.events().intersects(ended), &mut buffer)? {
                *place = None;
            }
        }
        if !sleep.is_zero() {
            clock::sleep_until(began + sleep);
        }
    }
}

/// Moves what is in the socket; whether the stream goes on.
fn empty(pair: &mut Pair, to_its_end: bool, buffer: &mut [u8]) -> Result<bool> {
    loop {
        // Not the standard library's, which is a recv(2): /proc doesn't count those.
        let length = match read(&pair.socket, buffer) {
            Ok(0) => return Ok(false),
            Ok(length) => length,
            Err(Errno::EAGAIN) => return Ok(true),
            Err(Errno::EINTR) => continue,
            Err(_) => return Ok(false),
        };
        pair.log.write_all(&buffer[..length]).context("can't write a log")?;
        if length < buffer.len() && !to_its_end {
            return Ok(true);
        }
    }
}
