//! `seriald demo`: the main job in front of one's eyes, with proof at the end.
//!
//! Owns the directory of it all, which is removed at the end.
//! **Invariant:** nothing is left behind, neither files nor processes, however it ends (SIGKILL
//! apart).

mod fleet;
mod home;
mod outsider;
mod show;
mod table;
mod usage;
mod verdict;

use crate::ch_sim::ledger::{Boot, Ledger};
use crate::ch_sim::release::Release;
use crate::ch_sim::script::Script;
use crate::cli::{Failure, log_from, say};
use fleet::{Kind, Member, Plan, Vmm};
use show::Shown;
use std::path::PathBuf;

/// Run many VMs, rotate their logs often, and prove that no byte is missing.
///
/// Launches VMs through the launch machine of `seriald launch`: simulated ones, each a process of
/// its own with Cloud Hypervisor's API and serial socket, or real ones if --kernel names a guest
/// that prints as the test guest does (lines=N). Half the logs are rotated by renaming, half by
/// copytruncate; one is left to an outsider, who copies and truncates it behind our back. At the
/// end each log and its backups are compared byte for byte with what was handed over, and searched
/// for holes. Needs no root; everything lives in a temporary directory, which is removed.
///
/// Exit code: 0 if every byte is there, 1 if a single one is not, 130 if interrupted.
///
/// Examples:
///   seriald demo
///   seriald demo --vms 1000 --seconds 30
///   seriald demo --vmm ./cloud-hypervisor --kernel ./guest.elf --vms 8
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// How many VMs.
    #[arg(long, default_value_t = 200, value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    vms: u32,
    /// For how long they print, in seconds.
    #[arg(long, default_value_t = 10, value_name = "S",
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// A real Cloud Hypervisor (default: the one on PATH); needs --kernel.
    #[arg(long, value_name = "PATH")]
    vmm: Option<PathBuf>,
    /// The guest that a real Cloud Hypervisor boots; needs /dev/kvm.
    #[arg(long, value_name = "FILE")]
    kernel: Option<PathBuf>,
    /// Leave the directory with logs and ledgers there, and say where it is.
    #[arg(long)]
    keep_dir: bool,
}

/// Runs the subcommand.
pub fn demo(args: &Args) -> Result<(), Failure> {
    // What the VMMs lose is counted below; a line per VM would bury the table.
    log_from("error");
    let vmm = Vmm::choose(args.vmm.as_deref(), args.kernel.as_deref())?;
    let home = home::Home::make(args.keep_dir).map_err(Failure::Failed)?;
    let plan = Plan { home: home.path().into(), vms: args.vms, seconds: args.seconds, vmm };
    let shown = show::show(&plan)?;
    judge(&plan, &shown)
}

/// Compares every log with its ledger, and prints the sum of it all.
fn judge(plan: &Plan, shown: &Shown) -> Result<(), Failure> {
    let (mut right, mut bytes, mut wrong, mut unfit) = (0_u64, 0, 0_u64, 0);
    for member in &shown.members {
        let verdict = ledger(plan, member).and_then(|ledger| {
            unfit += ledger.sum().dropped_ring + ledger.sum().lost_at_end;
            match member.kind {
                Kind::Own(_) => verdict::whole(&ledger, &verdict::files(&member.log())?),
                Kind::Outside => {
                    let log = member.log();
                    let pieces: Vec<_> = shown.copies.iter().cloned().chain([log]).collect();
                    let judged = verdict::outsider(&ledger, &pieces)?;
                    say(format_args!(
                        "outsider   {}: {} copytruncates, no NUL, no hole; {} bytes fell between \
                         his copy and his truncation: his loss, not ours",
                        member.id,
                        shown.copies.len(),
                        judged.lost
                    ));
                    Ok(judged.kept)
                }
            }
        });
        match verdict {
            Ok(count) => (right, bytes) = (right + 1, bytes + count),
            Err(why) => {
                wrong += 1;
                crate::cli::complain(format_args!("{}: {why}", member.id));
            }
        }
    }
    let stats = &shown.stats;
    let cpu = shown.usage.cpu.as_secs_f64();
    let read = stats.read_bytes as f64;
    say(format_args!(
        "cpu        {cpu:.2} s ({:.1} us per kB read); the VMMs' own is not in it",
        cpu * 1e6 / (read / 1e3).max(1.0)
    ));
    say(format_args!("memory     {:.1} MB at most", shown.usage.resident_max as f64 / 1e6));
    say(format_args!("bytes      {} read, {} lost by us", stats.read_bytes, stats.lost_bytes));
    if let Vmm::Real(..) = plan.vmm {
        say("expected   what the test guest prints for its command line: real VMMs keep no ledger");
    }
    if unfit > 0 {
        say(format_args!("upstream   {unfit} bytes died in the VMMs' rings, before any socket"));
    }
    say(format_args!("rotations  {}, {} failed", stats.rotations, stats.rotation_failures));
    if wrong > 0 {
        return Err(Failure::Failed(format!("{wrong} of {} logs are wrong", shown.members.len())));
    }
    say(format_args!(
        "verified   {right} of {right} logs, {bytes} bytes: each byte that was handed over, in \
         order, no NUL, no hole"
    ));
    Ok(())
}

/// What was handed over: by the simulator's ledger, or, for a real guest, what it prints by the
/// source of the test guest.
fn ledger(plan: &Plan, member: &Member) -> Result<Ledger, String> {
    if let Vmm::Simulated(_) = plan.vmm {
        return Ledger::read(&member.ledger());
    }
    let cmdline = plan.cmdline(member);
    let mut boot = Boot::new(&cmdline, 0, Vec::new());
    boot.ranges = vec![(0, Script::parse(&cmdline).scripted_len().unwrap_or(0))];
    let mut ledger = Ledger::new(Release::V53);
    ledger.boots.push(boot);
    Ok(ledger)
}
