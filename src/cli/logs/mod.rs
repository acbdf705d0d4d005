//! `seriald logs`: what a guest has printed, over all rotations.
//!
//! Owns the choice of where it comes from.
//! **Invariant:** bytes that are missing are told on stderr, where they are missed, and never
//! skipped in silence. On a terminal nothing is shown but text, unless --raw asks for it; into a
//! pipe go the guest's own bytes.

mod asked;
mod files;
mod show;
mod time;

use crate::cli::asking::Socket;
use crate::cli::asking::each::check_ids;
use crate::cli::config_file::Settings;
use crate::cli::terminal::{self, is_reader_gone, is_shown, wait};
use crate::cli::{Failure, complain};
use asked::{Asked, Wanted};
use files::{Begin, Files};
use rustix::event::{PollFd, PollFlags};
use seriald::config::LogSpec;
use seriald::keys::json_file::JsonFile;
use show::{Piece, Show};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Print what a VM's guest has printed, over all rotations.
///
/// All that is still there, or the last lines (-n), or from a time or a byte on; with -f also what
/// comes, from the last 10 lines on unless told otherwise, until Ctrl-C, or until the VM is let go
/// of. A running seriald is asked, and asked again if it is upgraded meanwhile. With --log or
/// --config the files are read, and no seriald is needed.
///
/// On a terminal the guest's escape sequences are taken out, and what else is no text is shown as
/// \x07, \xff or \u{202e}; --raw leaves all as it is. Into a pipe or a file it goes as it is
/// anyway. Bytes that are missing (a backup that is no longer kept, a full disk) are told on
/// stderr, with how many and why.
///
/// Times are those of the records beside the log: a second's precision while a guest prints much.
///
/// Exit codes: 0 all was printed, or whoever read it has gone away; 1 failed; 130 Ctrl-C.
///
/// Examples:
///   seriald logs web-1 -n 100
///   seriald logs web-1 -f --timestamps
///   seriald logs web-1 --since 10m | grep -a panic
///   seriald logs --log /var/log/vms/web-1.log --since 2026-01-31T12:00:00Z --until 1h
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The VM's name.
    #[arg(value_name = "ID", required_unless_present = "log")]
    id: Option<String>,
    /// Go on with what the guest prints.
    #[arg(short, long, conflicts_with = "until")]
    follow: bool,
    /// The last N lines.
    #[arg(short = 'n', long, value_name = "N", conflicts_with_all = ["since", "offset"])]
    lines: Option<u64>,
    /// From this time on: as 2026-01-31T12:00:00Z, or as 10m, so long ago.
    #[arg(long, value_name = "T", conflicts_with = "offset")]
    since: Option<String>,
    /// Up to this time.
    #[arg(long, value_name = "T")]
    until: Option<String>,
    /// From this byte on, counted from the VM's first one.
    #[arg(long, value_name = "N")]
    offset: Option<u64>,
    /// Begin each line with its time.
    #[arg(short, long)]
    timestamps: bool,
    /// Leave escape sequences in on a terminal: the guest then can do there whatever it wants.
    #[arg(long)]
    raw: bool,
    /// Read this log and its backups, without asking a seriald.
    #[arg(long, value_name = "PATH", conflicts_with = "config")]
    log: Option<PathBuf>,
    /// Read the log that this configuration names for the VM, without asking a seriald.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    socket: Socket,
}

/// Lines before what is followed.
const LINES_BEFORE: u64 = 10;
/// How often files are looked at that are followed.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// Runs the subcommand.
pub fn logs(args: &Args) -> Result<(), Failure> {
    check_ids(args.id.as_slice())?;
    let now = SystemTime::now();
    let time = |name: &str, text: &Option<String>| match text {
        None => Ok(None),
        Some(text) => {
            let time = time::parse(text, now);
            time.map(Some).map_err(|why| Failure::Usage(format!("{name} {text:?} {why}")))
        }
    };
    let (since, until) = (time("--since", &args.since)?, time("--until", &args.until)?);
    let from = match (args.lines, since, args.offset) {
        (Some(lines), ..) => Begin::Lines(lines),
        (_, Some(since), _) => Begin::Time(since),
        (.., Some(offset)) => Begin::Offset(offset),
        _ if args.follow => Begin::Lines(LINES_BEFORE),
        _ => Begin::Start,
    };
    let id = args.id.as_deref();
    let spec = match (&args.log, &args.config, id) {
        (Some(path), ..) => Some(LogSpec::new(path)),
        (_, Some(config), Some(id)) => Some(log_of(config, id)?),
        _ => None,
    };
    let log_name = spec.as_ref().map(|spec| spec.path.display().to_string());
    let name = id.map(str::to_owned).or(log_name).unwrap_or_default();
    let show = Show::new(args.timestamps, is_shown() && !args.raw);
    let mut printer = Printer { name, show };
    match (spec, id) {
        (Some(spec), _) => read_files(&spec, from, until, args.follow, &mut printer)?,
        (None, id) => {
            let id = id.unwrap_or_default();
            let wanted = Wanted { id, from, until, follow: args.follow };
            ask(&args.socket, wanted, &mut printer)?;
        }
    }
    printer.finish()
}

