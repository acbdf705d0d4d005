//! One run of a script: the world, the collector in it, and the rules that it is held to.
//!
//! Owns the collector's process over its starts.
//! **Invariant:** the loop is the real one; a run is decided by its script and its seed alone.

mod converge;
mod judge;
mod operator;
mod rules;
mod viewers;

use crate::dice::Dice;
use crate::env::SimEnv;
use crate::kernel::Event;
use crate::kernel::{Kernel, Shared, was_killed};
use crate::script::{Act, Op, Script};
use crate::trace::{Keep, Trace};
use crate::vmm::Vmm;
use seriald::log::record::{Record, What};
use seriald::{EventKind, Reactor};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

/// What a run that kept all rules was like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub turns: u64,
    pub calls: u64,
    pub bytes: u64,
    pub faults: u64,
    pub kills: u64,
    /// Two runs that did the same have the same.
    pub fingerprint: u64,
}

/// A rule that was broken.
#[derive(Clone, Debug)]
pub struct Broken {
    pub rule: String,
    pub trace: String,
}

pub struct Run {
    kernel: Shared,
    script: Script,
    /// None while it is down.
    reactor: Option<Reactor<SimEnv>>,
    /// The VMs that are to be in charge.
    wanted: BTreeSet<usize>,
    /// It is to be started at that time.
    starts_at: Option<Duration>,
    is_healed: bool,
    turns: u64,
    kills: u64,
    watcher: rules::Watcher,
}

type Checked<T> = Result<T, String>;

/// Runs a script in the world of a seed.
pub fn run(script: &Script, seed: u64, keep: Keep) -> Result<Report, Broken> {
    let mut run = Run::new(script, seed, keep);
    let done = run.whole();
    let kernel = run.kernel.borrow();
    match done {
        Ok(()) => Ok(Report {
            turns: run.turns,
            calls: kernel.calls,
            bytes: kernel.vmms.iter().map(|vmm| vmm.sent.len() as u64).sum(),
            faults: u64::from(kernel.faults.struck),
            kills: run.kills,
            fingerprint: kernel.trace.fingerprint,
        }),
        Err(rule) => Err(Broken { rule, trace: kernel.trace.text().to_owned() }),
    }
}

impl Run {
    fn new(script: &Script, seed: u64, keep: Keep) -> Run {
        let dice = Dice::new(seed ^ 0x5eed);
        let mut kernel = Kernel::new(dice, script.faults.clone(), Trace::new(keep));
        script.prepare(&mut kernel.disk);
        kernel.descriptors_max = script.descriptors_max;
        kernel.store.is_there = script.has_store;
        kernel.store.room = script.store_room;
        let holds = script.specs.iter().map(|spec| spec.log.hold_bytes).max().unwrap_or(0);
        kernel.may_hold = if script.logs_can_fail() { holds.max(64 * 1024) } else { 0 };
        for (number, version) in script.versions.iter().enumerate() {
            let mut vmm = Vmm::new(number, *version);
            vmm.ring_max = script.ring_max;
            kernel.vmms.push(vmm);
        }
        Run {
            kernel: Rc::new(RefCell::new(kernel)),
            script: script.clone(),
            reactor: None,
            wanted: BTreeSet::new(),
            starts_at: None,
            is_healed: false,
            turns: 0,
            kills: 0,
            watcher: rules::Watcher::default(),
        }
    }

    fn whole(&mut self) -> Checked<()> {
        let begin = self.kernel.borrow().now;
        for (at, act) in &self.script.acts {
            if let Act::Deed(vm, deed) = act {
                let event = Event::Deed { vm: *vm, deed: deed.clone() };
                self.kernel.borrow_mut().schedule(*at, event);
            }
        }
        self.start()?;
        for (at, act) in self.script.acts.clone() {
            if let Act::Op(op) = act {
                self.drive_until(begin + at)?;
                self.operate(op)?;
            }
        }
        let last = self.script.acts.last().map_or(Duration::ZERO, |(at, _)| *at);
        self.drive_until(begin + last)?;
        self.heal()?;
        self.converge()?;
        self.be_idle()?;
        self.judge_stuck_viewers()?;
        self.end()?;
        self.judge_viewers()?;
        self.judge_logs()
    }

