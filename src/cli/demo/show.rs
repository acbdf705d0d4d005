//! The demonstration itself: launch, watch, end.
//!
//! Owns the reactor while it runs.
//! **Invariant:** returns only when no VMM runs any more, whatever happened.

use super::fleet::{Kind, Member, Plan, Vmm};
use super::outsider::Rotation;
use super::table::{Row, Table};
use super::usage::Usage;
use crate::cli::{Failure, say};
use seriald::Seriald;
use seriald::config::Config;
use seriald::env::os::stopwatch::Stopwatch;
use seriald::reactor::{EventKind, Stats, VmId};
use seriald::vm::CloseReason;
use signal_hook::consts::SIGINT;
use std::path::PathBuf;
use std::time::Duration;

/// How long all VMs together may take to come up, and to end.
const PATIENCE: Duration = Duration::from_secs(120);
/// The table is drawn this often.
const TICK: Duration = Duration::from_secs(1);

/// What is left when it is over: what was run, and what was counted.
pub struct Shown {
    /// The VMs.
    pub members: Vec<Member>,
    /// The outsider's copies, oldest first.
    pub copies: Vec<PathBuf>,
    /// The reactor's counters.
    pub stats: Stats,
    /// What this process used for it.
    pub usage: Usage,
}

struct Show<'p> {
    plan: &'p Plan,
    reactor: Seriald,
    members: Vec<Member>,
    ids: Vec<VmId>,
    rows: Vec<Row>,
    launched: usize,
    failure: Option<String>,
    last_busy: Option<Duration>,
    lag: Duration,
    clock: Stopwatch,
    outside: Option<Rotation>,
    copies: Vec<PathBuf>,
}

/// Launches the plan's VMs, shows them for its seconds, and ends them.
pub fn show(plan: &Plan) -> Result<Shown, Failure> {
    let mut reactor = Seriald::bind(Config::default()).map_err(Failure::failed)?;
    reactor.stop_on_signals().map_err(Failure::failed)?;
    let mut show = Show {
        plan,
        reactor,
        members: Vec::new(),
        ids: Vec::new(),
        rows: Kind::ALL.map(|kind| Row { kind: kind.name(), ..Row::default() }).to_vec(),
        launched: 0,
        failure: None,
        last_busy: None,
        lag: Duration::ZERO,
        clock: Stopwatch::new(),
        outside: None,
        copies: Vec::new(),
    };
    let went = show.launch().and_then(|()| show.watch());
    show.end()?;
    went?;
    show.interrupted()?;
    if let Some(why) = show.failure {
        return Err(Failure::Failed(why));
    }
    let Show { members, copies, reactor, .. } = show;
    Ok(Shown { members, copies, stats: *reactor.stats(), usage: Usage::of_self() })
}

