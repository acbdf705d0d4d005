//! The TCP address on which counters are asked for.
//!
//! Owns what is told there, and who waits there to be let in.
//! **Invariant:** whoever reaches it may do nothing but [`Role::Scrape`]; he shares the clients'
//! table, not their number: of the two kinds neither can keep the other out. Works without a
//! control socket.

use super::ControlError;
use super::admission::Door;
use super::client::Client;
use crate::control::access::Role;
use crate::control::metrics_spec::MetricsSpec;
use crate::env::Env;
use crate::handover::state::ScrapingState;
use crate::limits;
use crate::reactor::Reactor;
use crate::reactor::key::Key;
use std::net::SocketAddr;

/// What the loop has of it.
#[derive(Default)]
pub(in crate::reactor) struct Scraping {
    /// What is told, and the address that was asked for.
    spec: MetricsSpec,
    /// The address that there is.
    address: Option<SocketAddr>,
    pub(super) door: Door,
    /// The configuration that was read last was not taken, or not all of it.
    reload_failed: bool,
}

impl Scraping {
    /// Most descriptors that it takes: one a client, one for a client too many, and the socket.
    pub(in crate::reactor) fn descriptors(&self) -> u64 {
        self.address.map_or(0, |_| limits::METRICS_CLIENTS_MAX as u64 + 2)
    }

    /// Whether counters of each VM are told.
    pub(super) fn per_vm(&self) -> bool {
        self.spec.per_vm
    }

    /// See [`Reactor::note_reload`].
    pub(super) fn reload_failed(&self) -> bool {
        self.reload_failed
    }
}

impl<E: Env> Reactor<E> {
    /// Says what is told to whoever scrapes our counters, and serves it on a TCP address, in place
    /// of the one before if that is another. Without this call there is none, and no counter of
    /// a VM alone is told.
    ///
    /// # Errors
    /// [`ControlError::Listen`]; the address that was served before is served on, unless it had the
    /// same port.
    pub fn serve_metrics(&mut self, spec: MetricsSpec) -> Result<(), ControlError> {
        let before = self.scraping.spec;
        self.scraping.spec.per_vm = spec.per_vm;
        let Some(address) = spec.listen else {
            self.stop_metrics();
            return Ok(());
        };
        if before.listen == spec.listen && self.scraping.address.is_some() {
            return Ok(());
        }
        if before.listen.is_some_and(|old| old.port() == address.port() && old.port() != 0) {
            // Of two addresses that overlap the second can't be bound beside the first.
            self.stop_metrics();
        }
        let fail = |cause| ControlError::Listen { address, cause };
        let bound = self.env.listen_tcp(address).map_err(fail)?;
        self.drop_scrapers();
        self.scraping.spec = spec;
        self.scraping.address = Some(bound);
        self.scraping.door.knocked = true;
        ::log::info!("metrics: http://{bound}/metrics");
        Ok(())
    }

    /// Ends it: whoever is connected by TCP is closed.
    pub fn stop_metrics(&mut self) {
        if self.scraping.address.take().is_some() {
            self.env.stop_listening_tcp();
        }
        self.scraping.spec.listen = None;
        self.scraping.door = Door::default();
        self.drop_scrapers();
    }

    /// The address at which counters are told; the port is the one that was got.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.scraping.address
    }

    /// Notes whether the configuration that was read last was taken, for whoever watches over that.
    pub fn note_reload(&mut self, taken: bool) {
        self.scraping.reload_failed = !taken;
    }

    fn drop_scrapers(&mut self) {
        let keys: Vec<Key> = self.scrapers().map(|(key, _)| key).collect();
        for key in keys {
            self.control.remove(key);
        }
    }

    fn scrapers(&self) -> impl Iterator<Item = (Key, &Client<E::Stream>)> {
        self.control.clients.iter().filter(|(_, client)| client.role() == Role::Scrape)
    }

    /// How many clients there are: at the control socket, and by TCP.
    pub(super) fn count_clients(&self) -> (usize, usize) {
        let scrapers = self.scrapers().count();
        (self.control.clients.len() - scrapers, scrapers)
    }

    /// Somebody wants to be let in by TCP.
    pub(in crate::reactor) fn mark_scraping(&mut self) {
        self.scraping.door.knocked = self.scraping.address.is_some();
    }

    /// What a successor in this process needs of the socket. Clients are not handed over.
    pub(in crate::reactor) fn save_scraping(&self) -> Option<ScrapingState> {
        let asked_for = self.scraping.spec.listen.filter(|_| self.scraping.address.is_some())?;
        let descriptor = self.env.tcp_listener_number()?;
        Some(ScrapingState { descriptor, asked_for, per_vm: self.scraping.spec.per_vm })
    }

    /// Takes a predecessor's socket over, with whoever waits on it.
    pub(in crate::reactor) fn take_scraping_over(&mut self, saved: Option<ScrapingState>) {
        let Some(ScrapingState { descriptor, asked_for, per_vm }) = saved else { return };
        match self.env.take_tcp_listener(descriptor) {
            Ok(address) => {
                self.scraping.spec = MetricsSpec { per_vm, listen: Some(asked_for) };
                self.scraping.address = Some(address);
                self.scraping.door.knocked = true;
            }
            Err(error) => ::log::warn!("metrics: {asked_for} was not taken over: {error}"),
        }
    }
}
