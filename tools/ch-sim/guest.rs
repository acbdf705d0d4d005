//! The guest: a script in execution.
//!
//! It owns the guest's clock, so that a guest prints at a rate without a timer for each byte: the
//! clock moves on by what each byte and each pause costs, and the guest runs while it is behind.
//!
//! **Invariant:** it prints through `Serial` alone, one byte a call, and never more than its
//! budget in one turn.

use std::time::{Duration, Instant};

use mio::Registry;

use super::ledger::Boot;
use super::script::Script;
use super::serial::{Printed, Serial};

/// Bytes that a guest prints before others have their turn.
const BYTES_PER_TURN: u32 = 128;
/// A guest that could not run for longer than this has lost the time, as a real one has.
const LAG_MAX: Duration = Duration::from_millis(20);

/// What the guest is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Printing its lines.
    Printing,
    /// Echoing its input till `q`.
    Echoing,
    /// In the pause before its end.
    Ending,
}

/// How a guest ends a boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It powers off.
    PowerOff,
    /// It resets.
    Reset,
}

/// When the guest has something to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// In the next turn.
    Now,
    /// Then.
    At(Instant),
    /// When a client comes, sends, or makes room.
    Event,
    /// Never: the boot is over.
    Ended(End),
}

/// A guest.
pub struct Guest {
    script: Script,
    byte_cost: Duration,
    clock: Instant,
    stage: Stage,
    /// It waits for its first client.
    awaits_client: bool,
    /// A byte of input that is not echoed yet.
    held: Option<u8>,
    last_boot: bool,
}

impl Guest {
    /// A guest at the position of `boot`.
    pub fn new(boot: &Boot, byte_cost: Duration, stage: Stage, now: Instant) -> Self {
        Self {
            script: Script::parse(&boot.cmdline),
            byte_cost,
            clock: now,
            stage,
            awaits_client: false,
            held: None,
            last_boot: false,
        }
    }

    /// Makes it wait for its first client before it prints.
    pub fn await_client(&mut self) {
        self.awaits_client = true;
    }

    /// Tells it the number of this boot: with `boots=N` it powers off at the end of the Nth.
    pub fn number(&mut self, boot: u32) {
        self.last_boot = self.script.boots != 0 && boot >= self.script.boots;
    }

    /// What it is at, for a snapshot.
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// Input that it took and has not echoed, for a snapshot.
    pub fn held(&self) -> Option<u8> {
        self.held
    }

    /// Runs on after a pause, which took no time of the guest's.
    pub fn resume(&mut self, paused_at: Instant, now: Instant) {
        self.clock += now.saturating_duration_since(paused_at);
    }

    /// Runs for a turn.
    pub fn run(
        &mut self,
        registry: &Registry,
        serial: &mut Serial,
        boot: &mut Boot,
        now: Instant,
    ) -> Next {
        if self.awaits_client {
            if !serial.has_taker() {
                return Next::Event;
            }
            self.awaits_client = false;
            self.clock = now;
        }
        if let Some(earliest) = now.checked_sub(LAG_MAX) {
            self.clock = self.clock.max(earliest);
        }
        for _ in 0..BYTES_PER_TURN {
            // The vCPU is still busy with a flush, or stands in send().
            if serial.is_flushing() {
                return Next::Now;
            }
            if serial.is_blocked() {
                return Next::Event;
            }
            if self.clock > now {
                return Next::At(self.clock);
            }
            if let Some(next) = self.step(registry, serial, boot, now) {
                return next;
            }
        }
        Next::Now
    }

    /// One byte, or one change of stage. `Some`: the turn is over.
    fn step(
        &mut self,
        registry: &Registry,
        serial: &mut Serial,
        boot: &mut Boot,
        now: Instant,
    ) -> Option<Next> {
        match self.stage {
            Stage::Printing => {
                let offset = boot.position();
                if self.script.scripted_len() == Some(offset) {
                    self.stage = match self.script.echo {
                        true => Stage::Echoing,
                        false => self.ending(),
                    };
                    return None;
                }
                if serial.print(registry, boot, now) == Printed::Blocked {
                    return Some(Next::Event);
                }
                self.clock += self.byte_cost;
                if self.script.ends_a_line(offset) {
                    self.clock += self.script.delay;
                }
                None
            }
            Stage::Echoing => {
                let Some(byte) = self.held.take().or_else(|| serial.take_input()) else {
                    return Some(Next::Event);
                };
                boot.echo.push(byte);
                if serial.print(registry, boot, now) == Printed::Blocked {
                    boot.echo.pop();
                    self.held = Some(byte);
                    return Some(Next::Event);
                }
                // Idle till now, so it owes nothing for the time before.
                self.clock = self.clock.max(now) + self.byte_cost;
                if byte == b'q' {
                    self.stage = self.ending();
                }
                None
            }
            Stage::Ending => Some(Next::Ended(match self.script.reboot && !self.last_boot {
                true => End::Reset,
                false => End::PowerOff,
            })),
        }
    }

    fn ending(&mut self) -> Stage {
        self.clock += self.script.wait;
        Stage::Ending
    }
}
