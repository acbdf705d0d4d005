//! An upgrade seen from the binary: the program that takes over, and the one that is taken over
//! from.
//!
//! Owns the variable by which one tells the other, and how the person who asked hears of it.
//! **Invariant:** whatever fails, one of the two programs goes on with every VM: before execve(2)
//! the old one, after it the new one, or the old one again by its kept descriptor.

use crate::cli::Failure;
use seriald::env::Descriptor;
use seriald::env::os::{OsEnv, Successor, copy_of_executable, let_go, memory_file, read_all};
use seriald::handover::state::{STATE_BYTES_MAX, State};
use seriald::reactor::Check;
use seriald::{Config, Reactor, Seriald};
use std::ffi::OsString;
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};

/// See [`telling`]: only for the next program of the same process.
const VARIABLE: &str = "SERIALD_HANDOVER";

/// What the service manager said to the first program of this process, and a successor would take
/// for its own: the descriptors of LISTEN_FDS are taken already.
const USED_UP: [&str; 3] = ["LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PID"];

/// The address at which whoever asked for an upgrade hears what came of it.
pub fn address_of(asker: u32) -> std::io::Result<SocketAddr> {
    SocketAddr::from_abstract_name(format!("seriald-upgrade-{asker}"))
}

/// How this process was started, and how its successor is.
pub struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
    asked_by: u32,
}

/// What a predecessor in this process left.
pub struct Predecessor {
    state: Descriptor,
    executable: Descriptor,
    asked_by: u32,
    /// We are the old program again, and why.
    back: Option<String>,
}

impl Program {
    /// This one. Called at the start: later its path may lead to another.
    ///
    /// # Errors
    /// The path can't be told.
    pub fn of_this_process() -> Result<Self, Failure> {
        let arguments: Vec<OsString> = std::env::args_os().collect();
        let path = match predecessor_path() {
            Some(path) => path,
            None => std::env::current_exe()
                .map_err(|e| Failure::Failed(format!("cannot tell this program's path: {e}")))?,
        };
        Ok(Program { path, arguments, asked_by: 0 })
    }

    /// Begins to ask whatever lies at the path now whether it can take over. `check`: what
    /// makes it check this command line; `None`: nothing does.
    pub fn begin(&mut self, reactor: &mut Seriald, asked_by: u32, check: Option<&str>) {
        let path = &self.path;
        let with = |arguments: Vec<OsString>, reads_state| {
            let command = std::iter::once(path.into()).chain(arguments).collect();
            Check { command, reads_state }
        };
        let own = check.map(|flag| {
            let own = self.arguments.iter().skip(1).cloned();
            with(own.chain([flag.into()]).collect(), false)
        });
        let checks = [with(vec!["--version".into()], false)].into_iter().chain(own);
        let checks = checks.chain([with(vec!["--check-state".into()], true)]).collect();
        log::info!("upgrade: asking {} about itself", path.display());
        if reactor.check_successor(checks) {
            self.asked_by = asked_by;
        } else {
            tell(asked_by, "failed: an upgrade is under way already");
        }
    }

    /// Goes on with the upgrade if its verdict is known. Returns unless this process then runs the
    /// successor. `failures`: what the exit code will tell.
    pub fn advance(&self, reactor: &mut Seriald, failures: u32) {
        let why = match reactor.take_verdict() {
            None => return,
            Some(Ok(())) => self.exec(reactor, failures),
            Some(Err(why)) => why,
        };
        log::error!("upgrade failed: {why}; going on as before");
        tell(self.asked_by, &format!("failed: {why}; the running program goes on"));
    }

    /// Runs the successor in this process. Returns why it does not.
    fn exec(&self, reactor: &Seriald, failures: u32) -> String {
        let exec = || -> Result<String, String> {
            let mut state = reactor.save().map_err(|e| e.to_string())?;
            state.failures = failures;
            let bytes = state.encode().map_err(|e| e.to_string())?;
            let memory = memory_file(c"state", &bytes).map_err(|e| format!("memory file: {e}"))?;
            let old = copy_of_executable().map_err(|e| format!("/proc/self/exe: {e}"))?;
            let (state_fd, old_fd) = (memory.as_raw_fd(), old.as_raw_fd());
            let (asker, path) = (self.asked_by, self.path.display());
            let told = telling(state_fd, old_fd, asker, &self.path);
            let kept = [state.descriptors(), vec![state_fd, old_fd]].concat();
            let error = successor(&self.path, &self.arguments, told)?.exec(&kept);
            Ok(format!("execve {path}: {error}"))
        };
        exec().unwrap_or_else(|why| why)
    }
}

fn successor(path: &Path, arguments: &[OsString], told: String) -> Result<Successor, String> {
    let mut variables = vec![(VARIABLE, Some(told))];
    variables.extend(USED_UP.map(|name| (name, None)));
    Successor::new(path, arguments, &variables).map_err(|error| error.to_string())
}

/// What one program tells the next: `state=N,exe=N,asked_by=PID,path=PATH`, and behind [`BACK`] why
/// the old one runs again.
fn telling(state: Descriptor, exe: Descriptor, asker: u32, path: &Path) -> String {
    format!("state={state},exe={exe},asked_by={asker},path={}", path.display())
}

fn told() -> Option<String> {
    std::env::var(VARIABLE).ok()
}

/// What was told, part by part. The path comes last: it may have a comma.
fn parts(told: &str) -> Option<(&str, &str)> {
    told.split_once(",path=")
}

fn predecessor_path() -> Option<PathBuf> {
    let told = told()?;
    path_of(&told).map(PathBuf::from)
}

