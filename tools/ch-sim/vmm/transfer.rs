//! `vm.snapshot` and `vm.restore`.
//!
//! **Invariant:** a restore that fails keeps no configuration, but may leave a path.

use std::time::Instant;

use mio::Registry;

use super::super::ledger::Boot;
use super::super::refusal::refuse;
use super::super::snapshot::{self, Snapshot};
use super::{Done, Vmm};

impl Vmm {
    /// `vm.snapshot`.
    pub fn snapshot(&self, url: &str) -> Done {
        const FAILED: &str = "The VM could not be snapshotted";
        let (Some(machine), Some(config), Some(serial), Some(boot)) = (
            &self.machine,
            &self.config,
            &self.serial,
            self.ledger.boots.last(),
        ) else {
            return Err(refuse(500, &[FAILED, "VM is not running"]));
        };
        if machine.paused_at.is_none() {
            let part = "Failed to snapshot migratable component";
            let why = "Trying to snapshot while VM is running";
            return Err(refuse(500, &[FAILED, "Cannot snapshot VM", part, why]));
        }
        let snapshot = Snapshot {
            config: config.clone(),
            offset: boot.position(),
            stage: machine.guest.stage(),
            echo: boot.echo.clone(),
            input: machine
                .guest
                .held()
                .into_iter()
                .chain(serial.unread_input())
                .collect(),
        };
        snapshot.write(url).map_err(|why| {
            let part = "Failed to send migratable component snapshot";
            let mut words = vec![FAILED, "Cannot send VM snapshot", part];
            words.extend(why.iter().map(String::as_str));
            refuse(500, &words)
        })
    }

    /// `vm.restore`.
    pub fn restore(&mut self, registry: &Registry, url: &str, run: bool, now: Instant) -> Done {
        const FAILED: &str = "The VM could not be restored";
        if self.config.is_some() {
            return Err(refuse(500, &[FAILED, "VM is already created"]));
        }
        let failed = |why: Vec<String>| {
            let part = "Failed to send migratable component snapshot";
            let mut words = vec![FAILED, "Cannot restore VM", part];
            words.extend(why.iter().map(String::as_str));
            refuse(500, &words)
        };
        let snapshot = Snapshot::read(url, self.manner.release).map_err(failed)?;
        self.config = Some(snapshot.config.clone());
        if let Err(refusal) = self.open_console(registry, FAILED) {
            self.config = None;
            return Err(refusal);
        }
        if let Err(why) = snapshot::check_memory(url) {
            // The path stays, and so does its listener, which nobody serves.
            self.delete(registry, now);
            return Err(failed(why));
        }
        let boot = Boot::new(snapshot.config.cmdline(), snapshot.offset, snapshot.echo);
        if let Some(serial) = &mut self.serial {
            serial.restore_input(&snapshot.input);
        }
        self.start(boot, snapshot.stage, now);
        match run {
            true => Ok(()),
            false => self.pause(now),
        }
    }
}
