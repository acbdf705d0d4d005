//! A session as it runs: standard input and output, the connection, and signals.
//!
//! Owns the connection, and the terminal while it is taken.
//! **Invariant:** nothing here waits for one of them while another is ready, but for a request that
//! is answered; what waits to be written is bounded, and past that nothing more is read.

use super::session::{Ask, Mode, Over, Session};
use super::{FAREWELL, greeting};
use crate::cli::asking::Socket;
use crate::cli::asking::exchange::Question;
use crate::cli::terminal::raw::RawTerminal;
use crate::cli::terminal::signals::Signals;
use crate::cli::terminal::{is_reader_gone, is_ready, is_shown, read_some, wait, write_some};
use crate::cli::{Failure, complain};
use rustix::event::{PollFd, PollFlags};
use seriald::control::frames::FRAMES;
use seriald::env::os::stopwatch::Stopwatch;
use std::io;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// Output that waits to be shown: past that none is read.
const UNSHOWN_MAX: usize = 256 * 1024;
/// Written at once, so that a terminal that takes little holds nothing else up.
const WRITE_BYTES: usize = 512;
/// Read at once.
const READ_BYTES: usize = 16 * 1024;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long what is left may take at the end.
const FLUSH_PATIENCE: Duration = Duration::from_secs(3);
/// How often, and for how long, it is attached anew where it was cut off.
const PAUSE: Duration = Duration::from_millis(500);
const CUT_OFF_MAX: Duration = Duration::from_secs(30);

/// How a session ends.
enum End {
    /// As it should.
    Done,
    /// By a signal.
    Signal(u8),
    /// It has failed.
    Failed(String),
}

/// The connection, or since when there is none.
enum Line {
    Connected(UnixStream),
    Cut { since: Duration, next: Duration },
}

/// A session and what it is made of.
pub struct Running<'a> {
    socket: &'a Socket,
    id: &'a str,
    history: u64,
    session: Session,
    line: Line,
    terminal: Option<RawTerminal>,
    signals: Signals,
    clock: Stopwatch,
    /// It was over as soon as it began.
    over: Option<End>,
}

