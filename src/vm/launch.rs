//! The machine of one launch: from an API path that must be free to a guest that runs, and the
//! VMM's end.
//!
//! Owns the step, its deadline and what has been made so far.
//! **Invariant:** a VMM that was started is ended by it after any failure, and what the launch
//! closes with is the first failure.

use super::backoff::step;
use crate::ch::api::{Call, Info, Reply};
use crate::ch::vm_config;
use crate::env::{Exit, Moment};
use crate::limits;
use std::path::{Path, PathBuf};
use std::time::Duration;

mod probe;
mod saved;
mod spec;
mod standing;
#[cfg(test)]
mod tests;

pub use probe::Probe;
use probe::in_use;
pub use spec::{LaunchSpec, LaunchSpecError, Start};

/// What the reactor is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LaunchNext {
    /// Nothing now.
    Wait,
    /// Look at the API path.
    ProbeApi,
    /// Remove the dead socket at the API path if there is one, and start the VMM.
    Spawn,
    /// Put a question to its API.
    Ask(Call),
    /// Look at the serial path.
    ProbeSerial,
    /// Remove the dead socket at the serial path, and ask on.
    RemoveSerialThenAsk(Call),
    /// Begin to dial the serial socket.
    Dial,
    /// Empty the VMM's ring, within so long.
    Drain(Duration),
    /// The guest runs; from now on the VM lives as any other.
    Launched,
    /// Send SIGTERM.
    EndVmm,
    /// Send SIGKILL.
    KillVmm,
    /// Nothing runs any more: clean up and close, with the first failure.
    Close(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    ProbeApi,
    Spawn,
    AwaitApi,
    ProbeSerial,
    Create,
    AskInfo,
    Connect,
    Boot,
    Running,
    Pausing,
    Draining,
    Stopping,
    Ending,
    Killed,
    GivenUp,
    Ended,
}

/// One launch.
#[derive(Clone, Debug)]
pub struct Launch {
    step: Step,
    start: Call,
    boot: Option<Call>,
    /// The serial path, whole.
    serial: PathBuf,
    timeout: Option<Duration>,
    connect_timeout: Duration,
    /// When the whole of create to boot must be done.
    limit: Option<Moment>,
    deadline: Option<Moment>,
    retry_at: Option<Moment>,
    tries: u8,
    spawned: bool,
    asked_to_create: bool,
    broken_off: bool,
    /// What the create found at the serial path is another's.
    in_the_way: bool,
    /// The guest has run.
    ran: bool,
    failure: Option<String>,
    /// It failed as something took too long.
    late: bool,
    last_words: String,
}

/// Probes that must find a serial socket dead before it is removed: right after a bind, and before
/// the listen, a living CH refuses too.
const DEAD_PROBES: u8 = 3;
/// Time between two of them; bind and listen are at most a few milliseconds apart (measured).
const DEAD_PROBE_INTERVAL: Duration = Duration::from_millis(10);
/// First and longest time between two questions whether the VMM answers yet.
const PING_INTERVAL: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(100));

impl Launch {
    /// Checks the spec and prepares the bodies. The first thing to do is
    /// [`LaunchNext::ProbeApi`].
    ///
    /// # Errors
    /// Whatever can be known to fail before anything is started.
    pub fn new(spec: &LaunchSpec) -> Result<Self, LaunchSpecError> {
        let api = spec.vm.api.as_deref().ok_or(LaunchSpecError::NoApiPath)?;
        vm_config::socket_path(api).map_err(LaunchSpecError::ApiPath)?;
        if spec.vmm.first().is_none_or(|program| program.is_empty()) {
            return Err(LaunchSpecError::NoProgram);
        }
        let serial: &Path = &spec.vm.serial;
        let (start, boot) = match &spec.start {
            Start::Create(config) => {
                let body =
                    vm_config::for_launch(config, serial).map_err(LaunchSpecError::Config)?;
                (Call::Create(body), Some(Call::Boot))
            }
            Start::Restore(body) => {
                let fields: serde_json::Map<String, serde_json::Value> = serde_json::from_str(body)
                    .map_err(|error| LaunchSpecError::Restore(error.to_string()))?;
                let resumes = fields.get("resume") == Some(&serde_json::Value::Bool(true));
                (Call::Restore(body.clone()), (!resumes).then_some(Call::Resume))
            }
        };
        start.request().encode().map_err(LaunchSpecError::Body)?;
        Ok(Launch {
            step: Step::ProbeApi,
            start,
            boot,
            serial: std::path::absolute(serial).unwrap_or_else(|_| serial.to_owned()),
            timeout: spec.timeout,
            connect_timeout: spec.vm.dial_timeout.unwrap_or(limits::API_QUERY_DEADLINE),
            limit: None,
            deadline: None,
            retry_at: None,
            tries: 0,
            spawned: false,
            asked_to_create: false,
            broken_off: false,
            in_the_way: false,
            ran: false,
            failure: None,
            late: false,
            last_words: String::new(),
        })
    }

