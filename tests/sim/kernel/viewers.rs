//! Those who ask for our own API: what they sent, what they were sent, and how fast they take it.
//!
//! **Invariant:** a socket holds so much and no more; nothing that is in it is lost when the
//! collector closes its end. Who takes nothing is never waited for by this world either.

use super::{Event, Kernel, Object, errno};
use seriald::env::LISTEN_TOKEN;
use std::collections::VecDeque;
use std::io;
use std::time::Duration;

/// What the collector's end takes of a send before the other end has read.
const ROOM: usize = 4096;

/// How a viewer reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// All there is, soon.
    Prompt,
    /// So many bytes, every so often.
    Slow { bytes: usize, every: Duration },
    /// Nothing, ever.
    Never,
}

/// What a viewer asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// How all VMs stand.
    List,
    /// The log of a VM from its first byte on, and what follows.
    Log(usize),
    /// The console of a VM, to look at, with so much of what was before.
    Console { vm: usize, history: u64 },
}

impl Asked {
    fn request(self) -> String {
        let (path, upgrade) = match self {
            Asked::List => ("/v1/vms".to_owned(), ""),
            Asked::Log(vm) => (format!("/v1/vms/vm{vm}/log?offset=0&follow"), ""),
            Asked::Console { vm, history } => (
                format!("/v1/vms/vm{vm}/console?mode=spy&history={history}"),
                "Connection: Upgrade\r\nUpgrade: seriald-raw\r\n",
            ),
        };
        format!("GET {path} HTTP/1.1\r\nHost: sim\r\n{upgrade}\r\n")
    }
}

#[derive(Debug)]
pub struct Viewer {
    pub asked: Asked,
    pub pace: Pace,
    /// What the collector has yet to read of it.
    request: VecDeque<u8>,
    /// In the socket.
    waiting: VecDeque<u8>,
    /// All that it has read.
    pub taken: Vec<u8>,
    /// The collector found no room.
    pub is_blocked: bool,
    /// The collector holds its end.
    pub is_held: bool,
    /// It has gone itself.
    pub has_left: bool,
    /// A read of its own is on the agenda.
    reads: bool,
    watch: Option<(i32, u64)>,
}

/// The collector's socket for them.
#[derive(Debug, Default)]
pub struct Control {
    number: Option<i32>,
    backlog: VecDeque<usize>,
    pub viewers: Vec<Viewer>,
}

impl Kernel {
    /// Somebody connects, if there is a socket, and asks at once.
    pub fn view(&mut self, asked: Asked, pace: Pace) {
        let Some(number) = self.control.number else { return };
        let viewer = self.control.viewers.len();
        self.note(|| format!("viewer {viewer}: {asked:?}, {pace:?}"));
        self.control.viewers.push(Viewer {
            asked,
            pace,
            request: asked.request().into_bytes().into(),
            waiting: VecDeque::new(),
            taken: Vec::new(),
            is_blocked: false,
            is_held: true,
            has_left: false,
            reads: false,
            watch: None,
        });
        self.control.backlog.push_back(viewer);
        self.announce(number, LISTEN_TOKEN);
    }

    /// A viewer hangs up.
    pub fn stop_viewing(&mut self, viewer: usize) {
        let Some(one) = self.control.viewers.get_mut(viewer) else { return };
        one.has_left = true;
        if let Some((number, token)) = one.watch {
            self.announce(number, token);
        }
    }

    /// socket(2), bind(2), listen(2).
    pub fn listen_for_viewers(&mut self) -> io::Result<i32> {
        let number = self.new_descriptor(Object::Listener)?;
        self.watch_listener(number);
        Ok(number)
    }

    pub fn watch_listener(&mut self, number: i32) {
        self.watch(number, LISTEN_TOKEN);
        self.control.number = Some(number);
        if !self.control.backlog.is_empty() {
            self.announce(number, LISTEN_TOKEN);
        }
    }

    /// accept(2).
    pub fn accept(&mut self, token: u64) -> io::Result<(i32, usize)> {
        let viewer = *self.control.backlog.front().ok_or_else(|| errno(libc::EAGAIN))?;
        let number = self.new_descriptor(Object::Viewer(viewer))?;
        self.control.backlog.pop_front();
        self.watch(number, token);
        self.control.viewers[viewer].watch = Some((number, token));
        self.announce(number, token);
        Ok((number, viewer))
    }

    /// read(2) of what a viewer sends.
    pub fn read_viewer(&mut self, viewer: usize, into: &mut [u8]) -> io::Result<usize> {
        let one = &mut self.control.viewers[viewer];
        let n = one.request.len().min(into.len());
        for (at, byte) in into.iter_mut().zip(one.request.drain(..n)) {
            *at = byte;
        }
        match n {
            0 if one.has_left => Ok(0),
            0 => Err(errno(libc::EAGAIN)),
            n => Ok(n),
        }
    }

    /// send(2) to a viewer.
    pub fn send_viewer(&mut self, viewer: usize, bytes: &[u8]) -> io::Result<usize> {
        let one = &mut self.control.viewers[viewer];
        if one.has_left {
            return Err(errno(libc::EPIPE));
        }
        let n = bytes.len().min(ROOM - one.waiting.len());
        if n == 0 {
            one.is_blocked = true;
            return Err(errno(libc::EAGAIN));
        }
        one.waiting.extend(&bytes[..n]);
        self.plan_read(viewer);
        Ok(n)
    }

    fn plan_read(&mut self, viewer: usize) {
        let one = &self.control.viewers[viewer];
        let after = match one.pace {
            _ if one.reads || one.waiting.is_empty() => return,
            Pace::Prompt => self.dice.micros(5, 500),
            Pace::Slow { every, .. } => every,
            Pace::Never => return,
        };
        self.control.viewers[viewer].reads = true;
        self.schedule(after, Event::ViewerReads { viewer });
    }

    /// A viewer reads. The kernel tells of room once three quarters are free.
    pub fn viewer_reads(&mut self, viewer: usize) {
        let one = &mut self.control.viewers[viewer];
        one.reads = false;
        let most = match one.pace {
            Pace::Slow { bytes, .. } => bytes,
            Pace::Prompt | Pace::Never => ROOM,
        };
        let n = one.waiting.len().min(most);
        one.taken.extend(one.waiting.drain(..n));
        if one.is_blocked && one.waiting.len() * 4 <= ROOM {
            one.is_blocked = false;
            if let Some((number, token)) = one.watch {
                self.announce(number, token);
            }
        }
        self.plan_read(viewer);
    }

    /// The collector's end is closed.
    pub fn drop_viewer(&mut self, viewer: usize) {
        let one = &mut self.control.viewers[viewer];
        (one.is_held, one.watch) = (false, None);
    }

    /// Nobody listens any more: who waits is reset.
    pub fn drop_listener(&mut self) {
        self.control.number = None;
        for viewer in std::mem::take(&mut self.control.backlog) {
            self.control.viewers[viewer].is_held = false;
        }
    }

    /// The epoll instance goes.
    pub fn watch_no_viewer(&mut self) {
        self.control.viewers.iter_mut().for_each(|viewer| viewer.watch = None);
    }
}
