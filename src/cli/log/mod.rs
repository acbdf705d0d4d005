//! `seriald log`: NUL bytes that mode File left in old logs, found and taken out.
//!
//! Owns the wording, of lines and of JSON.
//! **Invariant:** one file that is wrong does not keep the others back; each is named on stderr.

mod nul_runs;
mod regular;
mod repair;
mod scan;

use crate::cli::log::nul_runs::{Piece, Run};
use crate::cli::log::regular::{Refusal, Regular, unreadable};
use crate::cli::log::repair::Repaired;
use crate::cli::log::scan::{Sum, scan};
use crate::cli::{Failure, complain, say};
use clap::Subcommand;
use serde_json::json;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Find the NUL bytes that Cloud Hypervisor's mode File left in logs, and take them out.
///
/// In mode File Cloud Hypervisor writes at an offset of its own: after an outside copytruncate the
/// log goes on there, and what lies before reads as NUL bytes: a hole of the file, or, in a copy of
/// it, plain NULs. What seriald itself writes has no holes: NULs in it are the guest's.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Say where runs of NUL bytes are, and how long. Changes nothing.
    ///
    /// Holes are skipped, not read. A log that is being written is read up to where it ended when
    /// the check began.
    ///
    /// Exit codes: 0 there is none, 1 there is one, or a file could not be read (stderr says which
    /// and why).
    ///
    /// With --json each line is an object: one for each run
    ///   {"path": "app.log", "run": {"offset": 0, "bytes": 262914, "sparse": 258048}}
    /// one for each file, after its runs
    ///   {"path": "app.log", "size": 353241, "runs": 1, "bytes": 262914, "sparse": 258048}
    /// or, for one that could not be read
    ///   {"path": "app.log", "error": "no such file"}
    /// and the last
    ///   {"total": {"files": 1, "with_runs": 1, "failed": 0, "runs": 1, "bytes": 262914,
    ///    "sparse": 258048}}
    ///
    /// Example: seriald log check /var/log/vms/*.log
    #[command(verbatim_doc_comment)]
    Check {
        #[command(flatten)]
        what: What,
        /// Print JSON, an object a line.
        #[arg(long)]
        json: bool,
    },
    /// Rewrite logs without their runs of NUL bytes.
    ///
    /// DO NOT repair a log that Cloud Hypervisor still writes in mode File: it would write on to
    /// the old file. Shut the VM down first, or turn it to mode Socket. What any process has open
    /// for writing is refused where the kernel tells (the file's owner, and root).
    ///
    /// A new file FILE.repairing is written and brought to the disk, then takes FILE's place in one
    /// step, with its mode, time and, where possible, owner and group (not its ACLs); the old one
    /// becomes FILE.before-repair. A file without a run is left alone. Refused, and left as they
    /// were, are symbolic links, what is no regular file or has a second hard link, what is locked
    /// (a running seriald), and what changes while it is read. A repair that is killed may leave
    /// FILE.repairing, which is to be removed.
    ///
    /// Exit codes: 0 each file has no run now, 1 one could not be repaired (stderr says which).
    ///
    /// Example: seriald log repair /var/log/vms/a.log
    #[command(verbatim_doc_comment)]
    Repair {
        #[command(flatten)]
        what: What,
        /// Do not keep the old file.
        #[arg(long)]
        no_backup: bool,
    },
}

#[derive(clap::Args)]
struct What {
    /// Logs and their backups.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// How many NUL bytes in a row count.
    ///
    /// Guests print some too, one by one, or a few to give a terminal time. A hole is as long as
    /// all that the guest had printed since its boot: hardly ever less than a line.
    #[arg(long, value_name = "N", default_value_t = 64, verbatim_doc_comment,
          value_parser = clap::value_parser!(u64).range(1..))]
    min_run: u64,
}

/// Runs the subcommand.
pub fn log(args: &Args) -> Result<(), Failure> {
    match &args.action {
        Action::Check { what, json } => check_all(what, *json),
        Action::Repair { what, no_backup } => repair_all(what, !no_backup),
    }
}

