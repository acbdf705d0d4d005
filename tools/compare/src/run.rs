//! One run: one collector under one load, from an empty directory to the last byte in its log.
//!
//! Owns the run's directory, guests and processes.
//! **Invariant:** the order is the same for all: the sockets are bound, the collector connects and
//! comes to rest, then the clock starts; it stops when every byte is in its log.

use crate::collectors::Collector;
use crate::collectors::running::Running;
use crate::collectors::seriald::{self, Told};
use crate::guests::Fleet;
use crate::guests::drive::{self, Pace, Sending};
use crate::guests::text;
use crate::interrupt;
use crate::loads::{Load, Work};
use crate::measure::follow::{self, Follow};
use crate::measure::latency::{Eyes, Observer, Seen};
use crate::measure::proc;
use crate::measure::siege::{Besieged, Siege};
use crate::measure::spread::Spread;
use crate::measure::strace::Strace;
use crate::measure::usage::{Usage, Used};
use crate::measure::viewers::Viewers;
use crate::site::Site;
use anyhow::{Context, Result, anyhow, bail};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// How long a collector may take without a byte more in any log, before those that are missing
/// are lost.
const LOST_AFTER: Duration = Duration::from_secs(10);
/// Logs whose every byte is compared; of the others the size is.
const LOGS_COMPARED: usize = 10;
/// With fewer VMs what they add to the kernel's slabs is lost in what others do there.
const SLAB_VMS_MIN: usize = 100;
/// Where guests keep a pace: a time is up to a nap and a wake-up (some 30 us) too long.
const CLOSE: Eyes = Eyes { nap: Duration::from_micros(20), pause: Duration::ZERO };
/// Where they print flat out, so that the observer takes little from those who are measured.
const DISTANT: Eyes = Eyes { nap: Duration::from_micros(200), pause: Duration::from_millis(4) };

/// What a run has shown.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Run {
    /// Who collected.
    pub collector: &'static str,
    /// Under which load.
    pub load: String,
    /// In which round, counted from 1; 0: a run under strace, whose times mean nothing.
    pub round: u32,
    /// How many VMs.
    pub vms: usize,
    /// Bytes that the guests have printed.
    pub bytes: u64,
    /// From the first send to the end of the last, in seconds.
    pub printing_s: f64,
    /// From the first send until every byte was in its log.
    pub collecting_s: f64,
    /// What the sends have cost the guests, in seconds of processor time; only where they print
    /// flat out: those that keep a pace spin between two bytes.
    pub guests_cpu_s: Option<f64>,
    /// What the collector has used.
    pub used: Used,
    /// Times from a line's last send until it was in its log.
    pub latency: Option<Spread>,
    /// The same before the flood began.
    pub latency_without_flood: Option<Spread>,
    /// Lines that were looked for and had not come when all should have.
    pub missed: usize,
    /// The kernel's slabs that connecting has added, both ends of the sockets included.
    pub slab_per_vm: Option<f64>,
    /// Memory that belongs to no file with one VM, and resident memory then.
    pub with_one_vm: Option<Used>,
    /// System calls by name, under strace.
    pub calls: Option<BTreeMap<String, u64>>,
    /// What seriald says about itself.
    pub told: Option<Told>,
    /// Logs that were rotated.
    pub rotations: usize,
    /// What hostile clients did, if there were any.
    pub besieged: Option<Besieged>,
    /// What is wrong with what was collected, or why it could not be.
    pub fault: Option<String>,
}

impl Run {
    /// One that was not run to its end.
    pub fn failed(collector: &'static str, load: &Load, why: String) -> Run {
        let fault = Some(why);
        Run { collector, load: load.name.clone(), vms: load.vms, fault, ..Run::default() }
    }
}

/// A collector that has connected to every VM and is at rest.
struct Standing<'a> {
    load: &'a Load,
    fleet: Fleet,
    running: Running,
    slab_per_vm: Option<f64>,
    site: Site,
}

/// What a part of a run has shown: one in which the guests do one thing.
struct Part {
    sending: Sending,
    /// Until every byte was in its log.
    collecting: Duration,
    /// What is missing.
    missing: Option<String>,
    seen: Seen,
}

