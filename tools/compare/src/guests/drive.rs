//! What the guests do during a run: print as fast as they can, or at a pace, or one floods.
//!
//! Owns nothing.
//! **Invariant:** who is measured decides nothing: the order of the VMs and the bytes are the same
//! for every collector.

use super::fleet::Fleet;
use super::guest::Printed;
use super::text::LINE;
use crate::interrupt;
use crate::measure::clock;
use crate::measure::latency::{Line, Observer};
use anyhow::Result;
use std::thread;
use std::time::{Duration, Instant};

/// Turns over the guests between two looks for clients that connect anew.
const TURNS_PER_LOOK: u64 = 64;
/// What is shorter is not slept but spun through.
const NAP_MIN: Duration = Duration::from_micros(50);

/// The guests' side of a run.
#[derive(Clone, Copy, Debug)]
pub struct Sending {
    /// From the first send to the end of the last.
    pub took: Duration,
    /// What the sends have cost the guests: processor time of their thread.
    pub cpu: Duration,
}

/// A watch over the guests' own time.
struct Stopwatch {
    began: Instant,
    cpu: Duration,
}

impl Stopwatch {
    fn start() -> Stopwatch {
        Stopwatch { began: Instant::now(), cpu: clock::cpu_of_this_thread() }
    }

    fn stop(&self) -> Sending {
        let cpu = clock::cpu_of_this_thread().saturating_sub(self.cpu);
        Sending { took: self.began.elapsed(), cpu }
    }
}

/// Every guest prints so many bytes, as fast as its socket takes them: a unit each in turn, one
/// whose socket is full is passed over.
///
/// # Errors
/// Where a collector left, or the user interrupts.
pub fn flat_out(fleet: &mut Fleet, bytes_each: u64, observer: &Observer) -> Result<Sending> {
    let unit = fleet.text().unit() as u64;
    let mut goals = vec![unit.min(bytes_each); fleet.len()];
    let mut unfinished: Vec<usize> = (0..fleet.len()).collect();
    let watch = Stopwatch::start();
    for turn in 1_u64.. {
        let mut moved = false;
        let mut still = Vec::with_capacity(unfinished.len());
        for &vm in &unfinished {
            let before = fleet.printed(vm);
            let printed = fleet.print(vm, goals[vm], observer.is_free())?;
            moved |= fleet.printed(vm) > before;
            if let Printed::Done(sent) = printed {
                note(observer, vm, goals[vm], sent);
                goals[vm] = (goals[vm] + unit).min(bytes_each);
            }
            if fleet.printed(vm) < bytes_each {
                still.push(vm);
            }
        }
        unfinished = still;
        if unfinished.is_empty() {
            break;
        }
        if !moved {
            fleet.wait_for_room(&unfinished);
        }
        if turn % TURNS_PER_LOOK == 0 {
            fleet.accept(Duration::ZERO)?;
            interrupt::check()?;
        }
    }
    Ok(watch.stop())
}

/// A pace.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Lines of all guests together in a second; each guest in turn prints one.
    pub lines_per_s: u32,
    /// Time from one byte of a line to the next: what the guest and its exits take.
    pub per_byte: Duration,
    /// For how long.
    pub lasting: Duration,
    /// The first guest keeps no pace: it prints as fast as its socket takes it, and is not
    /// observed.
    pub flood: bool,
}

/// The guests print at a pace. One whose socket is full goes on when there is room; its next line
/// comes on top.
///
/// # Errors
/// Where a collector left, or the user interrupts.
pub fn paced(fleet: &mut Fleet, pace: Pace, observer: &Observer) -> Result<Sending> {
    clock::sharpen_naps();
    let quiet_from = usize::from(pace.flood && fleet.len() > 1);
    let lines = (f64::from(pace.lines_per_s) * pace.lasting.as_secs_f64()) as u64;
    let mut goals: Vec<u64> = (0..fleet.len()).map(|vm| fleet.printed(vm)).collect();
    let mut behind: Vec<usize> = Vec::new();
    let watch = Stopwatch::start();
    let due = |line: u64| {
        watch.began + Duration::from_secs_f64(line as f64 / f64::from(pace.lines_per_s))
    };
    for line in 0..lines {
        pass_time(fleet, due(line), pace.flood)?;
        let vm = quiet_from + line as usize % (fleet.len() - quiet_from);
        goals[vm] += LINE as u64;
        match print_line(fleet, vm, goals[vm], &pace, observer.is_free())? {
            Printed::Done(sent) => note(observer, vm, goals[vm], sent),
            Printed::Full if !behind.contains(&vm) => behind.push(vm),
            Printed::Full => {}
        }
        catch_up(fleet, &goals, &mut behind)?;
        if line % TURNS_PER_LOOK == 0 {
            fleet.accept(Duration::ZERO)?;
            interrupt::check()?;
        }
    }
    while !behind.is_empty() {
        fleet.wait_for_room(&behind);
        catch_up(fleet, &goals, &mut behind)?;
        fleet.accept(Duration::ZERO)?;
        interrupt::check()?;
    }
    Ok(watch.stop())
}

fn note(observer: &Observer, vm: usize, bytes: u64, sent: Option<Instant>) {
    if let Some(sent) = sent {
        observer.take(Line { vm, bytes, sent });
    }
}

/// Those behind print on as far as their sockets take it.
fn catch_up(fleet: &mut Fleet, goals: &[u64], behind: &mut Vec<usize>) -> Result<()> {
    let mut still = Vec::new();
    for vm in behind.drain(..) {
        if fleet.print(vm, goals[vm], false)? == Printed::Full {
            still.push(vm);
        }
    }
    *behind = still;
    Ok(())
}

/// Prints on to the goal, a byte at a time, as a guest does that leaves for the VMM at each.
fn print_line(
    fleet: &mut Fleet,
    vm: usize,
    goal: u64,
    pace: &Pace,
    timed: bool,
) -> Result<Printed> {
    let mut next = Instant::now();
    while !pace.per_byte.is_zero() && fleet.printed(vm) + 1 < goal {
        let byte = fleet.printed(vm) + 1;
        if fleet.print(vm, byte, false)? == Printed::Full {
            return Ok(Printed::Full);
        }
        next += pace.per_byte;
        pass_time(fleet, next, pace.flood)?;
    }
    fleet.print(vm, goal, timed)
}

/// Lets time pass. Meanwhile the first guest prints as fast as its socket takes it, if it floods.
fn pass_time(fleet: &mut Fleet, until: Instant, flood: bool) -> Result<()> {
    loop {
        let rest = until.saturating_duration_since(Instant::now());
        if rest.is_zero() {
            return Ok(());
        }
        let busy = flood && {
            let next = fleet.printed(0) + 1;
            fleet.print(0, next, false)? != Printed::Full
        };
        // A vCPU at work, or that stands still for a moment, is not to be woken up for each byte.
        match rest > NAP_MIN && !busy {
            true if flood => thread::sleep(NAP_MIN),
            true => clock::sleep_until(until),
            false => std::hint::spin_loop(),
        }
    }
}