    /// Turns until that time.
    fn drive_until(&mut self, until: Duration) -> Checked<()> {
        loop {
            let now = self.kernel.borrow().now;
            if now >= until {
                return Ok(());
            }
            if self.reactor.is_some() {
                self.turn(Some(until - now))?;
                continue;
            }
            let next = self.starts_at.map_or(until, |at| at.clamp(now, until));
            self.kernel.borrow_mut().pass_until(next);
            if self.starts_at.is_some_and(|at| at <= next) {
                self.start()?;
            }
        }
    }

    /// One turn, and the rules that hold after each.
    fn turn(&mut self, most: Option<Duration>) -> Checked<()> {
        let (calls, struck) = {
            let kernel = self.kernel.borrow();
            (kernel.calls, kernel.faults.struck)
        };
        let done = self.guarded(|reactor| reactor.turn(most))?;
        self.turns += 1;
        let Some(done) = done else { return Ok(()) };
        done.map_err(|error| format!("the loop ended: {error}"))?;
        while let Some(Some(event)) = self.guarded(|reactor| reactor.next_event())? {
            self.kernel.borrow_mut().note(|| format!("event: {} {:?}", event.id, event.kind));
            let vm = self.script.specs.iter().position(|spec| spec.id == event.id);
            let vm = vm.expect("one of ours");
            if let EventKind::Lost(bytes) = event.kind {
                self.kernel.borrow_mut().vmms[vm].lost += bytes;
            }
            let is_closed = matches!(event.kind, EventKind::Closed(_));
            if is_closed && self.script.logs_can_fail() && !self.is_healed {
                // What could not be written up to its end is told, and on no disk.
                let mut kernel = self.kernel.borrow_mut();
                kernel.note_unclaimed(vm);
                let fails = self.script.disk_can_be_full() || kernel.faults.struck > struck;
                kernel.vmms[vm].may_lack_records |= fails;
            }
        }
        self.check_turn(calls)
    }

    /// A VM's collector is gone: what it had dropped was to be recorded with the next byte that can be
    /// written.
    fn excuse_lost_records(&mut self, vm: usize) {
        let mut kernel = self.kernel.borrow_mut();
        let events = self.script.specs[vm].log.path.with_file_name("app.log.events");
        let events = kernel.disk.read_file(&events).unwrap_or_default();
        let recorded: u64 = Record::decode_all(&events)
            .filter_map(|record| match record.what {
                What::Lost(lost) => Some(lost.bytes),
                _ => None,
            })
            .sum();
        let vmm = &mut kernel.vmms[vm];
        vmm.may_lack_records |= self.script.disk_can_be_full() || vmm.lost > recorded;
    }

    /// Does something with the collector, which may be killed meanwhile: then there is no answer.
    fn guarded<T>(&mut self, what: impl FnOnce(&mut Reactor<SimEnv>) -> T) -> Checked<Option<T>> {
        let Some(reactor) = &mut self.reactor else { return Ok(None) };
        match catch_unwind(AssertUnwindSafe(|| what(reactor))) {
            Ok(done) => Ok(Some(done)),
            Err(payload) if was_killed(&*payload) => {
                self.reactor = None;
                self.kills += 1;
                for vm in 0..self.script.versions.len() {
                    self.excuse_lost_records(vm);
                }
                let down = self.kernel.borrow_mut().dice.micros(100, 500_000);
                self.starts_at = Some(self.kernel.borrow().now + down);
                Ok(None)
            }
            Err(payload) => {
                let said = payload.downcast_ref::<String>().cloned();
                let said = said.or(payload.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                // What is left of it is in no state to be dropped.
                std::mem::forget(self.reactor.take());
                Err(format!("panic: {}", said.unwrap_or_default()))
            }
        }
    }
}