fn path_of(told: &str) -> Option<&str> {
    let (_, rest) = parts(told)?;
    Some(rest.split_once(BACK).map_or(rest, |(path, _)| path))
}

/// Separates the path from the reason for coming back.
const BACK: &str = "\nback=";

impl Predecessor {
    /// The one that this process ran before, if it did.
    pub fn of_this_process() -> Option<Self> {
        Self::of(&told()?)
    }

    fn of(told: &str) -> Option<Self> {
        let (parts, rest) = parts(told)?;
        let number = |key: &str| {
            let part = parts.split(',').find_map(|part| part.strip_prefix(key)?.strip_prefix('='));
            part.and_then(|number| number.parse::<u32>().ok())
        };
        let descriptor = |key| number(key).and_then(|n| Descriptor::try_from(n).ok());
        Some(Predecessor {
            state: descriptor("state")?,
            executable: descriptor("exe")?,
            asked_by: number("asked_by")?,
            back: rest.split_once(BACK).map(|(_, why)| why.to_owned()),
        })
    }

    /// The loop with every VM of the predecessor, and its failures so far. If that can't be, the
    /// predecessor runs again.
    ///
    /// # Errors
    /// Neither can go on.
    pub fn take_over(&self, config: Config) -> Result<(Seriald, u32), Failure> {
        let taken = self.state().and_then(|state| {
            let env = OsEnv::with_origin(state.origin).map_err(|e| format!("event loop: {e}"))?;
            let reactor = Reactor::with_env(config, env).map_err(|e| e.to_string())?;
            Ok((reactor, state))
        });
        let (mut reactor, state) = taken.map_err(|why| self.give_back(&why))?;
        let (vms, version, failures) = (state.vms.len(), state.version.clone(), state.failures);
        for why in reactor.take_over(state) {
            log::error!("{why}");
        }
        match &self.back {
            None => {
                let ours = env!("CARGO_PKG_VERSION");
                log::info!("upgrade: {ours} goes on where {version} was, {vms} VMs");
                tell(self.asked_by, &format!("done: {ours} goes on where {version} was"));
            }
            Some(why) => {
                log::error!("upgrade failed: {why}; {version} goes on, {vms} VMs");
                tell(self.asked_by, &format!("failed: {why}; {version} goes on"));
            }
        }
        let_go(self.state);
        let_go(self.executable);
        Ok((reactor, failures))
    }

    /// Something that the new program needs before it can take over has failed: the old one runs
    /// again. Returns what to end with if that fails too.
    pub fn give_back(&self, why: &str) -> Failure {
        if let Some(first) = &self.back {
            return Failure::Failed(format!("upgrade failed: {first}; and then: {why}"));
        }
        let path = predecessor_path().unwrap_or_default();
        let (state, exe, asker) = (self.state, self.executable, self.asked_by);
        let told = telling(state, exe, asker, &path) + BACK + why;
        let arguments: Vec<OsString> = std::env::args_os().collect();
        let old = PathBuf::from(format!("/proc/self/fd/{exe}"));
        let failure = match successor(&old, &arguments, told) {
            // Nothing was taken over yet: all that was left is open, and stays so.
            Ok(successor) => successor.exec(&[]).to_string(),
            Err(error) => error,
        };
        Failure::Failed(format!("upgrade failed: {why}; the old program can't run: {failure}"))
    }

    fn state(&self) -> Result<State, String> {
        let bytes = read_all(self.state, STATE_BYTES_MAX).map_err(|e| format!("state: {e}"))?;
        State::parse(&bytes).and_then(State::checked).map_err(|error| error.to_string())
    }
}

/// Says what came of an upgrade to whoever asked, if he still listens.
fn tell(asker: u32, outcome: &str) {
    let told = address_of(asker).and_then(|address| {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        socket.send_to_addr(outcome.as_bytes(), &address)
    });
    if let Err(error) = told {
        log::debug!("upgrade: whoever asked does not listen: {error}");
    }
}

/// `--check-state`: whether this program understands the state on standard input.
pub fn check_state() -> Result<(), Failure> {
    let mut bytes = Vec::new();
    let input = std::io::Read::take(std::io::stdin().lock(), STATE_BYTES_MAX);
    let read = std::io::Read::read_to_end(&mut { input }, &mut bytes);
    read.map_err(|error| Failure::Failed(format!("state: {error}")))?;
    State::parse(&bytes).and_then(State::checked).map(drop).map_err(Failure::failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_one_program_tells_the_next_hears(
            state in 3..=Descriptor::MAX,
            exe in 3..=Descriptor::MAX,
            asker: u32,
            path in "/[a-z,=/ ]{0,20}",
            why in proptest::option::of("(?s).{0,20}"),
        ) {
            let back = why.as_ref().map_or(String::new(), |why| format!("{BACK}{why}"));
            let told = telling(state, exe, asker, Path::new(&path)) + &back;
            prop_assert_eq!(path_of(&told), Some(&*path));
            let heard = Predecessor::of(&told).expect("understood");
            prop_assert_eq!((heard.state, heard.executable, heard.asked_by), (state, exe, asker));
            prop_assert_eq!(heard.back, why);
        }

        #[test]
        fn anything_else_is_nobody_or_has_numbers(
            told in fuzz::damaged_text(&["state=3,exe=4,asked_by=77,path=/bin/a,b\nback=why"]),
        ) {
            if let Some(heard) = Predecessor::of(&told) {
                prop_assert!(heard.state >= 0 && heard.executable >= 0);
                prop_assert!(path_of(&told).is_some());
            }
        }
    }
}