    /// When [`Launch::on_timer`] is due.
    pub fn deadline(&self) -> Option<Moment> {
        [self.limit, self.deadline, self.retry_at].into_iter().flatten().min()
    }

    /// What was found at the API path.
    pub fn on_api_probe(&mut self, probe: Probe, now: Moment) -> LaunchNext {
        match probe {
            Probe::Absent | Probe::Dead => {
                self.step = Step::Spawn;
                LaunchNext::Spawn
            }
            Probe::Alive(pid) => self.fail(format!("api socket: {}", in_use(pid)), now),
            Probe::Unusable(why) => self.fail(format!("api socket: {why}"), now),
        }
    }

    /// The VMM was started, or why not.
    pub fn on_spawned(&mut self, result: Result<(), String>, now: Moment) -> LaunchNext {
        if let Err(why) = result {
            return self.fail(format!("start of the VMM: {why}"), now);
        }
        self.spawned = true;
        self.step = Step::AwaitApi;
        self.deadline = Some(now + limits::API_QUERY_DEADLINE);
        self.limit = self.timeout.map(|timeout| now + timeout);
        LaunchNext::Ask(Call::Ping)
    }

    /// The answer to a question, or why there is none.
    pub fn on_answer(&mut self, answer: Result<Reply, String>, now: Moment) -> LaunchNext {
        match (self.step, answer) {
            (Step::AwaitApi, Ok(_)) => {
                self.last_words.clear();
                self.to(Step::ProbeSerial);
                LaunchNext::ProbeSerial
            }
            (Step::AwaitApi, Err(why)) => {
                self.last_words = why;
                let wait = step(self.tries, PING_INTERVAL.0, PING_INTERVAL.1);
                self.tries = self.tries.saturating_add(1);
                self.retry_at = Some(now + wait);
                LaunchNext::Wait
            }
            (Step::Create, Ok(_)) if matches!(self.start, Call::Restore(_)) => {
                self.to(Step::AskInfo);
                LaunchNext::Ask(Call::Info)
            }
            (Step::Create, Ok(_)) => self.connect(now),
            (Step::AskInfo, Ok(Reply::Info(info))) => self.on_info(&info, now),
            (Step::Boot, Ok(_)) => self.launched(),
            // Paused already, or a guest that does not stand still: what it holds is fetched for a
            // while all the same.
            (Step::Pausing, Err(_)) => self.drain(limits::DRAIN_DEADLINE_UNPAUSED),
            (Step::Pausing, Ok(_)) => self.drain(limits::DRAIN_DEADLINE),
            (Step::Stopping, Ok(_)) => {
                self.deadline = Some(now + limits::VMM_TERM_DEADLINE);
                LaunchNext::Wait
            }
            (Step::Stopping, Err(_)) => self.end(now),
            (Step::Create | Step::AskInfo | Step::Boot, Err(why)) => {
                self.in_the_way = why.contains("Address already in use");
                self.fail(why, now)
            }
            _ => LaunchNext::Wait,
        }
    }

