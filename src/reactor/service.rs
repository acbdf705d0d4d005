//! The service manager: what it is told, and in which order.
//!
//! Owns what could not be sent yet, and when it is told that we are alive.
//! **Invariant:** a send never blocks, and no message overtakes another. A manager that is gone is
//! given up with one warning; the loop goes on.

use super::{Error, Reactor};
use crate::env::{Descriptor, Env, Moment};
use crate::handover::notify::Message;
use crate::limits;
use crate::vm::State;
use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io;
use std::time::Duration;

#[derive(Default)]
pub(super) struct Service {
    queue: VecDeque<Message>,
    /// The time between two signs of life, where it asks for them.
    watchdog: Option<Duration>,
    alive_due: Option<Moment>,
    /// The last status, and the moment before which there is no other.
    status: String,
    status_from: Moment,
    status_stale: bool,
    /// When to try again what could not be sent: without memory for it there was room all the
    /// while, and the socket will not say so.
    again_at: Option<Moment>,
}

impl<E: Env> Reactor<E> {
    /// Connects to the service manager at `address` (NOTIFY_SOCKET: a path, or `@` and an abstract
    /// name). `watchdog`: how often it wants a sign of life, half of its WATCHDOG_USEC.
    ///
    /// # Errors
    /// Nobody is there.
    pub fn connect_service(
        &mut self,
        address: &OsStr,
        watchdog: Option<Duration>,
    ) -> Result<(), Error> {
        let opened = self.env.open_notify(address);
        opened.map_err(|cause| Error { what: "connect to the service manager", cause })?;
        self.serve(watchdog);
        Ok(())
    }

    /// From now on the service manager, to whom the environment is connected, is told how we are:
    /// the number of VMs when it changes, at most once a second. `watchdog`: how often it wants a
    /// sign of life.
    pub(super) fn serve(&mut self, watchdog: Option<Duration>) {
        // At once: a predecessor in this process may have said so a while ago.
        let alive_due = watchdog.map(|_| self.env.now());
        self.service = Some(Service { watchdog, alive_due, ..Service::default() });
    }

    /// Tells the service manager, if there is one, that the configuration is read anew.
    /// [`Reactor::ready`] ends that.
    pub fn reloading(&mut self) {
        let now = self.env.origin() + self.env.now();
        let micros = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
        self.tell_service(Message::Reloading(micros));
    }

    /// Tells the service manager, if there is one, that all VMs that are wanted are in charge.
    pub fn ready(&mut self) {
        self.tell_service(Message::Ready);
        self.status_changed();
    }

    /// Whether a service manager is told.
    pub fn is_served(&self) -> bool {
        self.service.is_some()
    }

    pub(super) fn tell_service(&mut self, message: Message) {
        let Some(service) = &mut self.service else { return };
        if matches!(message, Message::Status(_)) {
            // One that waits yet is out of date: a manager that does not read makes no heap of
            // them.
            service.queue.retain(|waiting| !matches!(waiting, Message::Status(_)));
        }
        service.queue.push_back(message);
        self.flush_service();
    }

    /// Sends what waits, as far as there is room; its socket says when there is more, the timer
    /// when it doesn't.
    pub(super) fn flush_service(&mut self) {
        let Some(service) = &mut self.service else { return };
        while let Some(message) = service.queue.front() {
            match self.env.notify(message.to_string().as_bytes(), None) {
                Ok(()) => drop(service.queue.pop_front()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    service.again_at = Some(self.env.now() + limits::SHORTAGE_PAUSE);
                    return;
                }
                Err(error) => return self.give_service_up(&error),
            }
        }
        service.again_at = None;
    }

    /// Whether something waits to be sent that a successor would not say again.
    pub(super) fn owes_service(&self) -> bool {
        let again = |message: &Message| matches!(message, Message::Status(_) | Message::Watchdog);
        self.service.as_ref().is_some_and(|service| !service.queue.iter().all(again))
    }

    /// Sends what still waits, for [`limits::LEAVE_DEADLINE`] at most: the last thing before the
    /// process ends.
    pub fn take_leave(&mut self) {
        let deadline = self.env.now() + limits::LEAVE_DEADLINE;
        self.flush_service();
        while self.service.as_ref().is_some_and(|service| !service.queue.is_empty()) {
            let left = deadline.saturating_sub(self.env.now());
            if left.is_zero() || self.env.wait(Some(left), &mut Vec::new()).is_err() {
                return;
            }
            self.flush_service();
        }
    }

    fn give_service_up(&mut self, error: &io::Error) {
        ::log::warn!("the service manager is gone, a crash can cost consoles from now on: {error}");
        self.service = None;
    }

    /// Whether there is a service manager that was sent all there was to be told.
    pub(super) fn is_service_told(&self) -> bool {
        self.service.as_ref().is_some_and(|service| service.queue.is_empty())
    }

    /// Hands a descriptor over to be kept. `false`: there is no room now, or nobody to keep it.
    pub(super) fn hand_to_service(&mut self, name: String, number: Descriptor) -> bool {
        // An earlier message may be the removal of the very name.
        if !self.is_service_told() {
            return false;
        }
        match self.env.notify(Message::Store(name).to_string().as_bytes(), Some(number)) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
            Err(error) => {
                self.give_service_up(&error);
                false
            }
        }
    }

    /// Something that the status says may have changed.
    pub(super) fn status_changed(&mut self) {
        if let Some(service) = &mut self.service {
            service.status_stale = true;
        }
    }

    /// When the service manager is to be told something.
    pub(super) fn service_deadline(&self) -> Option<Moment> {
        let service = self.service.as_ref()?;
        let status = service.status_stale.then_some(service.status_from);
        [status, service.alive_due, service.again_at].into_iter().flatten().min()
    }

    /// Tells it what is due.
    pub(super) fn serve_due(&mut self, now: Moment) {
        if self.service.as_ref().is_some_and(|s| s.again_at.is_some_and(|at| at <= now)) {
            self.flush_service();
        }
        let Some(service) = &mut self.service else { return };
        if let Some(every) = service.watchdog
            && service.alive_due.is_some_and(|due| due <= now)
        {
            service.alive_due = Some(now + every);
            // One that waits yet says the same.
            if !service.queue.contains(&Message::Watchdog) {
                self.tell_service(Message::Watchdog);
            }
        }
        let Some(service) = &mut self.service else { return };
        if service.status_stale && service.status_from <= now {
            service.status_stale = false;
            service.status_from = now + limits::STATUS_INTERVAL;
            let streaming = self
                .table
                .iter()
                .filter(|(_, slot)| matches!(slot.vm.state(), State::Streaming { .. }));
            let status = format!("{} VMs, {} streaming", self.table.len(), streaming.count());
            if status != service.status {
                service.status.clone_from(&status);
                self.tell_service(Message::Status(status));
            }
        }
    }
}
