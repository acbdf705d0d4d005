//! What the operator does with the collector: starts, adoptions, upgrades, ends.
//!
//! **Invariant:** in the order in which the binary does it.

use super::{Checked, Op, Run};
use crate::env::SimEnv;
use crate::faults::Fault;
use seriald::handover::state::State;
use seriald::limits::VIEWER_BUFFER_BYTES_MIN;
use seriald::reactor::Check;
use seriald::{ControlSpec, Reactor, VmId};
use std::ffi::OsStr;
use std::time::Duration;

/// How long an upgrade or an end may take.
const PATIENCE: Duration = Duration::from_secs(120);

impl Run {
    /// A fresh process begins, and takes charge of what it is to have.
    pub(super) fn start(&mut self) -> Checked<()> {
        self.starts_at = None;
        let kept = {
            let mut kernel = self.kernel.borrow_mut();
            kernel.start_process();
            kernel.note(|| "the collector starts".to_owned());
            kernel.hand_over()
        };
        self.begin(None)?;
        let has_store = self.script.has_store;
        self.kernel.borrow_mut().store.is_in_use = false;
        let in_use = self.guarded(|reactor| {
            let service = OsStr::new("service");
            let served = has_store && reactor.connect_service(service, None).is_ok();
            served && reactor.keep_in_store(kept).is_ok()
        })?;
        self.kernel.borrow_mut().store.is_in_use = in_use == Some(true);
        for vm in self.wanted.clone() {
            self.adopt(vm)?;
        }
        self.serve_control()?;
        self.guarded(|reactor| {
            reactor.leave_unclaimed();
            reactor.ready();
        })?;
        self.note_unclaimed();
        Ok(())
    }

    /// What a predecessor left of a VM that is not in charge is left to nobody.
    fn note_unclaimed(&mut self) {
        for vm in 0..self.script.versions.len() {
            if self.find(vm).is_none() {
                self.kernel.borrow_mut().note_unclaimed(vm);
            }
        }
    }

    fn begin(&mut self, origin: Option<Duration>) -> Checked<()> {
        let env = SimEnv::new(&self.kernel, origin);
        let reactor = Reactor::with_env(self.script.config.clone(), env);
        self.reactor = Some(reactor.map_err(|error| format!("no loop: {error}"))?);
        Ok(())
    }

    /// Our own API is served, if it is in this run.
    fn serve_control(&mut self) -> Checked<()> {
        if self.script.kinds.viewers {
            let mut spec = ControlSpec::new("/run/control.sock");
            if self.script.kinds.small_buffers {
                spec.viewer_buffer_bytes = VIEWER_BUFFER_BYTES_MIN;
            }
            let served = self.guarded(|reactor| reactor.serve_control(spec))?;
            if let Some(Err(error)) = served {
                self.kernel.borrow_mut().note(|| format!("no API: {error}"));
            }
        }
        Ok(())
    }

    pub(super) fn find(&self, vm: usize) -> Option<VmId> {
        self.reactor.as_ref()?.find(&self.script.specs[vm].id)
    }

    pub(super) fn adopt(&mut self, vm: usize) -> Checked<()> {
        let spec = self.script.specs[vm].clone();
        let done = self.guarded(|reactor| reactor.adopt(spec))?;
        if let Some(Err(error)) = &done {
            self.kernel.borrow_mut().note(|| format!("vm {vm}: not adopted: {error}"));
        }
        Ok(())
    }

    /// A VM that was closed, or refused, is adopted again by whoever wants it.
    pub(super) fn adopt_missing(&mut self) -> Checked<()> {
        for vm in self.wanted.clone() {
            if self.reactor.is_some() && self.find(vm).is_none() {
                self.adopt(vm)?;
            }
        }
        Ok(())
    }

    pub(super) fn operate(&mut self, op: Op) -> Checked<()> {
        self.kernel.borrow_mut().note(|| format!("operator: {op:?}"));
        self.adopt_missing()?;
        match op {
            Op::Adopt(vm) => {
                self.wanted.insert(vm);
                self.adopt_missing()
            }
            Op::Release(vm) => {
                self.wanted.remove(&vm);
                let Some(id) = self.find(vm) else { return Ok(()) };
                self.guarded(|reactor| reactor.release(id)).map(drop)
            }
            Op::Rotate(vm) => {
                let Some(id) = self.find(vm) else { return Ok(()) };
                self.guarded(|reactor| reactor.rotate(id)).map(drop)
            }
            Op::Reconfigure(vm, log) => {
                self.script.specs[vm].log = *log;
                let spec = self.script.specs[vm].clone();
                let Some(id) = self.find(vm) else { return Ok(()) };
                let done = self.guarded(|reactor| reactor.reconfigure(id, spec))?;
                if let Some(Err(error)) = done {
                    self.kernel.borrow_mut().note(|| format!("vm {vm}: not changed: {error}"));
                }
                Ok(())
            }
            Op::Reopen => self.guarded(|reactor| reactor.reopen_logs()).map(drop),
            Op::Kill { calls } => {
                let mut kernel = self.kernel.borrow_mut();
                kernel.kill_at = Some(kernel.calls + calls);
                Ok(())
            }
            Op::Upgrade => self.upgrade(),
            Op::View(asked, pace) => {
                self.kernel.borrow_mut().view(asked, pace);
                Ok(())
            }
            Op::StopViewing(viewer) => {
                self.kernel.borrow_mut().stop_viewing(viewer);
                Ok(())
            }
            Op::Restart => {
                self.stop()?;
                let down = self.kernel.borrow_mut().dice.micros(100, 500_000);
                if self.reactor.is_none() && self.starts_at.is_none() {
                    self.starts_at = Some(self.kernel.borrow().now + down);
                }
                Ok(())
            }
        }
    }

