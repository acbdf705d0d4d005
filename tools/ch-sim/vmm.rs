//! One VM's life, as CH's VMM thread leads it: created, running, paused, gone, made again.
//!
//! It owns the configuration, the serial device, the guest and the ledger. The rules it imitates
//! are mostly about the serial path: bound in `vm.create` and `vm.restore`, not in `vm.boot`; an
//! existing path is an error and never unlinked, yet the configuration is kept; a VM that booted
//! removes its path at its end, one that never did leaves it, with a listener nobody serves.
//!
//! **Invariant:** a machine (a VM that booted) has a serial device and a boot in the ledger.

use std::fs;
use std::io;
use std::time::{Duration, Instant};

use mio::Registry;
use mio::net::UnixListener;
use serde_json::{Value, json};

use super::config::{Config, Mode};
use super::console;
use super::guest::{End, Guest, Next, Stage};
use super::ledger::{Boot, Ledger};
use super::line::{Line, LineTokens};
use super::listener::Bound;
use super::refusal::{Refusal, refuse};
use super::release::Release;
use super::serial::{Serial, Sink};
use super::threads::Threads;

mod transfer;

/// From the path's removal at a reboot to its new binding.
const UNLINKED: Duration = Duration::from_micros(500);
/// From there to listen().
const REFUSING: Duration = Duration::from_micros(300);

/// How a VMM behaves.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// Which release it is.
    pub release: Release,
    /// What a byte costs the guest.
    pub byte_cost: Duration,
    /// Whether it stays when the guest powers off.
    pub no_shutdown: bool,
    /// Whether each boot waits for its first client.
    pub await_client: bool,
    /// Whether it has threads of the names that CH's have.
    pub named_threads: bool,
}

/// A VM that booted.
struct Machine {
    guest: Guest,
    paused_at: Option<Instant>,
    next: Next,
}

/// Where a reboot stands.
enum Rebinding {
    Unlinked(Instant),
    Refusing(Instant, Bound),
}

/// One VMM's only VM.
pub struct Vmm {
    manner: Manner,
    tokens: LineTokens,
    config: Option<Config>,
    serial: Option<Serial>,
    machine: Option<Machine>,
    /// A boot failed for its kernel, after which v53 thinks that the VM is there.
    kernel_failed: bool,
    rebinding: Option<Rebinding>,
    /// The listener of a VM that never booted: open, unserved, until the next one is bound.
    leftover: Option<UnixListener>,
    /// What became of each byte.
    pub ledger: Ledger,
    boots: u32,
    threads: Threads,
    /// When a boot's end took its client the stream.
    client_ended: Option<Instant>,
}

type Done = Result<(), Refusal>;

impl Vmm {
    /// A VMM without a VM.
    pub fn new(manner: Manner, tokens: LineTokens) -> Self {
        Self {
            manner,
            tokens,
            config: None,
            serial: None,
            machine: None,
            kernel_failed: false,
            rebinding: None,
            leftover: None,
            ledger: Ledger::new(manner.release),
            boots: 0,
            threads: Threads::default(),
            client_ended: None,
        }
    }

    /// `vm.create`.
    pub fn create(&mut self, registry: &Registry, config: Config) -> Done {
        const FAILED: &str = "The VM could not be created";
        if self.config.is_some() {
            return Err(refuse(500, &[FAILED, "VM is already created"]));
        }
        // Kept even if the console then fails.
        self.config = Some(config);
        self.open_console(registry, FAILED)
    }

    /// `vm.boot`.
    pub fn boot(&mut self, registry: &Registry, now: Instant) -> Done {
        const FAILED: &str = "The VM could not boot";
        let Some(config) = self.config.clone() else {
            return Err(refuse(self.absent(), &[FAILED, "VM config is missing"]));
        };
        if self.kernel_failed && !self.manner.release.has_ring() {
            // v52 answers, and its VMM thread dies.
            return Err(Refusal { status: 204, words: Vec::new(), panics: true });
        }
        if self.machine.is_some() || self.kernel_failed {
            return Err(refuse(500, &[FAILED, "VM is already created"]));
        }
        let Some(boot_item) = config.boot_item() else {
            let why = "Payload configuration is not bootable";
            let what = "No bootitem provided: neither firmware nor kernel";
            return Err(refuse(500, &[FAILED, "Failed to validate config", why, what]));
        };
        if self.serial.is_none() {
            self.open_console(registry, FAILED)?;
        }
        if let Err(error) = fs::metadata(boot_item) {
            self.kernel_failed = true;
            let error = error.to_string();
            return Err(refuse(500, &[FAILED, "Cannot open kernel file", &error]));
        }
        for disk in config.disks() {
            if let Err(error) = fs::metadata(disk) {
                self.abandon_clients(registry, now);
                let what = format!("I/O error (path={} op=open)", disk.display());
                let (manager, open) = ("Error from device manager", "Cannot open disk path");
                let error = error.to_string();
                return Err(refuse(500, &[FAILED, manager, open, &what, &error]));
            }
        }
        let boot = Boot::new(config.cmdline(), 0, Vec::new());
        self.start(boot, Stage::Printing, now);
        Ok(())
    }