/// The log of a VM that a configuration names, by itself or by a pattern.
fn log_of(config: &Path, id: &str) -> Result<LogSpec, Failure> {
    let file = JsonFile::read(config).map_err(Failure::failed)?;
    let settings = Settings::from_file(&file).map_err(Failure::failed)?;
    if let Some(vm) = settings.vms.iter().find(|vm| vm.id == id) {
        return Ok(vm.log.clone());
    }
    let mut named = settings.watch.iter().flat_map(|pattern| {
        let dirs = glob::glob(pattern.as_str()).into_iter().flatten().flatten();
        dirs.filter(|dir| dir.is_dir() && dir.file_name().is_some_and(|name| name == id))
    });
    if let Some(dir) = named.next() {
        let vm = settings.defaults.instance(&dir).map_err(Failure::Failed)?;
        return Ok(vm.log);
    }
    Err(Failure::Failed(format!("{} names no VM {id:?}", config.display())))
}

fn read_files(
    spec: &LogSpec,
    from: Begin,
    until: Option<Duration>,
    follow: bool,
    printer: &mut Printer,
) -> Result<(), Failure> {
    let mut files = Files::open(spec, from, until).map_err(Failure::failed)?;
    loop {
        let pieces = files.read().map_err(Failure::failed)?;
        if pieces.is_empty() && !follow {
            return Ok(());
        }
        let is_idle = pieces.is_empty();
        if !printer.print(pieces)? || (is_idle && !pause()?) {
            return Ok(());
        }
    }
}

/// Waits a moment; whether somebody reads what is printed.
fn pause() -> Result<bool, Failure> {
    let stdout = io::stdout();
    let mut fds = [PollFd::new(&stdout, PollFlags::empty())];
    wait(&mut fds, Some(LOOK_INTERVAL)).map_err(Failure::failed)?;
    Ok(!is_reader_gone(&fds[0]))
}

fn ask(socket: &Socket, wanted: Wanted<'_>, printer: &mut Printer) -> Result<(), Failure> {
    let mut asked = Asked::begin(socket, wanted).map_err(|why| match why {
        Failure::Failed(why) if why.starts_with("no seriald can be asked") => {
            Failure::Failed(format!("{why}; or read the log's files, by --log or --config"))
        }
        why => why,
    })?;
    while let Some(pieces) = asked.read()? {
        if !printer.print(pieces)? {
            break;
        }
    }
    Ok(())
}

/// Where pieces are printed.
struct Printer {
    /// Whose they are.
    name: String,
    show: Show,
}

impl Printer {
    /// Whether somebody reads it.
    fn print(&mut self, pieces: Vec<Piece>) -> Result<bool, Failure> {
        for piece in show::joined(pieces) {
            let is_read = match piece {
                Piece::Bytes { time, bytes, .. } => write(&self.show.bytes(&bytes, time))?,
                Piece::Missing { offset, bytes, why } => {
                    self.say(&show::missing(&self.name, offset, bytes, &why))?
                }
            };
            if !is_read {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Something of ours, on a line of its own where both go to a terminal.
    fn say(&mut self, what: &str) -> Result<bool, Failure> {
        let mut before = self.show.finish();
        if is_shown() && self.show.is_in_line() {
            before.push(b'\n');
            self.show.begin_line();
        }
        let is_read = write(&before)?;
        complain(what);
        Ok(is_read)
    }

    fn finish(&mut self) -> Result<(), Failure> {
        write(&self.show.finish()).map(|_| ())
    }
}

fn write(bytes: &[u8]) -> Result<bool, Failure> {
    let printed = terminal::print(bytes);
    printed.map_err(|error| Failure::Failed(format!("cannot write to stdout: {error}")))
}
