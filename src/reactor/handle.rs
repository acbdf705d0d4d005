//! Reaching a loop that runs in another thread.
//!
//! Owns the mailbox: requests wait in it until the loop's next turn.
//! **Invariant:** a request that was taken is answered; the loop never waits for a handle.

use super::error::{AdoptError, Gone};
use super::report::{Stats, VmId, VmStatus};
use super::{Env, Reactor};
use crate::config::VmSpec;
use crate::env::{Moment, Wake};
use crate::vm::launch::LaunchSpec;
use std::sync::mpsc::{self, Receiver, Sender};

pub(super) enum Request {
    Adopt(Box<VmSpec>, Sender<Result<VmId, AdoptError>>),
    Launch(Box<LaunchSpec>, Sender<Result<VmId, AdoptError>>),
    Find(String, Sender<Option<VmId>>),
    Release(VmId, Sender<bool>),
    Rotate(VmId, Sender<bool>),
    Status(VmId, Sender<Option<VmStatus>>),
    Stats(Sender<Stats>),
    Stop,
}

/// A way to a running loop from any thread. Its calls wait for the loop's next turn, so the
/// thread that runs the loop must use the [`Reactor`] itself.
pub struct Handle<W> {
    requests: Sender<Request>,
    waker: W,
}

impl<W: Clone> Clone for Handle<W> {
    fn clone(&self) -> Self {
        Handle { requests: self.requests.clone(), waker: self.waker.clone() }
    }
}

impl<W: Wake> Handle<W> {
    /// As [`Reactor::adopt`].
    ///
    /// # Errors
    /// [`Gone`] if the loop has ended; the inner error as [`Reactor::adopt`].
    pub fn adopt(&self, spec: VmSpec) -> Result<Result<VmId, AdoptError>, Gone> {
        self.request(|reply| Request::Adopt(Box::new(spec), reply))
    }

    /// As [`Reactor::launch`].
    ///
    /// # Errors
    /// [`Gone`] if the loop has ended; the inner error as [`Reactor::launch`].
    pub fn launch(&self, spec: LaunchSpec) -> Result<Result<VmId, AdoptError>, Gone> {
        self.request(|reply| Request::Launch(Box::new(spec), reply))
    }

    /// The VM of this name.
    ///
    /// # Errors
    /// [`Gone`] if the loop has ended.
    pub fn find(&self, id: &str) -> Result<Option<VmId>, Gone> {
        self.request(|reply| Request::Find(id.to_owned(), reply))
    }

    /// As [`Reactor::release`].
    ///
    /// # Errors
    /// [`Gone`] if the loop has ended.
    pub fn release(&self, vm: VmId) -> Result<bool, Gone> {
        self.request(|reply| Request::Release(vm, reply))
    }

    /// As [`Reactor::rotate`].
    ///
    /// # Errors
    /// [`Gone`] if the loop has ended.
    pub fn rotate(&self, vm: VmId) -> Result<bool, Gone> {
        self.request(|reply| Request::Rotate(vm, reply))
    }

    /// As [`Reactor::status`].
    ///
    /// # Errors
    /// [`Gone`] if the loop has ended.
    pub fn status(&self, vm: VmId) -> Result<Option<VmStatus>, Gone> {
        self.request(|reply| Request::Status(vm, reply))
    }

    /// As [`Reactor::stats`].
    ///
    /// # Errors
    /// [`Gone`] if the loop has ended.
    pub fn stats(&self) -> Result<Stats, Gone> {
        self.request(Request::Stats)
    }

    /// As [`Reactor::stop`]; returns at once.
    ///
    /// # Errors
    /// [`Gone`] if the loop has ended.
    pub fn stop(&self) -> Result<(), Gone> {
        self.requests.send(Request::Stop).map_err(|_| Gone)?;
        self.waker.wake().map_err(|_| Gone)
    }

    fn request<T>(&self, request: impl FnOnce(Sender<T>) -> Request) -> Result<T, Gone> {
        let (reply, answer) = mpsc::channel();
        self.requests.send(request(reply)).map_err(|_| Gone)?;
        self.waker.wake().map_err(|_| Gone)?;
        answer.recv().map_err(|_| Gone)
    }
}

pub(super) struct Mailbox {
    sender: Sender<Request>,
    /// `None` once the loop has ended: whoever asks is then told so, and whoever waits too.
    requests: Option<Receiver<Request>>,
    /// A turn has left some of them to the next.
    pub(super) has_left: bool,
}

impl Mailbox {
    pub(super) fn new() -> Self {
        let (sender, requests) = mpsc::channel();
        Mailbox { sender, requests: Some(requests), has_left: false }
    }

    /// No request is taken any more.
    pub(super) fn close(&mut self) {
        self.requests = None;
    }

    fn take(&self) -> Option<Request> {
        self.requests.as_ref()?.try_recv().ok()
    }
}

impl<E: Env> Reactor<E> {
    /// A way to this loop from other threads.
    pub fn handle(&self) -> Handle<E::Waker> {
        Handle { requests: self.mailbox.sender.clone(), waker: self.env.waker() }
    }

    /// Serves the requests that have come. An answer that nobody waits for any more is dropped.
    pub(super) fn serve_requests(&mut self, now: Moment) {
        self.mailbox.has_left = false;
        let mut pace = self.pace(now);
        while let Some(request) = self.mailbox.take() {
            match request {
                Request::Adopt(spec, reply) => drop(reply.send(self.adopt(*spec))),
                Request::Launch(spec, reply) => drop(reply.send(self.launch(*spec))),
                Request::Find(id, reply) => drop(reply.send(self.find(&id))),
                Request::Release(vm, reply) => drop(reply.send(self.release(vm))),
                Request::Rotate(vm, reply) => drop(reply.send(self.rotate(vm))),
                Request::Status(vm, reply) => drop(reply.send(self.status(vm))),
                Request::Stats(reply) => drop(reply.send(*self.stats())),
                Request::Stop => self.stop(),
            }
            if pace.is_over(&self.env) {
                self.mailbox.has_left = true;
                return;
            }
        }
    }
}
