//! `seriald run`: the collector beside a VM manager.
//!
//! Owns the choice of VMs: a configuration file's, and the command line's.
//! **Invariant:** a VM that can't be taken charge of is named and left out; it keeps no other back.

use crate::cli::config_file::Settings;
use crate::cli::handover::{Predecessor, Program};
use crate::cli::roster::Roster;
use crate::cli::{Failure, log_from, notice, say, service, vm_arg};
use seriald::config::VmSpec;
use seriald::env::ProcessSignal;
use seriald::env::os::give_memory_back;
use seriald::keys::json_file::JsonFile;
use seriald::{ControlError, ControlSpec, DirPattern, Seriald};
use std::path::PathBuf;
use std::time::Duration;

/// Keep the serial logs of VMs that somebody else starts and stops.
///
/// Dials every VM's serial socket, now or once it appears, appends what the guest prints to the
/// VM's log and rotates that. A VM whose VMM exits is waited for (on_exit "wait"). Runs until
/// SIGTERM or SIGINT, then drains every VM and ends with 0.
///
/// A VM that can't be taken charge of at the start (its log is another seriald's, or a symbolic
/// link, or the descriptors are used up) is reported and left out; the others go on. If there is
/// none left, no pattern is watched and no request can bring one, the exit code is 1.
///
/// SIGHUP reads the configuration again: VMs are added, removed, or given other limits; one that
/// is wrong changes nothing. SIGUSR1 has every log look at its name, and open it anew if it was
/// moved: for a logrotate of your own.
///
/// Relative paths are taken from the current directory, in the configuration too.
///
/// Examples:
///   seriald run --config /etc/seriald.json
///   seriald run --config /etc/seriald.json --check
///   seriald run --watch '/var/lib/hypeman/guests/*'
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
    /// VMs of the directories that match, adopted as they appear, released as they go.
    ///
    /// Each is as of --instance. Quote it. Hidden directories, and links to one, don't match.
    #[arg(long, value_name = "GLOB")]
    watch: Vec<String>,
    /// A VM by its parts: id=..,serial=..,log=..[,api=..][,on_exit=close|wait].
    #[arg(long, value_name = "VM")]
    vm: Vec<String>,
    /// Serve the API on this socket, in place of the configuration's "control".
    #[arg(long, value_name = "PATH")]
    control: Option<PathBuf>,
    /// Only say what would be run, or what is wrong with it. Opens nothing but the configuration.
    #[arg(long)]
    check: bool,
}

/// Runs the subcommand.
pub fn run(args: Args) -> Result<(), Failure> {
    let predecessor = Predecessor::of_this_process();
    let settings = match (settings(&args), &predecessor) {
        // It was checked, but a moment ago: the VMs in charge are not given up for that.
        (Err(why), Some(_)) => Err(why),
        (settings, _) => Ok(settings?),
    };
    let (vms, patterns) = settings.as_ref().map_or((0, 0), |s| (s.vms.len(), s.watch.len()));
    let may_come = patterns > 0 || settings.as_ref().is_ok_and(|s| s.control.is_some());
    if predecessor.is_none() && vms == 0 && !may_come {
        let nothing = "nothing to run: name VMs by --instance, by --vm, by --watch, or in a file \
                       by --config (see `seriald run --help`)";
        return Err(match &args.config {
            Some(path) => Failure::Failed(format!("{} names no VM: {nothing}", path.display())),
            None => Failure::Usage(nothing.into()),
        });
    }
    if args.check {
        let watched = match patterns {
            0 => String::new(),
            _ => format!(" Patterns to watch: {patterns}."),
        };
        say(format_args!("VMs to run: {vms}.{watched} Nothing is wrong."));
        return Ok(());
    }
    log_from("info");
    let mut program = Program::of_this_process()?;
    let again = predecessor.is_some();
    let config = settings.as_ref().map(|settings| settings.config.clone()).unwrap_or_default();
    let mut reactor = match predecessor {
        None => Seriald::bind(config).map_err(Failure::failed)?,
        Some(predecessor) => predecessor.take_over(config)?.0,
    };
    reactor.watch_signals().map_err(Failure::failed)?;
    service::connect(&mut reactor, again);
    let mut roster = Roster::default();
    match settings {
        Ok(mut settings) => {
            let control = serve_control(&mut reactor, &mut settings);
            for served in [control, reactor.serve_metrics(settings.metrics)] {
                match served {
                    Err(why) if again => log::error!("{why}"),
                    served => served.map_err(Failure::failed)?,
                }
            }
            roster.apply(&mut reactor, settings);
            reactor.note_reload(true);
        }
        Err(why) => {
            log::error!("the VMs go on as they are: {why}");
            reactor.note_reload(false);
        }
    }
    take_charge(&mut reactor, &mut roster)?;
    reactor.leave_unclaimed();
    if !again && roster.adopted() == 0 && !may_come && !reactor.is_stopping() {
        return Err(Failure::failed("no VM is left to run"));
    }
    if !reactor.is_stopping() {
        let vms = reactor.len();
        log::info!("{vms} VMs in charge");
        service::check_room(vms);
        reactor.ready();
    }
    give_memory_back();
    serve(&mut reactor, &mut roster, &mut program, &args)
}