    /// `vm.pause`.
    pub fn pause(&mut self, now: Instant) -> Done {
        const FAILED: &str = "The VM could not be paused";
        let Some(machine) = &mut self.machine else {
            return Err(refuse(500, &[FAILED, "VM is not running"]));
        };
        if machine.paused_at.is_some() {
            let part = "Failed to pause migratable component";
            let what = "Invalid transition: InvalidStateTransition(Paused, Paused)";
            return Err(refuse(500, &[FAILED, "Cannot pause VM", part, what]));
        }
        machine.paused_at = Some(now);
        Ok(())
    }

    /// `vm.resume`.
    pub fn resume(&mut self, now: Instant) -> Done {
        const FAILED: &str = "The VM could not resume";
        let Some(machine) = &mut self.machine else {
            return Err(refuse(500, &[FAILED, "VM is not running"]));
        };
        let Some(paused_at) = machine.paused_at.take() else {
            let part = "Failed to resume migratable component";
            let what = "Invalid transition: InvalidStateTransition(Running, Running)";
            return Err(refuse(500, &[FAILED, "Cannot resume VM", part, what]));
        };
        machine.guest.resume(paused_at, now);
        machine.next = Next::Now;
        Ok(())
    }

    /// `vm.reboot`: ends the boot and begins the next, which `advance` finishes.
    pub fn reboot(&mut self, why: &str, now: Instant) -> Done {
        if self.machine.is_none() {
            return Err(refuse(404, &["The VM could not reboot", "VM is not created"]));
        }
        self.end_machine(why);
        self.rebinding = Some(Rebinding::Unlinked(now + UNLINKED));
        Ok(())
    }

    /// `vm.shutdown`.
    pub fn shutdown(&mut self) -> Done {
        if self.machine.is_none() {
            return Err(refuse(500, &["The VM could not shutdown", "VM is not running"]));
        }
        self.end_machine("shutdown");
        Ok(())
    }

    /// `vm.delete`, which succeeds without a VM too.
    pub fn delete(&mut self, registry: &Registry, now: Instant) {
        if self.machine.is_some() {
            self.end_machine("delete");
        } else if self.kernel_failed {
            self.abandon_clients(registry, now);
            self.serial = None;
        } else if let Some(Serial { sink: Sink::Socket(line), .. }) = self.serial.take() {
            self.leftover = Some(line.into_listener(registry));
        }
        self.serial = None;
        self.config = None;
        self.kernel_failed = false;
    }

    /// `vm.info`.
    pub fn info(&self) -> Result<Value, Refusal> {
        let Some(config) = &self.config else {
            let words = ["The VM info is not available", "VM is not created"];
            return Err(refuse(self.absent(), &words));
        };
        Ok(json!({
            "config": config.json,
            "state": self.state(),
            "memory_actual_size": config.memory_bytes(),
        }))
    }

    /// `vm.counters` and other calls that a running VM answers with nothing.
    pub fn need_running(&self, failed: &str) -> Done {
        match self.machine {
            Some(_) => Ok(()),
            None => Err(refuse(500, &[failed, "VM is not running"])),
        }
    }

    /// The end of the VMM itself: a VM that never booted leaves its path.
    pub fn end(&mut self, why: &str) {
        if self.machine.is_some() {
            self.end_machine(why);
        }
    }

    /// Lets go of every socket, as the end of the process does.
    pub fn close(&mut self) {
        self.machine = None;
        self.serial = None;
        self.leftover = None;
        self.rebinding = None;
    }

