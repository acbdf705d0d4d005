//! From a command line to running instances: one VMM, or a fleet of thousands.
//!
//! **Invariant:** both are the same instances in the same loop; a fleet differs in where its files
//! are, and in that its VMs are running from the start.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;

use super::args::{Args, Fleet};
use super::config::Config;
use super::event_loop::EventLoop;
use super::instance::{Exit, Instance};
use super::ledger::Counts;
use super::refusal::Refusal;
use super::vmm::Manner;

/// Runs what the command line asks for, until it has ended.
///
/// # Errors
/// What failed, in words.
pub fn run(args: &Args) -> Result<(), String> {
    let ledger_age_max = Duration::from_millis(u64::from(args.ledger_ms));
    let mut event_loop = EventLoop::new(ledger_age_max).map_err(|error| error.to_string())?;
    match &args.fleet {
        Some(fleet) => start_fleet(&mut event_loop, args, fleet)?,
        None => start_one(&mut event_loop, args)?,
    }
    event_loop.run().map_err(|error| error.to_string())?;
    if args.fleet.is_some() {
        let mut sum = Counts::default();
        for instance in event_loop.instances() {
            sum.add(&instance.vmm.ledger.sum());
        }
        println!("{}", json!({"vms": event_loop.instances().len(), "total": sum}));
    }
    match event_loop.instances().iter().all(|one| one.exit() == Some(Exit::Clean)) {
        true => Ok(()),
        false => Err("the VMM thread has panicked or was killed".to_string()),
    }
}

fn manner(args: &Args, await_client: bool, no_shutdown: bool) -> Manner {
    Manner {
        release: args.release,
        byte_cost: match args.rate {
            Some(rate) => Duration::from_nanos(1_000_000_000 / u64::from(rate)),
            None => Duration::ZERO,
        },
        no_shutdown,
        await_client,
        named_threads: args.fleet.is_none(),
    }
}

fn start_one(event_loop: &mut EventLoop, args: &Args) -> Result<(), String> {
    let manner = manner(args, args.boot_on_connect, args.no_shutdown);
    let api = args.api_socket.as_deref();
    let mut one = Instance::new(event_loop.registry(), 0, manner, api, args.ledger_path())?;
    let (registry, now) = (event_loop.registry(), Instant::now());
    if let Some(text) = &args.vm_config {
        let config = Config::parse(text.as_bytes(), args.release)?;
        one.vmm.create(registry, config).map_err(words)?;
        one.vmm.boot(registry, now).map_err(words)?;
    } else if let Some((url, resume)) = &args.restore {
        one.vmm.restore(registry, url, *resume, now).map_err(words)?;
    }
    one.write_ledger();
    event_loop.push(one);
    Ok(())
}

fn start_fleet(event_loop: &mut EventLoop, args: &Args, fleet: &Fleet) -> Result<(), String> {
    let manner = manner(args, args.boot_on_connect, args.no_shutdown && !args.until_done);
    for number in 0..fleet.vms {
        let dir = fleet.dir.join(format!("vm-{number:04}"));
        start_member(event_loop, args, manner, &dir).map_err(|error| {
            format!("{}: {error} (each VM takes three descriptors, see ulimit -n)", dir.display())
        })?;
    }
    // Who started the fleet waits for this line.
    println!("ch-sim: {} VMs run in {}", fleet.vms, fleet.dir.display());
    Ok(())
}

fn start_member(
    event_loop: &mut EventLoop,
    args: &Args,
    manner: Manner,
    dir: &Path,
) -> Result<(), String> {
    let made = fs::create_dir_all(dir);
    made.map_err(|error: io::Error| error.to_string())?;
    let (registry, index) = (event_loop.registry(), event_loop.next_index());
    let api = dir.join("ch.sock");
    let ledger = dir.join("ledger.json");
    let mut member = Instance::new(registry, index, manner, Some(&api), ledger)?;
    let config = json!({
        "payload": {"kernel": "/dev/null", "cmdline": args.cmdline},
        "serial": {"mode": "Socket", "socket": dir.join("serial.sock")},
        "console": {"mode": "Off"},
        "memory": {"size": 67_108_864},
    });
    let config = Config::parse(config.to_string().as_bytes(), args.release)?;
    member.vmm.create(registry, config).map_err(words)?;
    member.vmm.boot(registry, Instant::now()).map_err(words)?;
    member.write_ledger();
    event_loop.push(member);
    Ok(())
}

fn words(refusal: Refusal) -> String {
    refusal.words.join(": ")
}