    /// A restored VM has a stream if its snapshot was in mode Socket.
    fn on_info(&mut self, info: &Info, now: Moment) -> LaunchNext {
        let socket = info.serial.as_ref().filter(|serial| serial.is_socket());
        if let Some(bound) = socket.and_then(|serial| serial.socket.as_deref()) {
            // CH takes a relative path from its own directory, so only whole ones can be compared.
            if bound.starts_with('/') && Path::new(bound) != self.serial {
                let wanted = self.serial.display();
                let way_out = "`seriald snapshot upgrade` sets it";
                let why =
                    format!("the snapshot's serial socket is {bound}, not {wanted}: {way_out}");
                return self.fail(format!("vm.restore: {why}"), now);
            }
            return self.connect(now);
        }
        ::log::warn!("the restored VM's serial port is not in mode Socket: it has no stream");
        self.boot_or_launched()
    }

    fn connect(&mut self, now: Moment) -> LaunchNext {
        self.to(Step::Connect);
        self.deadline = Some(now + self.connect_timeout);
        LaunchNext::Dial
    }

    /// What was found at the serial path.
    pub fn on_serial_probe(&mut self, probe: Probe, now: Moment) -> LaunchNext {
        match probe {
            Probe::Absent => LaunchNext::Ask(self.create()),
            Probe::Dead => {
                self.tries += 1;
                if self.tries < DEAD_PROBES {
                    self.retry_at = Some(now + DEAD_PROBE_INTERVAL);
                    return LaunchNext::Wait;
                }
                LaunchNext::RemoveSerialThenAsk(self.create())
            }
            Probe::Alive(pid) => self.fail(format!("serial socket: {}", in_use(pid)), now),
            Probe::Unusable(why) => self.fail(format!("serial socket: {why}"), now),
        }
    }

    fn create(&mut self) -> Call {
        self.to(Step::Create);
        self.asked_to_create = true;
        self.start.clone()
    }

    /// The serial connection stands.
    pub fn on_connected(&mut self) -> LaunchNext {
        if self.step == Step::Connect { self.boot_or_launched() } else { LaunchNext::Wait }
    }

    fn boot_or_launched(&mut self) -> LaunchNext {
        match self.boot.clone() {
            Some(call) => {
                self.to(Step::Boot);
                LaunchNext::Ask(call)
            }
            None => self.launched(),
        }
    }

    fn launched(&mut self) -> LaunchNext {
        self.to(Step::Running);
        self.ran = true;
        self.limit = None;
        LaunchNext::Launched
    }

    /// The VMM has exited.
    pub fn on_vmm_exit(&mut self, exit: Exit) -> LaunchNext {
        let step = self.step;
        self.to(Step::Ended);
        self.limit = None;
        match step {
            Step::Running | Step::Pausing | Step::Draining => LaunchNext::Wait,
            Step::Stopping | Step::Ended => LaunchNext::Wait,
            Step::Ending => {
                self.add_exit(exit);
                self.closing()
            }
            Step::Killed | Step::GivenUp => self.closing(),
            _ => {
                let during = self.step_name(step);
                let said = self.said_last();
                self.failure = Some(format!("{during}: the VMM has ended ({exit}){said}"));
                self.closing()
            }
        }
    }

    /// An exit that SIGTERM does not explain is part of the story: a call's connection ends before
    /// the VMM's exit is seen.
    fn add_exit(&mut self, exit: Exit) {
        let own = matches!(exit, Exit::Code(code) if code != 0)
            || matches!(exit, Exit::Signal(signal) if signal != 15);
        if own && let Some(why) = &mut self.failure {
            why.push_str(&format!("; the VMM has ended ({exit})"));
        }
    }

    /// What the last question came to, as the end of an error.
    fn said_last(&mut self) -> String {
        let words = std::mem::take(&mut self.last_words);
        if words.is_empty() { words } else { format!("; last: {words}") }
    }

    fn closing(&mut self) -> LaunchNext {
        match &self.failure {
            Some(why) => LaunchNext::Close(why.clone()),
            None => LaunchNext::Wait,
        }
    }

    /// A moment that [`Launch::deadline`] named has come.
    pub fn on_timer(&mut self, now: Moment) -> LaunchNext {
        if self.limit.is_some_and(|limit| now >= limit) {
            self.limit = None;
            return self.fail_late(format!("{}: not done in time", self.step_name(self.step)), now);
        }
        if self.deadline.is_some_and(|deadline| now >= deadline) {
            self.deadline = None;
            return self.on_deadline(now);
        }
        if self.retry_at.is_some_and(|at| now >= at) {
            self.retry_at = None;
            return match self.step {
                Step::AwaitApi => LaunchNext::Ask(Call::Ping),
                Step::ProbeSerial => LaunchNext::ProbeSerial,
                _ => LaunchNext::Wait,
            };
        }
        LaunchNext::Wait
    }

