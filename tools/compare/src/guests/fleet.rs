//! All guests of a run.
//!
//! Owns them, and the epoll instance on which their listeners are.
//! **Invariant:** a VM is known by its place, the same as in the run's list of VMs.

use super::guest::{Guest, Printed};
use super::text::Text;
use crate::site::Vm;
use anyhow::{Context, Result, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use std::time::{Duration, Instant};

/// Full sockets that are looked at for room: when all are full there is soon room in any.
const LOOKED_AT: usize = 64;

/// The guests.
pub struct Fleet {
    guests: Vec<Guest>,
    arrivals: Epoll,
    text: Text,
}

impl Fleet {
    /// Binds every VM's serial socket.
    ///
    /// # Errors
    /// Those of bind(2), and where descriptors are used up.
    pub fn bind(vms: &[Vm], text: Text) -> Result<Fleet> {
        let arrivals = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context("epoll")?;
        let mut guests = Vec::with_capacity(vms.len());
        for (number, vm) in vms.iter().enumerate() {
            let guest = Guest::bind(&vm.socket)?;
            let event = EpollEvent::new(EpollFlags::EPOLLIN, number as u64);
            arrivals.add(guest.listener(), event).context("epoll")?;
            guests.push(guest);
        }
        Ok(Fleet { guests, arrivals, text })
    }

    /// How many guests there are.
    pub fn len(&self) -> usize {
        self.guests.len()
    }

    /// What they print.
    pub fn text(&self) -> Text {
        self.text
    }

    /// Bytes that a guest's socket has taken.
    pub fn printed(&self, vm: usize) -> u64 {
        self.guests[vm].printed()
    }

    /// Bytes that all their sockets have taken.
    pub fn printed_by_all(&self) -> u64 {
        self.guests.iter().map(Guest::printed).sum()
    }

    /// Accepts those who connect, for at most `patience`.
    ///
    /// # Errors
    /// Those of accept(2).
    pub fn accept(&mut self, patience: Duration) -> Result<()> {
        let mut events = [EpollEvent::empty(); 64];
        let timeout = EpollTimeout::try_from(patience).unwrap_or(EpollTimeout::MAX);
        let count = self.arrivals.wait(&mut events, timeout).unwrap_or(0);
        for event in &events[..count] {
            self.guests[event.data() as usize].accept()?;
        }
        Ok(())
    }

    /// Waits until every guest has a client, looking at whoever is to connect by `check`.
    ///
    /// # Errors
    /// Where that takes longer than `patience`, or `check` fails.
    pub fn wait_for_all(
        &mut self,
        patience: Duration,
        mut check: impl FnMut() -> Result<()>,
    ) -> Result<()> {
        let deadline = Instant::now() + patience;
        loop {
            let missing = self.guests.iter().filter(|guest| guest.client().is_none()).count();
            if missing == 0 {
                return Ok(());
            }
            if Instant::now() > deadline {
                let all = self.len();
                bail!("after {patience:?} {missing} of {all} VMs are not connected to");
            }
            check()?;
            // Many arrive before they are counted again.
            let until = Instant::now() + Duration::from_millis(10);
            while Instant::now() < until {
                self.accept(Duration::from_millis(1))?;
            }
        }
    }

    /// Has a guest print on until it has printed `goal` bytes, or its socket is full.
    ///
    /// # Errors
    /// Where its collector left.
    pub fn print(&mut self, vm: usize, goal: u64, timed: bool) -> Result<Printed> {
        let printed = self.guests[vm].print(vm, self.text, goal, timed);
        printed.with_context(|| format!("VM {vm}"))
    }

    /// Waits until one of these guests, whose sockets are full, may go on; at most a millisecond.
    pub fn wait_for_room(&self, vms: &[usize]) {
        let clients = vms.iter().take(LOOKED_AT).filter_map(|vm| self.guests[*vm].client());
        let mut sockets: Vec<_> =
            clients.map(|client| PollFd::new(client, PollFlags::POLLOUT)).collect();
        // An error is as good as a time-out: the next send tells.
        let _ = poll(&mut sockets, PollTimeout::from(1_u8));
    }
}
