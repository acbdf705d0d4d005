//! The rules that hold after every turn.
//!
//! **Invariant:** a rule looks; it changes nothing in the world.

use super::{Checked, Run};
use seriald::RotateMode;
use std::time::Duration;

/// Calls that one turn may take: so many for each VM, and for the rest.
const CALLS_A_TURN: (u64, u64) = (400, 3000);
/// Turns that a VM may wait with something to read.
const PATIENCE_TURNS: u64 = 200;
/// Turns in a row that find nothing to do.
const FRUITLESS_TURNS: u64 = 300;
/// Turns that everything there is may take while nothing happens any more.
const SETTLED_TURNS: u64 = 1000;

/// What the rules remember from turn to turn.
#[derive(Debug, Default)]
pub struct Watcher {
    /// Turns in a row in which no call was made but the wait.
    fruitless: u64,
    /// Since which turn each VM has something to read.
    waiting: Vec<Option<(Duration, u64)>>,
    /// The turn since which nothing happens in the world.
    pub settled: Option<u64>,
}

impl Run {
    pub(super) fn check_turn(&mut self, calls_before: u64) -> Checked<()> {
        if let Some(rule) = self.kernel.borrow_mut().broken.take() {
            return Err(rule);
        }
        self.check_work(calls_before)?;
        self.check_fairness()?;
        self.check_memory()?;
        if self.turns.is_multiple_of(32) || self.watcher.settled.is_some() {
            self.check_disk()?;
        }
        Ok(())
    }

    fn check_work(&mut self, before: u64) -> Checked<()> {
        let kernel = self.kernel.borrow();
        let calls = kernel.calls - before;
        let vms = self.script.versions.len() as u64;
        // A rotation renames every backup that there is.
        let backups = self.script.specs.iter().map(|spec| u64::from(spec.log.keep)).max();
        let most = CALLS_A_TURN.0 * vms + CALLS_A_TURN.1 + 8 * backups.unwrap_or(0);
        if calls > most {
            return Err(format!("a turn took {calls} calls"));
        }
        if self.watcher.settled.is_some_and(|turn| self.turns - turn > SETTLED_TURNS) {
            return Err(format!("it is not idle: {SETTLED_TURNS} turns with nothing to do"));
        }
        let idle = calls <= 1 && !kernel.waited;
        self.watcher.fruitless = if idle { self.watcher.fruitless + 1 } else { 0 };
        if self.watcher.fruitless > FRUITLESS_TURNS {
            return Err("it spins: turns without a wait and without a call".to_owned());
        }
        Ok(())
    }

    fn check_fairness(&mut self) -> Checked<()> {
        let kernel = self.kernel.borrow();
        if !kernel.tells_in_time() {
            self.watcher.waiting.clear();
            return Ok(());
        }
        self.watcher.waiting.resize(kernel.vmms.len(), None);
        for (vm, since) in self.watcher.waiting.iter_mut().enumerate() {
            let Some(at) = kernel.readable_since(vm) else {
                *since = None;
                continue;
            };
            match since {
                Some((first, turn)) if *first == at => {
                    if self.turns - *turn > PATIENCE_TURNS {
                        return Err(format!("vm {vm} has waited for {PATIENCE_TURNS} turns"));
                    }
                }
                _ => *since = Some((at, self.turns)),
            }
        }
        Ok(())
    }

    fn check_memory(&self) -> Checked<()> {
        let Some(reactor) = &self.reactor else { return Ok(()) };
        let mut total = 0;
        for vm in reactor.vms() {
            let Some(status) = reactor.status(vm) else { continue };
            let most = reactor.spec(vm).map_or(0, |spec| spec.log.hold_bytes) as u64;
            let most = most.max(self.may_still_hold());
            total += status.held_bytes;
            if status.held_bytes > most {
                return Err(format!("{} holds {} bytes, not {most}", status.id, status.held_bytes));
            }
        }
        // What was in flight at a crash is held whatever the others hold.
        let landed = if self.kills > 0 { seriald::limits::TURN_BUDGET } else { 0 };
        let most = (self.script.config.hold_bytes_total + landed) as u64;
        if total > most {
            return Err(format!("all together hold {total} bytes, not {most}"));
        }
        let kernel = self.kernel.borrow();
        let (open, vms) = (kernel.descriptors.len(), self.script.versions.len());
        let most = vms * 10 + 12 * self.script.config.after_rotate_parallel + 64;
        match open > most {
            true => Err(format!("{open} descriptors are open, not {most}")),
            false => Ok(()),
        }
    }

    /// A VM that was told to hold less keeps what it holds until it is written.
    fn may_still_hold(&self) -> u64 {
        if self.script.kinds.reloads { 64 * 1024 } else { 0 }
    }

    /// P5: the disk that a VM takes.
    fn check_disk(&self) -> Checked<()> {
        let kernel = self.kernel.borrow();
        if self.script.kinds.reloads || self.script.kinds.outsiders {
            return Ok(());
        }
        for (vm, spec) in self.script.specs.iter().enumerate() {
            let log = &spec.log;
            let dir = log.path.parent().expect("a directory");
            let Ok(names) = kernel.disk.list(dir) else { continue };
            let (mut generations, mut beside) = (0, 0);
            for (name, _) in names {
                let name = name.to_string_lossy().into_owned();
                if number(&name).is_some_and(|number| number > log.keep) {
                    return Err(format!("vm {vm}: {name} is one backup too many"));
                }
                let size = kernel.disk.lookup(&dir.join(&name), false).map_or(0, |info| info.size);
                match name.contains(".events") || name.contains(".boot") {
                    true => beside += size,
                    false => generations += size,
                }
            }
            // While a rotation fails the log may reach twice its size; one is being shrunk, one copied,
            // one packed.
            let copies = if log.mode == RotateMode::CopyTruncate { 4 } else { 3 };
            let keep = u64::from(log.keep);
            let packed = 16 * (keep + 2);
            let factor = if self.script.logs_can_fail() { 2 } else { 1 };
            let most = factor * (keep + 1 + copies) * log.max_bytes + packed;
            if generations > most {
                let names: Vec<_> = kernel.disk.list(dir).unwrap_or_default();
                let sizes = names.iter().map(|(name, _)| {
                    let info = kernel.disk.lookup(&dir.join(name), false);
                    (name.to_string_lossy().into_owned(), info.map_or(0, |info| info.size))
                });
                let sizes: Vec<_> = sizes.collect();
                let taken = format!("its logs take {generations} bytes, not {most}");
                return Err(format!("vm {vm}: {taken}: {sizes:?}"));
            }
            let is_settled = self.watcher.settled.is_some() && self.find(vm).is_some();
            let total = log.max_total_bytes.filter(|_| is_settled);
            if let Some(most) = total.filter(|most| generations > *most) {
                return Err(format!("vm {vm}: all its logs take {generations} bytes, not {most}"));
            }
            let head = log.keep_boot_head as u64;
            let most = 2 * (64 * 1024 + 512 * keep) + 2 * 9 * (head + 200) + 16 * 1024;
            if beside > most {
                return Err(format!(
                    "vm {vm}: beside its logs it takes {beside} bytes, not {most}"
                ));
            }
        }
        Ok(())
    }
}

/// The number of a backup, packed or not.
fn number(name: &str) -> Option<u32> {
    name.strip_prefix("app.log.")?.split('.').next()?.parse().ok()
}