/// Runs it. `traced`: under strace.
///
/// # Errors
/// Where it can't be run to its end. Bytes that are lost are no error, but a fault.
pub fn run(
    collector: &dyn Collector,
    load: &Load,
    dir: &Path,
    traced: bool,
    keep: bool,
) -> Result<Run> {
    let mut run = Run {
        collector: collector.name(),
        load: load.name.clone(),
        vms: load.vms,
        ..Run::default()
    };
    if let (Work::Idle { .. }, false) = (load.work, traced) {
        let alone = Load { vms: 1, ..load.clone() };
        let mut standing = Standing::set_up(collector, &alone, dir)?;
        standing.have_lines_printed()?;
        run.with_one_vm = Some(Usage::of(&standing.running.pids()).until_now());
        standing.take_down(false);
    }
    let mut standing = Standing::set_up(collector, load, dir)?;
    run.slab_per_vm = standing.slab_per_vm;
    let ran = standing.measure(&mut run, traced);
    let ran = ran
        .map_err(|error| anyhow!("{error:#}; the last it said: {}", standing.running.last_words()));
    let said = standing.take_down(keep);
    ran?;
    if collector.name() == "seriald" {
        run.told = seriald::told(&said);
    }
    Ok(run)
}

impl<'a> Standing<'a> {
    fn set_up(collector: &dyn Collector, load: &'a Load, dir: &Path) -> Result<Standing<'a>> {
        let site = Site::make(dir, load.vms)?;
        for prefill in load.prefills() {
            interrupt::check()?;
            site.prefill(prefill.vm, prefill.bytes)?;
        }
        let mut fleet = Fleet::bind(&site.vms, load.work.text())?;
        let slab = proc::slab_now();
        let mut running = Running::start(collector, &site, load)?;
        let connected = fleet.wait_for_all(collector.patience(), || {
            interrupt::check()?;
            running.check_alive()
        });
        connected
            .and_then(|()| running.wait_for_rest())
            .map_err(|error| anyhow!("{error:#}; the last it said: {}", running.last_words()))?;
        let tells = load.vms >= SLAB_VMS_MIN;
        let slab = slab.filter(|_| tells);
        let added = proc::slab_now().zip(slab).map(|(now, before)| now as f64 - before as f64);
        let slab_per_vm = added.map(|bytes| bytes / load.vms as f64);
        Ok(Standing { load, fleet, running, slab_per_vm, site })
    }

    /// Ends it all: what the collector said.
    fn take_down(self, keep: bool) -> String {
        // First the guests' side, as when VMs end: nobody has to be left in order then.
        drop(self.fleet);
        let said = self.running.stop();
        if keep {
            eprintln!("kept: {}", self.site.keep().display());
        }
        said
    }

    fn measure(&mut self, run: &mut Run, traced: bool) -> Result<()> {
        let pids = self.running.pids();
        if let Work::Idle { after, .. } = self.load.work {
            self.have_lines_printed()?;
            interrupt::sleep(after)?;
        }
        let strace = traced.then(|| Strace::attach(&pids, self.site.path())).transpose()?;
        let starts: Vec<u64> = self.site.vms.iter().map(|vm| follow::bytes_in(&vm.log)).collect();
        let work = self.load.work;
        if let Work::Flood(pace) = work {
            let quiet = self.part(Work::Paced(pace), &starts)?;
            run.latency_without_flood = Spread::of(quiet.seen.times);
            run.missed += quiet.seen.missed;
        }
        let already = self.fleet.printed_by_all();
        let before = Usage::of(&pids);
        if let Work::Idle { lasting, .. } = work {
            interrupt::sleep(lasting)?;
            run.used = before.until_now();
        } else {
            let (viewers, siege) = (self.viewers(work)?, self.siege(work));
            let part = self.part(work, &starts);
            run.besieged = siege.map(Siege::lift).transpose()?;
            let part = part?;
            run.used = before.until_now();
            run.bytes = self.fleet.printed_by_all() - already;
            run.printing_s = part.sending.took.as_secs_f64();
            run.collecting_s = part.collecting.as_secs_f64();
            let flat_out = matches!(work, Work::FlatOut { .. });
            run.guests_cpu_s = flat_out.then_some(part.sending.cpu.as_secs_f64());
            run.missed += part.seen.missed;
            run.latency = Spread::of(part.seen.times);
            run.fault =
                part.missing.map_or_else(|| self.fault(&starts), |missing| Ok(Some(missing)))?;
            if let Some(wrong) = viewers.map(|viewers| viewers.end(run.bytes)).transpose()? {
                run.fault = run.fault.take().or(wrong);
            }
        }
        run.calls = strace.map(Strace::detach).transpose()?;
        run.rotations = self.rotations();
        Ok(())
    }

    /// Has the guests do some work, in a thread of their own, for its time is theirs; and waits
    /// until every byte of it is in its log.
    fn part(&mut self, work: Work, starts: &[u64]) -> Result<Part> {
        let eyes = if matches!(work, Work::FlatOut { .. }) { DISTANT } else { CLOSE };
        let logs = self.site.vms.iter().zip(starts);
        let logs = logs.map(|(vm, start)| Follow::new(&vm.log, *start));
        let observer = Observer::start(logs.collect(), eyes);
        let began = Instant::now();
        let (fleet, watching) = (&mut self.fleet, &observer);
        let guests = move || match work {
            Work::FlatOut { bytes_each, .. } => drive::flat_out(fleet, bytes_each, watching),
            Work::Paced(pace)
            | Work::Rotation { pace, .. }
            | Work::Viewed { pace, .. }
            | Work::Besieged { pace, .. } => drive::paced(fleet, pace, watching),
            Work::Flood(pace) => drive::paced(fleet, Pace { flood: true, ..pace }, watching),
            Work::Idle { .. } => unreachable!("nobody prints"),
        };
        let sending = thread::scope(|scope| scope.spawn(guests).join())
            .map_err(|_| anyhow!("the guests' thread has panicked"))??;
        let missing = self.wait_for_bytes(starts)?;
        let collecting = began.elapsed();
        Ok(Part { sending, collecting, missing, seen: observer.end() })
    }

    /// Those who look at the first VM's console.
    fn viewers(&self, work: Work) -> Result<Option<Viewers>> {
        let Work::Viewed { viewers, .. } = work else { return Ok(None) };
        Viewers::connect(&self.site.control(), &self.site.vms[0].id, viewers).map(Some)
    }

    /// Those who do their worst at its API.
    fn siege(&self, work: Work) -> Option<Siege> {
        let Work::Besieged { clients: clients @ 1.., .. } = work else { return None };
        Some(Siege::lay(&self.site.control(), &self.site.vms[0].id, clients))
    }

    /// Each guest prints a line.
    fn have_lines_printed(&mut self) -> Result<()> {
        let starts: Vec<u64> = self.site.vms.iter().map(|vm| follow::bytes_in(&vm.log)).collect();
        let work = Work::FlatOut { text: self.fleet.text(), bytes_each: text::LINE as u64 };
        self.part(work, &starts)?.missing.map_or(Ok(()), |missing| bail!(missing))
    }

    /// Waits until every log has every byte. The answer says what is missing.
    fn wait_for_bytes(&mut self, starts: &[u64]) -> Result<Option<String>> {
        let mut short = 0..self.site.vms.len();
        let (mut best, mut since) = (0, Instant::now());
        while let Some(vm) = short.clone().next() {
            let wanted = starts[vm] + self.fleet.printed(vm);
            let has = follow::bytes_in(&self.site.vms[vm].log);
            if has >= wanted {
                short.start += 1;
                since = Instant::now();
                best = 0;
                continue;
            }
            if has > best {
                (best, since) = (has, Instant::now());
            }
            if since.elapsed() > LOST_AFTER {
                return Ok(Some(format!("{}: {} bytes lost", self.site.vms[vm].id, wanted - has)));
            }
            interrupt::check()?;
            // Whoever fetches a tail by connecting anew is served meanwhile.
            self.fleet.accept(Duration::from_millis(1))?;
        }
        Ok(None)
    }

    /// What is wrong with the logs, once rotations that are under way are done.
    fn fault(&self, starts: &[u64]) -> Result<Option<String>> {
        let since = Instant::now();
        while let Some(fault) = self.fault_in_sizes(starts) {
            if since.elapsed() > LOST_AFTER {
                return Ok(Some(fault));
            }
            interrupt::sleep(Duration::from_millis(10))?;
        }
        self.fault_in_bytes(starts)
    }

    fn fault_in_sizes(&self, starts: &[u64]) -> Option<String> {
        for (number, vm) in self.site.vms.iter().enumerate() {
            let wanted = starts[number] + self.fleet.printed(number);
            let has = follow::bytes_in(&vm.log);
            if has != wanted {
                return Some(format!("{}: {has} bytes, not {wanted}", vm.id));
            }
        }
        let (planned, rotated) = (self.load.prefills().len(), self.rotations());
        (rotated != planned).then(|| format!("{rotated} logs were rotated, not {planned}"))
    }

    /// Compares some logs byte by byte: those that were rotated, and others.
    fn fault_in_bytes(&self, starts: &[u64]) -> Result<Option<String>> {
        let step = self.site.vms.len().div_ceil(LOGS_COMPARED);
        let prefilled = self.load.prefills().into_iter().map(|prefill| prefill.vm);
        for number in (0..self.site.vms.len()).step_by(step).chain(prefilled) {
            let vm = &self.site.vms[number];
            let sent = self.fleet.printed(number);
            let compared = text::compare(&vm.log, starts[number], number, self.fleet.text(), sent);
            if let Some(wrong) = compared.with_context(|| vm.id.clone())? {
                return Ok(Some(format!("{}: {wrong}", vm.id)));
            }
        }
        Ok(None)
    }

    fn rotations(&self) -> usize {
        self.site.vms.iter().filter(|vm| follow::backup(&vm.log, 1).exists()).count()
    }
}
