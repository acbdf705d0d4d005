//! `seriald run`: the collector beside a VM manager.
//!
//! Owns the choice of VMs: a configuration file's, and the command line's.
//! **Invariant:** a VM that can't be taken charge of is named and left out; it keeps no other back.

use crate::cli::config_file::Settings;
use crate::cli::handover::{Predecessor, Program};
use crate::cli::json_file::JsonFile;
use crate::cli::{Failure, complain, log_from, notice, say, service, vm_arg};
use seriald::Seriald;
use seriald::config::VmSpec;
use seriald::env::ProcessSignal;
use std::path::PathBuf;

/// Keep the serial logs of VMs that somebody else starts and stops.
///
/// Dials every VM's serial socket, now or once it appears, appends what the guest prints to the
/// VM's log and rotates that. A VM whose VMM exits is waited for (on_exit "wait"). Runs until
/// SIGTERM or SIGINT, then drains every VM and ends with 0.
///
/// A VM that can't be taken charge of at the start (its log is another seriald's, or a symbolic
/// link, or the descriptors are used up) is reported and left out; the others go on. If there is
/// none left, the exit code is 1.
///
/// Relative paths are taken from the current directory, in the configuration too.
///
/// Examples:
///   seriald run --config /etc/seriald.json
///   seriald run --config /etc/seriald.json --check
///   seriald run --instance /var/lib/vms/a --instance /var/lib/vms/b
///   seriald run --vm id=c,serial=/run/c.sock,log=/var/log/c.log
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The configuration, JSON (see README.md for its keys).
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A VM with serial.sock, ch.sock and logs/app.log in DIR; its id is the directory's name.
    #[arg(long, value_name = "DIR")]
    instance: Vec<PathBuf>,
    /// A VM by its parts: id=..,serial=..,log=..[,api=..][,on_exit=close|wait].
    #[arg(long, value_name = "VM")]
    vm: Vec<String>,
    /// Only say what would be run, or what is wrong with it. Opens nothing but the configuration.
    #[arg(long)]
    check: bool,
}

/// Runs the subcommand.
pub fn run(args: Args) -> Result<(), Failure> {
    let (check, config) = (args.check, args.config.clone());
    let predecessor = Predecessor::of_this_process();
    let settings = match (settings(args), &predecessor) {
        // It was checked, but a moment ago: the VMs in charge are not given up for that.
        (Err(error), Some(_)) => {
            complain(format_args!("the VMs go on as they are: {error}"));
            Settings::default()
        }
        (settings, _) => settings?,
    };
    if predecessor.is_none() && settings.vms.is_empty() {
        let nothing = "nothing to run: name VMs by --instance, by --vm, or in a file by --config \
                       (see `seriald run --help`)";
        return Err(match config {
            Some(path) => Failure::Failed(format!("{} names no VM: {nothing}", path.display())),
            None => Failure::Usage(nothing.into()),
        });
    }
    if check {
        say(format_args!("VMs to run: {}. Nothing is wrong.", settings.vms.len()));
        return Ok(());
    }
    log_from("info");
    let mut program = Program::of_this_process()?;
    let again = predecessor.is_some();
    let mut reactor = match predecessor {
        None => Seriald::bind(settings.config).map_err(Failure::failed)?,
        Some(predecessor) => predecessor.take_over(settings.config)?.0,
    };
    reactor.watch_signals().map_err(Failure::failed)?;
    service::connect(&mut reactor, again);
    let mut adopted = reactor.vms().count();
    for spec in settings.vms {
        if reactor.find(&spec.id).is_some() {
            continue;
        }
        match reactor.adopt(spec) {
            Ok(_) => adopted += 1,
            Err(error) => complain(error),
        }
    }
    if adopted == 0 {
        return Err(Failure::failed("no VM is left to run"));
    }
    log::info!("{adopted} VMs in charge");
    service::check_room(adopted);
    reactor.leave_unclaimed();
    reactor.ready();
    loop {
        while let Some(event) = reactor.next_event() {
            notice::log(&event);
        }
        while let Some(signal) = reactor.next_signal() {
            if let ProcessSignal::User2(asker) = signal {
                program.begin(&mut reactor, asker, Some("--check"));
            }
        }
        program.advance(&mut reactor, 0);
        if reactor.is_stopped() {
            reactor.take_leave();
            return Ok(());
        }
        reactor.turn(None).map_err(Failure::failed)?;
    }
}

fn settings(args: Args) -> Result<Settings, Failure> {
    let mut settings = match &args.config {
        None => Settings::default(),
        Some(path) => JsonFile::read(path)
            .and_then(|file| Settings::from_file(&file))
            .map_err(Failure::failed)?,
    };
    for dir in args.instance {
        let place = format!("--instance {}", dir.display());
        let spec = settings.defaults.instance(&dir).map_err(Failure::Usage)?;
        add(&mut settings, spec, &place)?;
    }
    for text in args.vm {
        let place = format!("--vm {text}");
        let spec = vm_arg::parse(&text, &settings.defaults)
            .map_err(|why| Failure::Usage(format!("{place}: {why}")))?;
        add(&mut settings, spec, &place)?;
    }
    Ok(settings)
}

fn add(settings: &mut Settings, spec: VmSpec, place: &str) -> Result<(), Failure> {
    let noted = settings.taken.note(&spec, place);
    noted.map_err(|why| Failure::Usage(format!("{place}: {why}")))?;
    settings.vms.push(spec);
    Ok(())
}