/// Adopts all that are wanted. The first are dialed and read while the last are still to come.
fn take_charge(reactor: &mut Seriald, roster: &mut Roster) -> Result<(), Failure> {
    while !reactor.is_stopping() && roster.tend(reactor) {
        log_events(reactor);
        if !reactor.owes_flight() {
            reactor.turn(Some(Duration::ZERO)).map_err(Failure::failed)?;
        }
    }
    Ok(())
}

fn log_events(reactor: &mut Seriald) {
    while let Some(event) = reactor.next_event() {
        notice::log(&event);
    }
}

/// Turns until SIGTERM or SIGINT, and every VM is let go of.
fn serve(
    reactor: &mut Seriald,
    roster: &mut Roster,
    program: &mut Program,
    args: &Args,
) -> Result<(), Failure> {
    loop {
        log_events(reactor);
        program.advance(reactor, 0);
        if reactor.is_stopped() {
            reactor.take_leave();
            match serde_json::to_string(reactor.stats()) {
                Ok(stats) => log::info!("stats: {stats}"),
                Err(error) => log::warn!("stats: {error}"),
            }
            return Ok(());
        }
        let has_more = !reactor.is_stopping() && roster.tend(reactor);
        reactor.turn(has_more.then_some(Duration::ZERO)).map_err(Failure::failed)?;
        while let Some(signal) = reactor.next_signal() {
            match signal {
                ProcessSignal::Hangup if !reactor.is_stopping() => reload(reactor, roster, args),
                ProcessSignal::User1 => {
                    log::info!("SIGUSR1: every log looks at its name");
                    reactor.reopen_logs();
                }
                ProcessSignal::User2(asker) => program.begin(reactor, asker, Some("--check")),
                ProcessSignal::Hangup | ProcessSignal::End => {}
            }
        }
    }
}

/// Serves our own API where it is wanted, and nowhere else.
fn serve_control(reactor: &mut Seriald, settings: &mut Settings) -> Result<(), ControlError> {
    match settings.control.take() {
        Some(spec) => {
            let vms = settings.defaults.clone();
            reactor.serve_control(ControlSpec { vms, ..spec })
        }
        None => {
            reactor.stop_control();
            Ok(())
        }
    }
}

/// Reads the configuration again, and does what has changed in it; one that is wrong changes
/// nothing.
fn reload(reactor: &mut Seriald, roster: &mut Roster, args: &Args) {
    reactor.reloading();
    match settings(args) {
        Ok(mut settings) => {
            let control = serve_control(reactor, &mut settings);
            let served = [control, reactor.serve_metrics(settings.metrics)];
            for why in served.iter().filter_map(|served| served.as_ref().err()) {
                log::error!("{why}");
            }
            reactor.note_reload(served.iter().all(Result::is_ok));
            let changes = roster.apply(reactor, settings);
            reactor.dial_anew();
            log::info!("reloaded: {changes}");
        }
        Err(Failure::Usage(why) | Failure::Failed(why)) => {
            log::error!("not reloaded, everything stays as it is: {why}");
            reactor.note_reload(false);
        }
        Err(_) => {}
    }
    reactor.ready();
}

/// What the configuration and the command line ask for.
fn settings(args: &Args) -> Result<Settings, Failure> {
    let mut settings = match &args.config {
        None => Settings::default(),
        Some(path) => JsonFile::read(path)
            .and_then(|file| Settings::from_file(&file))
            .map_err(Failure::failed)?,
    };
    if let Some(path) = &args.control {
        let spec = ControlSpec::new(path);
        let checked = spec.validate();
        checked.map_err(|why| Failure::Usage(format!("--control: {why}")))?;
        settings.control = Some(spec);
    }
    for text in &args.watch {
        let pattern = DirPattern::parse(text);
        let pattern = pattern.map_err(|why| Failure::Usage(format!("--watch: {why}")))?;
        settings.watch.push(pattern);
    }
    for dir in &args.instance {
        let place = format!("--instance {}", dir.display());
        let spec = settings.defaults.instance(dir).map_err(Failure::Usage)?;
        add(&mut settings, spec, &place)?;
    }
    for text in &args.vm {
        let place = format!("--vm {text}");
        let spec = vm_arg::parse(text, &settings.defaults)
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