    /// execve(2) of the next program, once it says yes and nothing is under way.
    fn upgrade(&mut self) -> Checked<()> {
        let check = Check { command: vec!["seriald".into()], reads_state: true };
        if self.guarded(|reactor| reactor.check_successor(vec![check]))? != Some(true) {
            return Ok(());
        }
        let until = self.kernel.borrow().awake() + PATIENCE;
        let verdict = loop {
            match self.guarded(|reactor| reactor.take_verdict())? {
                None => return Ok(()),
                Some(Some(verdict)) => break verdict,
                Some(None) => self.turn(Some(Duration::from_millis(100)))?,
            }
            if self.kernel.borrow().awake() > until {
                return Err("an upgrade is not decided".to_owned());
            }
        };
        if let Err(why) = verdict {
            self.kernel.borrow_mut().note(|| format!("no upgrade: {why}"));
            return Ok(());
        }
        let state = self.guarded(|reactor| reactor.save().and_then(|state| state.encode()))?;
        let Some(state) = state else { return Ok(()) };
        let state = state.map_err(|error| format!("state: {error}"))?;
        let state = State::parse(&state).map_err(|error| format!("state: {error}"))?;
        self.replace(state)
    }

    fn replace(&mut self, state: State) -> Checked<()> {
        {
            let mut kernel = self.kernel.borrow_mut();
            kernel.note(|| "execve".to_owned());
            (kernel.replaces_itself, kernel.is_dead) = (true, true);
        }
        self.reactor = None;
        {
            let mut kernel = self.kernel.borrow_mut();
            (kernel.replaces_itself, kernel.is_dead) = (false, false);
            kernel.replace_process(&state.descriptors());
        }
        self.begin(Some(state.origin))?;
        let before = state.vms.len();
        let has_store = self.script.has_store;
        let refused = self.guarded(|reactor| {
            let refused = reactor.take_over(state);
            if has_store && reactor.connect_service(OsStr::new("service"), None).is_ok() {
                let _ = reactor.keep_in_store(Vec::new());
            }
            reactor.leave_unclaimed();
            reactor.ready();
            refused
        })?;
        self.serve_control()?;
        self.note_unclaimed();
        if let Some(refused) = refused.filter(|refused| !refused.is_empty()) {
            let line = format!("{} of {before} not taken over: {refused:?}", refused.len());
            self.kernel.borrow_mut().note(|| line.clone());
            if !self.script.logs_can_fail() {
                return Err(line);
            }
            for vm in 0..self.script.specs.len() {
                let id = format!("{:?}", self.script.specs[vm].id);
                if refused.iter().any(|why| why.contains(&id)) {
                    self.excuse_lost_records(vm);
                }
            }
        }
        Ok(())
    }

    /// SIGTERM, and the end of the process.
    pub(super) fn stop(&mut self) -> Checked<()> {
        self.guarded(|reactor| reactor.stop())?;
        let until = self.kernel.borrow().awake() + PATIENCE;
        // In which the last is said to the service manager.
        self.turn(Some(Duration::ZERO))?;
        while self.reactor.as_ref().is_some_and(|reactor| !reactor.is_stopped()) {
            self.turn(Some(Duration::from_secs(1)))?;
            if self.kernel.borrow().awake() > until {
                return Err("it was told to end, and does not".to_owned());
            }
        }
        if self.guarded(|reactor| reactor.take_leave())?.is_none() {
            return Ok(());
        }
        self.reactor = None;
        let mut kernel = self.kernel.borrow_mut();
        kernel.note(|| "the collector has ended".to_owned());
        if !kernel.descriptors.is_empty() {
            return Err(format!("descriptors are left: {:?}", kernel.descriptors));
        }
        kernel.is_dead = true;
        kernel.end_process();
        kernel.store_reads();
        // What was suspended on its way out may have run out of time for its last words.
        let has_time = self.script.faults.chance(Fault::Suspended) == 0;
        if let Some((name, object)) = kernel.store.stored.first().filter(|_| has_time) {
            return Err(format!("the store still has {name}: {object:?}"));
        }
        Ok(())
    }

    /// The last end, after which nothing of it is left.
    pub(super) fn end(&mut self) -> Checked<()> {
        self.stop()?;
        let mut kernel = self.kernel.borrow_mut();
        let until = kernel.now + Duration::from_secs(120);
        // Children that outlived it close their files.
        kernel.pass_until(until);
        let (files, dirs) = (kernel.disk.open_files(), kernel.disk.open_dirs());
        if files + dirs > 0 {
            return Err(format!("{files} files and {dirs} directories are open after the end"));
        }
        match kernel.broken.take() {
            Some(rule) => Err(rule),
            None => Ok(()),
        }
    }
}
