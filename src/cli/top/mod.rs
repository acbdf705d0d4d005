//! `seriald top`: which VMs print how much, as it changes.
//!
//! Owns the screen.
//! **Invariant:** one `GET /v1/vms` an interval, whatever is typed; a seriald that does not answer
//! (an upgrade) is told and asked again. Without a terminal it is one table, for programs.

mod sample;
mod view;

use crate::cli::asking::Socket;
use crate::cli::terminal::raw::{self, RawTerminal};
use crate::cli::terminal::signals::Signals;
use crate::cli::terminal::{is_ready, is_shown, print, read_some, wait};
use crate::cli::{Failure, say};
use rustix::event::{PollFd, PollFlags};
use sample::{Row, Sample, Sort, Sum};
use seriald::env::os::stopwatch::Stopwatch;
use std::io::{self, IsTerminal};
use std::time::Duration;
use view::{Key, View};

/// Watch which VMs print how much.
///
/// A line a VM: its state, bytes a second, bytes read from its console, the size of its log's
/// present generation, bytes that wait in memory because the log can't be written, bytes lost,
/// rotations, and who looks at its console.
///
/// Keys: q ends; i, s, b, r, z, h, l, o, v order by a column, the same again turns that round;
/// arrows, j and k, Page Up and Down, Home and End lead through the VMs. If seriald does not answer
/// the first line says so, and it is asked again.
///
/// With --once, or where there is no terminal, it prints one table after one interval and ends.
///
/// Example: seriald top --sort lost --interval 5
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// By what the VMs are ordered at first.
    #[arg(long, value_name = "KEY", default_value = "rate")]
    sort: Sort,
    /// Seconds from one look to the next, from 0.1.
    #[arg(long, value_name = "S", default_value = "2", value_parser = interval)]
    interval: Duration,
    /// Print one table, and end.
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    socket: Socket,
}

/// How long an answer may take: a key has to wait for it.
const PATIENCE: Duration = Duration::from_secs(3);
/// The screen of its own, without a cursor.
const GREETING: &str = "\x1b[?1049h\x1b[?25l";
const FAREWELL: &str = "\x1b[?25h\x1b[?1049l";

fn interval(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| (0.1..=86_400.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "is not 0.1 to 86400 seconds".into())
}

/// Runs the subcommand.
pub fn top(args: &Args) -> Result<(), Failure> {
    let clock = Stopwatch::new();
    match args.once || !is_shown() || !io::stdin().is_terminal() {
        true => once(args, &clock),
        false => Screen::new(args, &clock).watch(),
    }
}

/// How all VMs stand now.
fn ask(socket: &Socket, clock: &Stopwatch) -> Result<Sample, Failure> {
    let body = socket.get("/v1/vms", PATIENCE)?;
    Sample::read(&body, clock.elapsed()).map_err(Failure::Failed)
}

fn once(args: &Args, clock: &Stopwatch) -> Result<(), Failure> {
    let before = ask(&args.socket, clock)?;
    std::thread::sleep(args.interval);
    let now = ask(&args.socket, clock)?;
    let mut rows = sample::rows(Some(&before), &now);
    sample::sort(&mut rows, args.sort, false);
    let rows: Vec<&Row> = rows.iter().collect();
    view::table(&rows, None, usize::MAX).into_iter().for_each(say);
    Ok(())
}

/// What is looked at, and since when.
struct Screen<'a> {
    args: &'a Args,
    clock: &'a Stopwatch,
    view: View,
    last: Option<Sample>,
    rows: Vec<Row>,
    sum: Sum,
    trouble: Option<String>,
}

impl<'a> Screen<'a> {
    fn new(args: &'a Args, clock: &'a Stopwatch) -> Self {
        let (view, rows) = (View::new(args.sort), Vec::new());
        Screen { args, clock, view, last: None, rows, sum: Sum::default(), trouble: None }
    }

    fn watch(mut self) -> Result<(), Failure> {
        // Nobody there at all is no reason for a screen.
        self.last = Some(ask(&self.args.socket, self.clock)?);
        self.look();
        let mut signals = Signals::watch().map_err(Failure::failed)?;
        let _terminal = RawTerminal::take(GREETING, FAREWELL).map_err(Failure::failed)?;
        let mut due = self.clock.elapsed() + self.args.interval.min(Duration::from_millis(500));
        loop {
            if !self.draw().map_err(Failure::failed)? {
                return Ok(());
            }
            let left = due.saturating_sub(self.clock.elapsed());
            let stdin = io::stdin();
            let mut fds =
                [PollFd::new(&stdin, PollFlags::IN), PollFd::new(&signals, PollFlags::IN)];
            wait(&mut fds, Some(left)).map_err(Failure::failed)?;
            let typed = is_ready(&fds[0]);
            signals.clear();
            if let Some(signal) = signals.end() {
                return Err(Failure::Signal(signal));
            }
            if typed && self.take_keys()? {
                return Ok(());
            }
            if self.clock.elapsed() >= due {
                due = self.clock.elapsed() + self.args.interval;
                self.refresh();
            }
        }
    }

    /// Asks anew.
    fn refresh(&mut self) {
        match ask(&self.args.socket, self.clock) {
            Err(why) => self.trouble = Some(why.to_string()),
            Ok(now) => {
                self.rows = sample::rows(self.last.as_ref(), &now);
                (self.last, self.trouble) = (Some(now), None);
                self.order();
            }
        }
    }

    /// The first look, which knows no rates.
    fn look(&mut self) {
        if let Some(now) = &self.last {
            self.rows = sample::rows(None, now);
            self.order();
        }
    }

    fn order(&mut self) {
        self.sum = sample::sum(&self.rows);
        sample::sort(&mut self.rows, self.view.by, self.view.reversed);
    }

    /// Does what the keys say; whether that is to end.
    fn take_keys(&mut self) -> Result<bool, Failure> {
        let mut typed = [0; 1024];
        let n = match read_some(io::stdin(), &mut typed).map_err(Failure::failed)? {
            Some(0) => return Ok(true),
            n => n.unwrap_or(0),
        };
        let (_, height) = raw::size();
        for key in view::keys(&typed[..n]) {
            if key == Key::Quit {
                return Ok(true);
            }
            self.view.go(key, view::room(height), self.rows.len());
        }
        sample::sort(&mut self.rows, self.view.by, self.view.reversed);
        Ok(false)
    }

    /// Whether there is somebody who sees it.
    fn draw(&mut self) -> io::Result<bool> {
        let size = raw::size();
        // Rows may have gone since, or the screen may have grown.
        self.view.go(Key::Rows(0), view::room(size.1), self.rows.len());
        let lines = view::screen(&self.rows, &self.sum, &self.view, self.trouble.as_deref(), size);
        let mut text = String::from("\x1b[H");
        text += &lines.iter().map(|line| format!("{line}\x1b[K")).collect::<Vec<_>>().join("\r\n");
        text += "\x1b[J";
        print(text.as_bytes())
    }
}
