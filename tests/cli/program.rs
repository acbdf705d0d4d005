//! Running the binary: to its end, or beside the test until a signal.

use crate::family::{Family, end};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

/// How long anything here may take.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// The binary with these arguments, quiet but for errors.
pub fn seriald(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_seriald"));
    command.args(args).env("RUST_LOG", "off").env_remove("RUST_BACKTRACE");
    command
}

/// How a run ended.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ended {
    fn of(output: Output) -> Ended {
        Ended {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).expect("UTF-8"),
            err: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }

    /// It ended with this code, and its one line on stderr is this.
    #[track_caller]
    pub fn is(&self, code: i32, error: &str) {
        assert_eq!((self.code, self.err.as_str()), (Some(code), format!("{error}\n").as_str()));
    }

    /// It ended with this code, and stderr has this in it.
    #[track_caller]
    pub fn has(&self, code: i32, error: &str) {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(self.err.contains(error), "{error:?} is not in {self:?}");
    }
}

/// Runs it to its end.
#[track_caller]
pub fn ended(args: &[&str]) -> Ended {
    Running::start(seriald(args)).end()
}

/// It runs beside the test; killed when dropped, with all that it has started.
pub struct Running {
    child: Option<Child>,
    family: Family,
}

impl Running {
    /// Starts it.
    pub fn start(command: Command) -> Running {
        Running::with_input(command, Stdio::null())
    }

    /// Starts it with this for standard input.
    pub fn with_input(mut command: Command, input: Stdio) -> Running {
        let family = Family::of(&mut command);
        command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped());
        Running { child: Some(command.spawn().expect("it starts")), family }
    }

    fn child(&mut self) -> &mut Child {
        self.child.as_mut().expect("running")
    }

    /// Its pid.
    pub fn id(&self) -> u32 {
        self.child.as_ref().expect("running").id()
    }

    /// Sends a signal, `TERM` or `INT`.
    pub fn signal(&self, name: &str) {
        let pid = self.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status().expect("kill runs");
        assert!(sent.success());
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        self.child().try_wait().expect("asked").is_none()
    }

    /// Types this into it, and that was all.
    pub fn type_in(&mut self, input: &[u8]) {
        self.child().stdin.take().expect("a pipe").write_all(input).expect("taken");
    }

    /// What it prints from now on, which its end does not have then.
    pub fn lines(&mut self) -> Lines {
        let out = BufReader::new(self.child().stdout.take().expect("a pipe"));
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            out.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Lines(lines)
    }

    /// Waits for its end.
    #[track_caller]
    pub fn end(mut self) -> Ended {
        Ended::of(end(self.child.take().expect("running"), &self.family, DEADLINE))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // A VMM that it has launched would live on, with our pipes in its hands.
            self.family.kill();
            let mut err = String::new();
            let _ = child.stderr.take().map(|mut e| e.read_to_string(&mut err));
            let _ = child.wait();
            eprintln!("killed: {err}");
        }
    }
}

/// The lines that a program prints.
pub struct Lines(Receiver<String>);

impl Lines {
    /// The next, once it comes.
    #[track_caller]
    pub fn next(&self) -> String {
        self.0.recv_timeout(DEADLINE).unwrap_or_else(|why| panic!("no line in {DEADLINE:?}: {why}"))
    }
}

/// Waits until the condition holds, at most [`DEADLINE`].
#[track_caller]
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < end, "not within {DEADLINE:?}: {what}");
        sleep(Duration::from_millis(2));
    }
}

/// Every path below a directory, sorted.
pub fn tree(dir: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    let mut left = vec![dir.to_path_buf()];
    while let Some(dir) = left.pop() {
        for entry in dir.read_dir().expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() && !path.is_symlink() {
                left.push(path.clone());
            }
            all.push(path);
        }
    }
    all.sort();
    all
}

/// The pids of processes whose command line has the text in it.
pub fn processes(text: &str) -> Vec<u32> {
    let has = |pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(text)
    };
    let pids = Path::new("/proc").read_dir().expect("/proc");
    let pids = pids.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(has).collect()
}
