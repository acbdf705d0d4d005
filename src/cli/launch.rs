//! `seriald launch`: the VMMs are ours, from their start to their end.
//!
//! Owns the choice of launch files.
//! **Invariant:** nothing is started before every file was understood; no VMM is left running.

use crate::cli::handover::{Predecessor, Program};
use crate::cli::{Failure, asking, complain, launch_file, log_from, notice};
use seriald::Seriald;
use seriald::config::Config;
use seriald::env::ProcessSignal;
use seriald::keys::json_file::JsonFile;
use seriald::keys::vm_keys::Taken;
use seriald::reactor::EventKind;
use seriald::vm::CloseReason;
use seriald::vm::launch::LaunchSpec;
use std::path::PathBuf;

/// Start VMs and keep their serial logs until they end.
///
/// For each file: starts the VMM, sends it the configuration with the serial port set to the
/// instance's socket, connects, boots, and appends what the guest prints to its log from the first
/// byte on. Ends when all VMs have; at SIGTERM or SIGINT it shuts every VMM down in order first.
///
/// A launch file names the VM, the VMM and what it starts from: "config" (the body of vm.create) or
/// "restore" (the body of vm.restore):
///   {"id": "a", "dir": "/var/lib/vms/a", "vmm": ["cloud-hypervisor"],
///    "config": {"payload": {"kernel": "/boot/vmlinux", "cmdline": "console=ttyS0"}}}
/// "vmm" is optional; "serial", "api" and "log" default to serial.sock, ch.sock and logs/app.log in
/// "dir", "id" to its name. Relative paths are taken from the current directory.
///
/// With --control a running seriald launches them, and this one returns once their guests run.
/// They end with the seriald that has launched them, or by `seriald shutdown`.
///
/// The exit code is 1 if a VM could not be launched; the others run all the same.
///
/// Examples:
///   seriald launch a.json b.json
///   seriald launch --control /run/seriald/control.sock a.json
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Launch files, one VM each.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Have the running seriald launch them whose control socket this is.
    #[arg(long, value_name = "PATH")]
    control: Option<PathBuf>,
}

/// Runs the subcommand.
pub fn launch(args: Args) -> Result<(), Failure> {
    if let Some(control) = &args.control {
        return asking::launch::launch(control, &args.files);
    }
    let mut program = Program::of_this_process()?;
    let (mut reactor, mut failed) = match Predecessor::of_this_process() {
        None => start(&args.files)?,
        Some(predecessor) => {
            log_from("info");
            let (mut reactor, failed) = predecessor.take_over(Config::default())?;
            reactor.watch_signals().map_err(Failure::failed)?;
            (reactor, failed)
        }
    };
    loop {
        while let Some(event) = reactor.next_event() {
            notice::log(&event);
            if let EventKind::Closed(reason @ CloseReason::LaunchFailed(_)) = &event.kind {
                complain(format_args!("VM {:?}: {reason}", event.id));
                failed += 1;
            }
        }
        if reactor.is_empty() {
            break;
        }
        reactor.turn(None).map_err(Failure::failed)?;
        while let Some(signal) = reactor.next_signal() {
            match signal {
                ProcessSignal::User2(asker) => program.begin(&mut reactor, asker, None),
                ProcessSignal::Hangup => reactor.stop(),
                ProcessSignal::User1 => reactor.reopen_logs(),
                ProcessSignal::End => {}
            }
        }
        program.advance(&mut reactor, failed);
    }
    if failed > 0 { Err(Failure::Told) } else { Ok(()) }
}

/// The loop with every VM begun, and how many could not be.
fn start(files: &[PathBuf]) -> Result<(Seriald, u32), Failure> {
    let specs = read(files)?;
    log_from("info");
    let mut reactor = Seriald::bind(Config::default()).map_err(Failure::failed)?;
    reactor.watch_signals().map_err(Failure::failed)?;
    let mut failed = 0;
    for spec in specs {
        if let Err(error) = reactor.launch(spec) {
            complain(error);
            failed += 1;
        }
    }
    Ok((reactor, failed))
}

fn read(files: &[PathBuf]) -> Result<Vec<LaunchSpec>, Failure> {
    let mut taken = Taken::default();
    let mut specs = Vec::new();
    for path in files {
        let spec = JsonFile::read(path).and_then(|file| launch_file::read(&file));
        let spec = spec.map_err(Failure::failed)?;
        let place = path.display().to_string();
        let noted = taken.note(&spec.vm, &place);
        noted.map_err(|why| Failure::Failed(format!("{place}: {why}")))?;
        specs.push(spec);
    }
    Ok(specs)
}
