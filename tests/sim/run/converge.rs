//! The end of a run: the world heals, and then everything must come right.
//!
//! **Invariant:** nothing fails any more from here on.

use super::{Checked, Run};
use crate::kernel::Event;
use crate::kernel::sockets::Conn;
use crate::vmm::Deed;
use std::time::Duration;

/// So long a healed world may take: the longest back-off (a dead path: 1 s, a displacement: 5 s), the
/// life of a served stream, a release's deadline.
const RECOVERY: Duration = Duration::from_secs(30);
/// After so long every timer that belongs to something that has happened is over: the longest is the
/// silence that fetches a tail.
const SETTLED: Duration = Duration::from_secs(300);
/// What each guest prints at the end, to see it arrive.
const PROBE: u64 = 200;

impl Run {
    pub(super) fn heal(&mut self) -> Checked<()> {
        {
            let mut kernel = self.kernel.borrow_mut();
            kernel.note(|| "the world heals".to_owned());
            kernel.faults.heal();
            kernel.kill_at = None;
            kernel.disk.capacity = u64::MAX;
        }
        for vm in 0..self.script.versions.len() {
            self.deed(vm, Deed::Resume);
        }
        let now = self.kernel.borrow().now;
        self.drive_until(now + Duration::from_secs(2))?;
        // What was closed before on a disk that failed has been told by now.
        self.is_healed = true;
        for vm in 0..self.script.versions.len() {
            let dead = self.kernel.borrow().vmms[vm].is_dead();
            // Only a reboot brings a killed thread back (fact 3.3).
            self.deed(vm, if dead { Deed::Reboot { prints: 0 } } else { Deed::Resume });
            self.deed(vm, Deed::Start { prints: 0 });
            self.deed(vm, Deed::Boot { prints: 0 });
        }
        Ok(())
    }

    fn deed(&mut self, vm: usize, deed: Deed) {
        self.kernel.borrow_mut().schedule(Duration::ZERO, Event::Deed { vm, deed });
    }

    /// Every VM that is wanted streams, and what it prints arrives.
    pub(super) fn converge(&mut self) -> Checked<()> {
        let now = self.kernel.borrow().now;
        for second in 0..RECOVERY.as_secs() {
            self.drive_until(now + Duration::from_secs(second))?;
            self.adopt_missing()?;
        }
        for vm in 0..self.script.versions.len() {
            self.deed(vm, Deed::Print { bytes: PROBE });
        }
        let now = self.kernel.borrow().now;
        self.drive_until(now + RECOVERY)?;
        for vm in self.wanted.clone() {
            self.check_streams(vm)?;
        }
        self.judge_live_viewers(PROBE as usize)
    }

    fn check_streams(&self, vm: usize) -> Checked<()> {
        let kernel = self.kernel.borrow();
        let vmm = &kernel.vmms[vm];
        let status = self.find(vm).and_then(|id| self.reactor.as_ref()?.status(id));
        let state = status.as_ref().map_or("not in charge", |status| status.state);
        let is_ours = vmm.client().is_some_and(|conn| kernel.conns[conn].is_ours);
        if !vmm.is_on || !is_ours || state != "streaming" {
            return Err(format!("vm {vm} does not stream after the world has healed: {state}"));
        }
        let failure = |what: &str| Err(format!("vm {vm}: {what} after the world has healed"));
        if !vmm.is_silent() {
            return failure("the guest is still held up");
        }
        if vmm.ring_len() > 0 {
            return failure("the VMM still holds bytes");
        }
        let unread = |conn: &&Conn| conn.vm == vm && conn.is_ours && conn.unread() > 0;
        if let Some(conn) = kernel.conns.iter().find(unread) {
            return failure(&format!("there are {} unread bytes: {conn:?}", conn.unread()));
        }
        match status.map(|status| status.held_bytes) {
            Some(0) => Ok(()),
            _ => failure("bytes are held"),
        }
    }

    /// With nothing to do there is no wake-up.
    pub(super) fn be_idle(&mut self) -> Checked<()> {
        let now = self.kernel.borrow().now;
        self.watcher.settled = Some(self.turns);
        self.drive_until(now + SETTLED)?;
        self.watcher.settled = None;
        let Some(reactor) = &self.reactor else { return Err("it is down".to_owned()) };
        if let Some(wake) = reactor.next_wake() {
            let states = self.wanted.iter().map(|vm| {
                let status = self.find(*vm).and_then(|id| reactor.status(id));
                status.map(|status| status.state)
            });
            let states: Vec<_> = states.collect();
            if !self.script.has_timers() && !self.has_slow_viewers() {
                return Err(format!("it would wake up in {wake:?} with nothing to do: {states:?}"));
            }
        }
        Ok(())
    }
}