    fn on_deadline(&mut self, now: Moment) -> LaunchNext {
        match self.step {
            Step::AwaitApi => {
                let said = self.said_last();
                self.fail_late(format!("wait for the VMM's API: no answer in 10 s{said}"), now)
            }
            Step::Connect => {
                let within = self.connect_timeout.as_secs_f64();
                self.fail_late(format!("connection to the serial socket: none in {within} s"), now)
            }
            Step::Pausing => self.drain(limits::DRAIN_DEADLINE_UNPAUSED),
            Step::Stopping => self.end(now),
            Step::Ending => {
                self.step = Step::Killed;
                self.deadline = Some(now + limits::VMM_TERM_DEADLINE);
                LaunchNext::KillVmm
            }
            Step::Killed => {
                self.step = Step::GivenUp;
                let left = "the VMM could not be ended, and is left";
                match &mut self.failure {
                    Some(why) => why.push_str(&format!("; {left}")),
                    None => self.failure = Some(left.into()),
                }
                self.closing()
            }
            _ => LaunchNext::Wait,
        }
    }

    /// Its end is wanted: a guest that runs is paused, what the VMM holds back is fetched, and
    /// vmm.shutdown ends it; a launch under way is broken off.
    pub fn on_stop(&mut self, now: Moment) -> LaunchNext {
        match self.step {
            Step::Running => {
                self.to(Step::Pausing);
                self.deadline = Some(now + limits::API_QUERY_DEADLINE);
                LaunchNext::Ask(Call::Pause)
            }
            Step::Pausing | Step::Draining | Step::Stopping => LaunchNext::Wait,
            Step::Ending | Step::Killed | Step::GivenUp | Step::Ended => LaunchNext::Wait,
            _ => {
                self.broken_off = true;
                self.fail(format!("{}: broken off", self.step_name(self.step)), now)
            }
        }
    }

    fn drain(&mut self, within: Duration) -> LaunchNext {
        self.to(Step::Draining);
        LaunchNext::Drain(within)
    }

    /// The VMM's ring is empty, or was given up.
    pub fn on_drained(&mut self, now: Moment) -> LaunchNext {
        if self.step != Step::Draining {
            return LaunchNext::Wait;
        }
        self.to(Step::Stopping);
        self.deadline = Some(now + limits::API_QUERY_DEADLINE);
        LaunchNext::Ask(Call::VmmShutdown)
    }

    /// The first failure ends the VMM, if it was started.
    pub fn fail(&mut self, why: String, now: Moment) -> LaunchNext {
        self.failure.get_or_insert(why);
        if self.spawned && self.step != Step::Ended { self.end(now) } else { self.closing() }
    }

    fn fail_late(&mut self, why: String, now: Moment) -> LaunchNext {
        self.late |= self.failure.is_none();
        self.fail(why, now)
    }

    fn end(&mut self, now: Moment) -> LaunchNext {
        self.to(Step::Ending);
        self.limit = None;
        self.deadline = Some(now + limits::VMM_TERM_DEADLINE);
        LaunchNext::EndVmm
    }

    fn to(&mut self, step: Step) {
        self.step = step;
        (self.tries, self.deadline, self.retry_at) = (0, None, None);
    }

    fn step_name(&self, step: Step) -> &'static str {
        match step {
            Step::ProbeApi => "api socket",
            Step::Spawn => "start of the VMM",
            Step::AwaitApi => "wait for the VMM's API",
            Step::ProbeSerial => "serial socket",
            Step::Create => self.start.name(),
            Step::AskInfo => "vm.info",
            Step::Connect => "connection to the serial socket",
            Step::Boot => self.boot.as_ref().map_or("vm.boot", Call::name),
            Step::Running | Step::Pausing | Step::Draining | Step::Stopping => "run",
            Step::Ending | Step::Killed | Step::GivenUp | Step::Ended => "end of the VMM",
        }
    }
}