impl<'a> Running<'a> {
    /// Attaches.
    ///
    /// # Errors
    /// It is refused, or nobody answers.
    pub fn begin(
        socket: &'a Socket,
        id: &'a str,
        history: u64,
        session: Session,
    ) -> Result<Running<'a>, Failure> {
        let signals = Signals::watch().map_err(Failure::failed)?;
        let line = Line::Cut { since: Duration::ZERO, next: Duration::ZERO };
        let (terminal, clock) = (None, Stopwatch::new());
        let mut running =
            Running { socket, id, history, session, line, terminal, signals, clock, over: None };
        running.over = running.connect(running.session.mode())?;
        Ok(running)
    }

    /// Takes the terminal on standard input.
    pub fn take_terminal(&mut self) -> Result<(), Failure> {
        let is_shown = is_shown();
        let greeting = if is_shown { greeting(self.id) } else { String::new() };
        let farewell = if is_shown { FAREWELL } else { "" };
        let terminal = RawTerminal::take(&greeting, farewell);
        self.terminal = Some(terminal.map_err(Failure::failed)?);
        Ok(())
    }

    fn connect(&mut self, mode: Mode) -> Result<Option<End>, Failure> {
        let from = match self.session.offset() {
            Some(offset) => format!("offset={offset}"),
            None => format!("history={}", self.history),
        };
        let path = format!("/v1/vms/{}/console?mode={}&{from}", self.id, mode.word());
        let question = Question {
            upgrade: Some(FRAMES),
            patience: Some(PATIENCE),
            ..Question::of("GET", &path)
        };
        let exchange = self.socket.open(&question)?;
        if exchange.status() != 101 {
            return Err(exchange.failed(&"it gives no console: is it an older seriald?"));
        }
        let (stream, begun) = exchange.into_stream();
        stream.set_nonblocking(true).map_err(Failure::failed)?;
        self.line = Line::Connected(stream);
        self.session.connected(mode);
        Ok(self.take(&begun))
    }

    /// Runs until the end.
    pub fn run(mut self, is_typed: bool, linger: Option<Duration>) -> Result<(), Failure> {
        let mut stdin = Stdin { is_typed, is_open: true, linger, end: None };
        let end = loop {
            if let Some(end) = self.over.take().or_else(|| self.step(&mut stdin)) {
                break end;
            }
        };
        self.session.asides.drain(..).for_each(complain);
        if let Some(terminal) = self.terminal.take() {
            terminal.drain_answers();
        }
        match end {
            End::Done => Ok(()),
            End::Signal(number) => Err(Failure::Signal(number)),
            End::Failed(why) => Err(Failure::Failed(why)),
        }
    }

    /// Waits for something, and does it.
    fn step(&mut self, stdin: &mut Stdin) -> Option<End> {
        self.session.asides.drain(..).for_each(complain);
        let now = self.clock.elapsed();
        let retry = match &self.line {
            Line::Cut { next, .. } => Some(*next),
            Line::Connected(_) => None,
        };
        let next = [retry, stdin.end].into_iter().flatten().min();
        let ready = match self.wait(stdin, next.map(|next| next.saturating_sub(now))) {
            Ok(ready) => ready,
            Err(error) => return Some(End::Failed(error.to_string())),
        };
        self.signals.clear();
        if let Some(signal) = self.signals.end() {
            return Some(End::Signal(signal));
        }
        if ready.is_reader_gone {
            return Some(End::Done);
        }
        let step = ready.stdout.then(|| self.show()).flatten();
        let step = step.or_else(|| ready.to_line.then(|| self.send()).flatten());
        let step = step.or_else(|| ready.from_line.then(|| self.hear()).flatten());
        let step = step.or_else(|| ready.stdin.then(|| self.read_keys(stdin)).flatten());
        let now = self.clock.elapsed();
        step.or_else(|| self.reconnect(now)).or_else(|| {
            let is_over = stdin.end.is_some_and(|end| end <= now);
            is_over.then(|| self.flush(End::Done)).flatten()
        })
    }

    fn wait(&self, stdin: &Stdin, patience: Option<Duration>) -> io::Result<Ready> {
        let (input, output) = (io::stdin(), io::stdout());
        let wants = |wants: bool, flag: PollFlags| if wants { flag } else { PollFlags::empty() };
        let mut fds = Vec::with_capacity(4);
        fds.push(PollFd::new(&self.signals, PollFlags::IN));
        let shows = !self.session.screen.is_empty();
        fds.push(PollFd::new(&output, wants(shows, PollFlags::OUT)));
        let is_connected = matches!(self.line, Line::Connected(_));
        // Keys of a person are always looked at: there may be an escape among them.
        let reads = stdin.is_open && (stdin.is_typed || (is_connected && self.session.has_room()));
        let mut at = (None, None);
        if reads {
            at.0 = Some(fds.len());
            fds.push(PollFd::new(&input, PollFlags::IN));
        }
        if let Line::Connected(stream) = &self.line {
            at.1 = Some(fds.len());
            let hears = wants(self.session.screen.len() < UNSHOWN_MAX, PollFlags::IN);
            let sends = wants(!self.session.unsent.is_empty(), PollFlags::OUT);
            fds.push(PollFd::new(stream, hears | sends));
        }
        wait(&mut fds, patience)?;
        let line = at.1.map_or(PollFlags::empty(), |at| fds[at].revents());
        Ok(Ready {
            is_reader_gone: is_reader_gone(&fds[1]),
            stdout: shows && is_ready(&fds[1]),
            stdin: at.0.is_some_and(|at| is_ready(&fds[at])),
            to_line: line.contains(PollFlags::OUT),
            from_line: line.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR),
        })
    }

    /// Shows what there is room for.
    fn show(&mut self) -> Option<End> {
        let screen = &mut self.session.screen;
        let piece = &screen[..screen.len().min(WRITE_BYTES)];
        match write_some(io::stdout(), piece) {
            Ok(n) => drop(screen.drain(..n)),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Some(End::Done),
            Err(error) => return Some(End::Failed(format!("cannot write to stdout: {error}"))),
        }
        None
    }

    fn send(&mut self) -> Option<End> {
        let Line::Connected(stream) = &self.line else { return None };
        match write_some(stream, &self.session.unsent) {
            Ok(n) => drop(self.session.unsent.drain(..n)),
            // What came before that is still to be read.
            Err(_) => self.session.unsent.clear(),
        }
        None
    }

    fn hear(&mut self) -> Option<End> {
        let Line::Connected(stream) = &self.line else { return None };
        let mut bytes = [0; READ_BYTES];
        match read_some(stream, &mut bytes) {
            Ok(None) => None,
            Ok(Some(0)) => self.cut("seriald has closed the connection"),
            Ok(Some(n)) => self.take(&bytes[..n]),
            Err(error) => self.cut(&error.to_string()),
        }
    }

    fn take(&mut self, bytes: &[u8]) -> Option<End> {
        match self.session.came(bytes) {
            Ok(None) => None,
            Ok(Some(Over::Gone)) => self.flush(End::Done),
            Ok(Some(Over::Lagged)) => self.cut("it was too slow"),
            Err(why) => self.flush(End::Failed(format!("no console of seriald's: {why}"))),
        }
    }

    /// What is left to be shown and sent goes its way before an end, as far as that is taken soon.
    fn flush(&mut self, end: End) -> Option<End> {
        let since = self.clock.elapsed();
        let is_left = |this: &Self| {
            let to_send =
                matches!(this.line, Line::Connected(_)) && !this.session.unsent.is_empty();
            !this.session.screen.is_empty() || to_send
        };
        while is_left(self) && self.clock.elapsed() - since < FLUSH_PATIENCE {
            let stdin = Stdin { is_typed: false, is_open: false, linger: None, end: None };
            let Ok(ready) = self.wait(&stdin, Some(PAUSE)) else { break };
            let is_gone = ready.is_reader_gone || (ready.stdout && self.show().is_some());
            if is_gone || self.signals.end().is_some() {
                break;
            }
            if ready.to_line {
                self.send();
            }
            // What comes now is not for us any more, but must not stay: the line would be broken
            // before what was sent is read.
            if ready.from_line && !self.drop_output() {
                break;
            }
        }
        self.part();
        self.session.asides.drain(..).for_each(complain);
        Some(end)
    }

    /// Ends the connection so that all that was sent is read.
    fn part(&mut self) {
        let Line::Connected(stream) = &self.line else { return };
        let since = self.clock.elapsed();
        let mut is_open = stream.shutdown(Shutdown::Write).is_ok();
        while is_open && self.clock.elapsed() - since < FLUSH_PATIENCE {
            let Line::Connected(stream) = &self.line else { return };
            let mut fds = [PollFd::new(stream, PollFlags::IN)];
            is_open = wait(&mut fds, Some(PAUSE)).is_ok()
                && self.signals.end().is_none()
                && (!is_ready(&fds[0]) || self.drop_output());
        }
        let now = self.clock.elapsed();
        self.line = Line::Cut { since: now, next: now };
    }

    /// Whether the connection goes on behind what has come, which is dropped.
    fn drop_output(&mut self) -> bool {
        let Line::Connected(stream) = &self.line else { return false };
        !matches!(read_some(stream, &mut [0; READ_BYTES]), Ok(Some(0)) | Err(_))
    }

    fn read_keys(&mut self, stdin: &mut Stdin) -> Option<End> {
        let mut bytes = [0; READ_BYTES];
        let n = match read_some(io::stdin(), &mut bytes) {
            Ok(None) => return None,
            Ok(Some(n)) => n,
            Err(error) => return Some(End::Failed(format!("cannot read stdin: {error}"))),
        };
        if n == 0 {
            stdin.is_open = false;
            stdin.end = stdin.linger.map(|linger| self.clock.elapsed() + linger);
            // A terminal that is gone ends it all.
            return stdin.is_typed.then_some(End::Done);
        }
        if !stdin.is_typed {
            self.session.piped(&bytes[..n]);
            return None;
        }
        match self.session.typed(&bytes[..n])? {
            Ask::Leave => {
                self.session.say("left");
                self.flush(End::Done)
            }
            Ask::Suspend => self.suspend(),
            Ask::Force => {
                // Where it is refused all stays as it is.
                self.connect(Mode::Force).unwrap_or_else(|why| {
                    self.session.say(&why.to_string());
                    None
                })
            }
        }
    }

    /// Stops, as a job of the shell's, until the shell goes on with it.
    fn suspend(&mut self) -> Option<End> {
        if let Some(terminal) = self.terminal.take() {
            terminal.drain_answers();
        }
        let stopped = rustix::process::kill_current_process_group(rustix::process::Signal::TSTP);
        match stopped.map_err(Failure::failed).and_then(|()| self.take_terminal()) {
            Ok(()) => None,
            Err(why) => Some(End::Failed(why.to_string())),
        }
    }

    /// The connection is lost.
    fn cut(&mut self, why: &str) -> Option<End> {
        self.session.disconnected();
        self.session.say(&format!("{why}: attaching anew"));
        let since = self.clock.elapsed();
        self.line = Line::Cut { since, next: since };
        None
    }

    /// Attaches anew, if it is time for that.
    fn reconnect(&mut self, now: Duration) -> Option<End> {
        let Line::Cut { since, next } = &self.line else { return None };
        let (since, is_due) = (*since, *next <= now);
        if !is_due {
            return None;
        }
        match self.connect(self.session.mode_again()) {
            Ok(over) => over,
            Err(why) if now.saturating_sub(since) > CUT_OFF_MAX => {
                self.flush(End::Failed(why.to_string()))
            }
            Err(_) => {
                self.line = Line::Cut { since, next: now + PAUSE };
                None
            }
        }
    }
}

/// Standard input.
struct Stdin {
    /// It is a terminal.
    is_typed: bool,
    is_open: bool,
    /// How long to go on after its end.
    linger: Option<Duration>,
    /// When that is over.
    end: Option<Duration>,
}

/// What can be done without waiting.
struct Ready {
    is_reader_gone: bool,
    stdout: bool,
    stdin: bool,
    to_line: bool,
    from_line: bool,
}
