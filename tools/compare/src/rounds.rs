//! All runs, interleaved, and what comes of them.
//!
//! Owns the directory that all runs are in.
//! **Invariant:** what can't take part is named with its reason, and keeps nobody else back.

use crate::args::Args;
use crate::collectors::{self, Collector, Workshop};
use crate::loads::{self, Load, Size, Work};
use crate::measure::strace::Strace;
use crate::report::{self, Named, Results};
use crate::run::{self, Run};
use crate::{interrupt, limits};
use anyhow::{Context, Result, bail};
use serde::Serialize;
use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};

/// Room that is left free on the disk, whatever happens.
const ROOM_LEFT: u64 = 256_000_000;

/// Somebody, or something, that took no part.
#[derive(Clone, Debug, Serialize)]
pub struct LeftOut {
    /// The collector, or the load, or both.
    pub what: String,
    /// Why.
    pub why: String,
}

/// Somebody who took part.
#[derive(Clone, Debug, Serialize)]
pub struct Contender {
    /// The name.
    pub name: &'static str,
    /// What exactly was run.
    pub version: String,
}

/// Runs everything that is asked for and shows it; whether there is nothing to complain about.
///
/// # Errors
/// Where it can't begin, or a result can't be written, or the user interrupts.
pub fn compare(args: &Args) -> Result<bool> {
    let size = Size { scale: args.scale, guest_kbps: args.guest_kbps, quick: args.quick };
    let loads = loads::choose(loads::all(size), &args.load)?;
    let names = args.collectors()?;
    report::check_files(args)?;
    interrupt::watch()?;
    let parent = args.dir.clone().unwrap_or_else(env::temp_dir);
    let parent = parent.canonicalize().with_context(|| format!("--dir {}", parent.display()))?;
    let home = tempfile::Builder::new().prefix("compare-").rand_bytes(4).tempdir_in(&parent);
    let mut home = home.with_context(|| format!("--dir {}", parent.display()))?;
    home.disable_cleanup(args.keep);

    let mut results = Results::new(size);
    let collectors = make_all(&names, args, home.path(), &mut results)?;
    let loads = fitting(loads, &parent, &mut results);
    if collectors.is_empty() || loads.is_empty() {
        let left_out = results.left_out.iter().map(|out| format!("{}: {}", out.what, out.why));
        bail!("nothing is left to run ({})", left_out.collect::<Vec<_>>().join("; "));
    }
    let all = Everything { collectors, loads, home: home.path().into(), args };
    if let Err(error) = all.run(&mut results) {
        report::show(args, &results)?;
        return Err(error.context("not all was run: what is shown is of the runs until then"));
    }
    report::show(args, &results)
}

fn make_all(
    names: &[&'static str],
    args: &Args,
    dir: &Path,
    results: &mut Results,
) -> Result<Vec<Box<dyn Collector>>> {
    let workshop = Workshop { seriald: args.seriald.as_deref(), coalesce: args.coalesce(), dir };
    let mut collectors = Vec::new();
    for name in names {
        interrupt::check()?;
        match collectors::make(name, &workshop) {
            Ok(collector) => {
                results.contenders.push(Contender { name, version: collector.version() });
                collectors.push(collector);
            }
            // Named on the command line, or what all is about: that is an error.
            Err(error) if *name == "seriald" || args.only.iter().any(|only| only == name) => {
                return Err(error.context(*name));
            }
            Err(error) => results.leave_out(name, &format!("{error:#}")),
        }
    }
    Ok(collectors)
}

/// The loads that this machine has descriptors and room for.
fn fitting(loads: Vec<Load>, dir: &Path, results: &mut Results) -> Vec<Load> {
    let fit = |load: Load| {
        let allowed = limits::raise_descriptors(load.descriptors())?;
        let load = load.within(allowed)?;
        limits::check_room(dir, load.disk_bytes() + ROOM_LEFT)?;
        anyhow::Ok(load)
    };
    let mut fitting = Vec::new();
    for load in loads {
        let (name, vms) = (load.name.clone(), load.vms);
        match fit(load) {
            Ok(load) => {
                if load.vms < vms {
                    let why = format!("descriptors (ulimit -n) are enough for {} VMs", load.vms);
                    results.leave_out(&format!("{name} with {vms} VMs"), &why);
                }
                fitting.push(load);
            }
            Err(error) => results.leave_out(&format!("load {name}"), &format!("{error:#}")),
        }
    }
    fitting
}

struct Everything<'a> {
    collectors: Vec<Box<dyn Collector>>,
    loads: Vec<Load>,
    home: PathBuf,
    args: &'a Args,
}

impl Everything<'_> {
    fn run(&self, results: &mut Results) -> Result<()> {
        let rounds = if self.args.quick { 1 } else { self.args.rounds };
        for load in &self.loads {
            results.loads.push(Named { name: load.name.clone(), about: load.about() });
            let mut declined: BTreeMap<String, Vec<&str>> = BTreeMap::new();
            for collector in &self.collectors {
                if let Some(why) = collectors::declines(collector.as_ref(), load) {
                    declined.entry(why).or_default().push(collector.name());
                }
            }
            for (why, names) in declined {
                results.leave_out(&format!("{} in {}", names.join(", "), load.name), &why);
            }
        }
        for round in 1..=rounds {
            for load in &self.loads {
                // Whether somebody wakes up who should sleep is seen at once.
                if round > 1 && matches!(load.work, Work::Idle { .. }) {
                    continue;
                }
                self.run_load(load, round, results)?;
            }
        }
        let idle = |load: &&Load| matches!(load.work, Work::Idle { .. });
        let traced: Vec<_> =
            self.loads.iter().filter(|load| self.args.strace || idle(load)).collect();
        if !traced.is_empty() && !Strace::is_there() {
            results.leave_out("strace", "there is none (apt-get install strace)");
            return Ok(());
        }
        traced.iter().try_for_each(|load| self.run_load(load, 0, results))
    }

    /// Each in turn, beginning with another one each round; round 0 is the one under strace.
    fn run_load(&self, load: &Load, round: u32, results: &mut Results) -> Result<()> {
        let mut order: Vec<_> = self.collectors.iter().collect();
        let first = round as usize % order.len();
        order.rotate_left(first);
        for collector in order
            .into_iter()
            .filter(|collector| collectors::declines(collector.as_ref(), load).is_none())
        {
            report::progress(load, round, collector.name());
            let traced = round == 0;
            match run::run(collector.as_ref(), load, &self.home, traced, self.args.keep) {
                Ok(run) => results.runs.push(Run { round, ..run }),
                Err(error) => {
                    interrupt::check()?;
                    let run = Run::failed(collector.name(), load, format!("{error:#}"));
                    results.runs.push(Run { round, ..run });
                }
            }
        }
        Ok(())
    }
}