/// Checks each file. To have found something is a failure that was told.
fn check_all(what: &What, json: bool) -> Result<(), Failure> {
    let (mut total, mut with_runs, mut failed) = (Sum::default(), 0, 0);
    for path in &what.files {
        let found = check(path, what.min_run, &mut |run| {
            say(if json { run_as_json(path, run) } else { run_as_line(path, run) });
        });
        match found {
            Ok((size, sum)) => {
                total.join(sum);
                with_runs += usize::from(sum.runs > 0);
                let min = what.min_run;
                say(if json { file_as_json(path, size, sum) } else { line(path, size, sum, min) });
            }
            Err(why) => {
                failed += 1;
                if json {
                    say(json!({"path": path.to_string_lossy(), "error": why.to_string()}));
                }
                complain(format_args!("{}: {why}", path.display()));
            }
        }
    }
    let files = what.files.len();
    if json {
        say(json!({"total": {"files": files, "with_runs": with_runs, "failed": failed,
            "runs": total.runs, "bytes": total.bytes, "sparse": total.sparse}}));
    } else if files > 1 {
        say(format_args!(
            "total: {with_runs} of {files} files with {}, {} bytes, {} of them sparse",
            runs(total.runs),
            total.bytes,
            total.sparse
        ));
    }
    if with_runs + failed > 0 { Err(Failure::Told) } else { Ok(()) }
}

/// Tells the runs of one file as they are found; returns its size, and their sum.
fn check(path: &Path, min: u64, found: &mut impl FnMut(Run)) -> Result<(u64, Sum), Refusal> {
    let log = Regular::open_linked(path)?;
    let (size, mut sum) = (log.known.size(), Sum::default());
    let scanned: io::Result<()> = scan(&log.file, size, min, &mut |piece| {
        if let Piece::Run(run) = piece {
            sum.add(run);
            found(run);
        }
        Ok(())
    });
    scanned.map_err(|error| unreadable(&error))?;
    Ok((size, sum))
}

fn repair_all(what: &What, keep_old: bool) -> Result<(), Failure> {
    let mut failed = false;
    for path in &what.files {
        match repair::repair(path, what.min_run, keep_old) {
            Ok(repaired) => told(path, &repaired, what.min_run),
            Err(why) => {
                failed = true;
                complain(format_args!("{}: {why}", path.display()));
            }
        }
    }
    if failed { Err(Failure::Told) } else { Ok(()) }
}

fn told(path: &Path, repaired: &Repaired, min: u64) {
    let path = path.display();
    match repaired {
        Repaired::Untouched => {
            say(format_args!("{path}: no run of {min} NUL bytes or more, nothing changed"));
        }
        Repaired::Replaced { removed, left, backup, owner_lost } => {
            let old = backup.as_ref().map_or("the old file is gone".into(), |backup| {
                format!("the old file is {}", backup.display())
            });
            let (runs, bytes) = (runs(removed.runs), removed.bytes);
            say(format_args!("{path}: {runs} removed, {bytes} bytes; {left} bytes left; {old}"));
            if *owner_lost {
                say(format_args!("{path}: its owner or group could not be kept"));
            }
        }
    }
}

fn run_as_line(path: &Path, run: Run) -> String {
    let Run { offset, bytes, sparse } = run;
    format!("{}: at {offset}: {bytes} NUL bytes, {sparse} of them sparse", path.display())
}

fn line(path: &Path, size: u64, sum: Sum, min: u64) -> String {
    let path = path.display();
    if sum.runs == 0 {
        return format!("{path}: no run of {min} NUL bytes or more");
    }
    let Sum { bytes, sparse, .. } = sum;
    format!("{path}: {}, {bytes} of {size} bytes, {sparse} of them sparse", runs(sum.runs))
}

fn runs(count: u64) -> String {
    format!("{count} {}", if count == 1 { "run" } else { "runs" })
}

fn run_as_json(path: &Path, run: Run) -> String {
    let of_run = json!({"offset": run.offset, "bytes": run.bytes, "sparse": run.sparse});
    json!({"path": path.to_string_lossy(), "run": of_run}).to_string()
}

fn file_as_json(path: &Path, size: u64, sum: Sum) -> String {
    let path = path.to_string_lossy();
    let Sum { runs, bytes, sparse } = sum;
    json!({"path": path, "size": size, "runs": runs, "bytes": bytes, "sparse": sparse}).to_string()
}