impl Show<'_> {
    fn launch(&mut self) -> Result<(), Failure> {
        let what = match &self.plan.vmm {
            Vmm::Simulated(_) => "simulated Cloud Hypervisors, a process each".to_string(),
            Vmm::Real(vmm, _) => vmm.display().to_string(),
        };
        say(format_args!("launching {} VMs ({what})", self.plan.vms));
        let kernel = self.plan.home.join("kernel");
        std::fs::write(&kernel, b"the simulated guest needs a file\n")
            .map_err(|e| Failure::Failed(format!("{}: {e}", kernel.display())))?;
        for n in 0..self.plan.vms {
            let member = self.plan.member(n);
            std::fs::create_dir(&member.dir)
                .map_err(|e| Failure::Failed(format!("{}: {e}", member.dir.display())))?;
            let launched = self.reactor.launch(self.plan.launch(&member));
            self.ids.push(launched.map_err(Failure::failed)?);
            self.members.push(member);
        }
        while self.launched < self.members.len() && !self.is_over() {
            let left = PATIENCE.saturating_sub(self.clock.elapsed());
            if left.is_zero() {
                let (up, within) = (self.launched, PATIENCE.as_secs());
                self.failure = Some(format!("only {up} VMs came up within {within} s"));
            }
            self.turn(left)?;
        }
        Ok(())
    }

    /// An interruption or a failure ends it before its time.
    fn is_over(&self) -> bool {
        self.failure.is_some() || self.reactor.is_stopping()
    }

    fn turn(&mut self, wait: Duration) -> Result<(), Failure> {
        let turn = self.reactor.turn(Some(wait)).map_err(Failure::failed)?;
        let now = self.clock.elapsed();
        if turn.read_bytes > 0 {
            // A byte that just missed a pass waits for the next one.
            let since = self.last_busy.replace(now).map_or(Duration::ZERO, |last| now - last);
            self.lag = self.lag.max(since);
        } else {
            self.last_busy = None;
        }
        while let Some(event) = self.reactor.next_event() {
            match event.kind {
                EventKind::Launched => self.launched += 1,
                EventKind::Closed(reason @ CloseReason::LaunchFailed(_)) => {
                    self.failure.get_or_insert(format!("{}: {reason}", event.id));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The seconds that were asked for; for real guests, until they have printed all.
    fn watch(&mut self) -> Result<(), Failure> {
        self.clock = Stopwatch::new();
        self.last_busy = None;
        let seconds = Duration::from_secs(self.plan.seconds);
        let real = matches!(self.plan.vmm, Vmm::Real(..));
        let end = if real { seconds * 20 + PATIENCE } else { seconds };
        let mut table = Table::new();
        let mut tick = TICK.min(end);
        let mut outsider_at = seconds / 4;
        while !(self.is_over() || real && self.reactor.is_empty()) {
            let now = self.clock.elapsed();
            // Not at the very end: to wait for him would hold up the loop.
            if now >= outsider_at && outsider_at < end {
                outsider_at += (seconds / 4).max(TICK / 4);
                self.copytruncate()?;
            }
            if now >= tick {
                self.draw(&mut table);
                if tick >= end {
                    break;
                }
                tick = (tick + TICK).min(end);
            }
            let next = if outsider_at < end { tick.min(outsider_at) } else { tick };
            self.turn(next.saturating_sub(now))?;
        }
        if real && !self.reactor.is_empty() && self.failure.is_none() {
            self.failure = Some(format!("the guests did not end within {} s", end.as_secs()));
        }
        Ok(())
    }

    /// The outsider comes by; his last visit is over first.
    fn copytruncate(&mut self) -> Result<(), Failure> {
        self.outsider_done()?;
        if let Some(member) = self.members.iter().find(|member| member.kind == Kind::Outside) {
            let copy = self.plan.home.join(format!("outsider-{}", self.copies.len()));
            self.outside = Some(Rotation::start(member.log(), copy));
        }
        Ok(())
    }

    fn outsider_done(&mut self) -> Result<(), Failure> {
        if let Some(rotation) = self.outside.take() {
            let copy = rotation.join();
            self.copies.push(copy.map_err(|e| Failure::Failed(format!("the outsider: {e}")))?);
        }
        Ok(())
    }

    fn draw(&mut self, table: &mut Table) {
        for row in &mut self.rows {
            *row = Row { kind: row.kind, ..Row::default() };
        }
        for (member, id) in self.members.iter().zip(&self.ids) {
            let row = self.rows.iter_mut().find(|row| row.kind == member.kind.name());
            if let (Some(row), Some(status)) = (row, self.reactor.status(*id)) {
                row.vms += 1;
                row.bytes += status.read_bytes;
                row.rotations += status.log_counters.rotations;
            }
        }
        table.show(self.clock.elapsed(), &self.rows, std::mem::take(&mut self.lag));
    }

    /// Ends every VMM and waits for the ends.
    fn end(&mut self) -> Result<(), Failure> {
        self.outsider_done()?;
        for id in &self.ids {
            self.reactor.shutdown_vmm(*id);
        }
        let clock = Stopwatch::new();
        while !self.reactor.is_empty() {
            let left = PATIENCE.saturating_sub(clock.elapsed());
            if left.is_zero() {
                return Err(Failure::failed("the VMMs did not end"));
            }
            self.turn(left)?;
        }
        Ok(())
    }

    fn interrupted(&self) -> Result<(), Failure> {
        if self.reactor.is_stopping() { Err(Failure::Signal(SIGINT as u8)) } else { Ok(()) }
    }
}