    /// Created, Running or Paused.
    pub fn state(&self) -> &'static str {
        match &self.machine {
            None => "Created",
            Some(machine) if machine.paused_at.is_some() => "Paused",
            Some(_) => "Running",
        }
    }

    /// Whether a reboot is under way.
    pub fn is_rebooting(&self) -> bool {
        self.rebinding.is_some()
    }

    /// Whether more input was queued than CH survives.
    pub fn is_overrun(&self) -> bool {
        self.serial.as_ref().is_some_and(|serial| serial.overrun)
    }

    /// Whether the vCPU stands in send() (v52).
    pub fn is_blocked(&self) -> bool {
        self.serial.as_ref().is_some_and(Serial::is_blocked)
    }

    /// Until when the serial thread sleeps; who would end the VM waits for it.
    pub fn asleep_until(&mut self, now: Instant) -> Option<Instant> {
        self.machine.as_ref()?;
        self.line()?.asleep_until(now)
    }

    /// The serial socket.
    pub fn line(&mut self) -> Option<&mut Line> {
        self.serial.as_mut()?.line()
    }

    /// The client's socket has room, or it left.
    pub fn on_room(&mut self, registry: &Registry) {
        if let Some(serial) = &mut self.serial {
            serial.unblock(registry);
        }
    }

    /// Finishes a reboot, step by step.
    ///
    /// # Errors
    /// The path could not be bound anew.
    pub fn advance(&mut self, registry: &Registry, now: Instant) -> io::Result<()> {
        let console = match &self.config {
            Some(config) => config.serial(),
            None => return Ok(()),
        };
        match self.rebinding.take() {
            Some(Rebinding::Unlinked(at)) if at <= now => match (console.mode, console.socket) {
                (Mode::Socket, Some(path)) => {
                    let bound = Bound::bind(&path)?;
                    self.rebinding = Some(Rebinding::Refusing(now + REFUSING, bound));
                }
                _ => {
                    let file = console.file.filter(|_| console.mode == Mode::File);
                    let release = self.manner.release;
                    self.serial = Some(console::plain(release, file.as_deref())?);
                    self.start_anew(now);
                }
            },
            Some(Rebinding::Refusing(at, bound)) if at <= now => {
                let (listener, path) = bound.listen()?;
                let line = Line::new(registry, listener, path, self.tokens)?;
                self.serial = Some(Serial::new(self.manner.release, Sink::Socket(line)));
                self.start_anew(now);
            }
            waiting => self.rebinding = waiting,
        }
        Ok(())
    }

    /// Serves the serial clients and runs the guest for a turn; tells how the boot ended.
    pub fn run(&mut self, registry: &Registry, now: Instant) -> Option<End> {
        let (Some(machine), Some(serial)) = (&mut self.machine, &mut self.serial) else {
            return None;
        };
        let boot = self.ledger.boots.last_mut()?;
        serial.serve(registry, boot, now);
        if self.client_ended.is_some() && serial.line().is_some_and(|line| line.has_client()) {
            let gap = self.client_ended.take().map(|ended| ended.elapsed().as_micros() as u64);
            self.ledger.gaps_us.extend(gap);
        }
        if machine.paused_at.is_some() {
            return None;
        }
        machine.next = machine.guest.run(registry, serial, boot, now);
        match machine.next {
            Next::Ended(end) => Some(end),
            _ => None,
        }
    }

    /// Starts and ends the threads that CH would have now.
    pub fn set_threads(&mut self) {
        if self.manner.named_threads {
            let vcpu = self.machine.is_some();
            let serial = vcpu && self.line().is_some_and(|line| !line.is_dead());
            self.threads.set(vcpu, serial);
        }
    }

    /// When `run` or `advance` has something to do without an event.
    pub fn next_wake(&self, now: Instant) -> Option<Instant> {
        if let Some(Rebinding::Unlinked(at) | Rebinding::Refusing(at, _)) = &self.rebinding {
            return Some(*at);
        }
        let (machine, serial) = (self.machine.as_ref()?, self.serial.as_ref()?);
        let line = match &serial.sink {
            Sink::Socket(line) => line.next_wake(now),
            _ => None,
        };
        let flush = serial.is_flushing().then_some(now);
        let guest = match machine.next {
            _ if machine.paused_at.is_some() => None,
            Next::Now => Some(now),
            Next::At(at) => Some(at),
            Next::Event | Next::Ended(_) => None,
        };
        [line, flush, guest].into_iter().flatten().min()
    }

    fn absent(&self) -> u16 {
        if self.manner.release.says_not_found() { 404 } else { 500 }
    }

    fn start_anew(&mut self, now: Instant) {
        let cmdline = self.config.as_ref().map(Config::cmdline).unwrap_or_default();
        let boot = Boot::new(cmdline, 0, Vec::new());
        self.start(boot, Stage::Printing, now);
    }

    fn start(&mut self, boot: Boot, stage: Stage, now: Instant) {
        self.boots += 1;
        let mut guest = Guest::new(&boot, self.manner.byte_cost, stage, now);
        guest.number(self.boots);
        if self.manner.await_client {
            guest.await_client();
        }
        self.ledger.boots.push(boot);
        if let Some(line) = self.line() {
            line.start();
        }
        self.machine = Some(Machine { guest, paused_at: None, next: Next::Now });
    }

    /// Ends a boot: the path goes first, then the client sees EOF; the ring dies.
    fn end_machine(&mut self, why: &str) {
        self.machine = None;
        let Some(mut serial) = self.serial.take() else {
            return;
        };
        if let Some(line) = serial.line() {
            line.remove_path();
            self.client_ended = line.has_client().then(Instant::now);
        }
        if let Some(boot) = self.ledger.boots.last_mut() {
            serial.end(boot, why);
        }
    }

    /// A boot failed with the serial device in place: the path goes, who connected gets EOF, the
    /// listener stays, and the next boot takes it as it is, unreachable.
    fn abandon_clients(&mut self, registry: &Registry, now: Instant) {
        if let Some(line) = self.line() {
            line.abandon(registry, now);
        }
    }

    fn open_console(&mut self, registry: &Registry, failed: &str) -> Done {
        let Some(config) = &self.config else {
            return Ok(());
        };
        let release = self.manner.release;
        self.serial = Some(console::open(registry, config, release, self.tokens, failed)?);
        // Who waited at the forgotten listener gets ECONNRESET.
        self.leftover = None;
        Ok(())
    }
}
