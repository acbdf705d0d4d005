//! `seriald snapshot`: a snapshot's serial section and paths, shown and changed.
//!
//! Owns the wording; [`seriald::ch::snapshot`] does the work.
//! **Invariant:** a call that failed has changed nothing; one that is repeated adds nothing.

use crate::cli::asking::each::check_ids;
use crate::cli::asking::{Socket, printable};
use crate::cli::{Failure, say};
use clap::Subcommand;
use serde_json::json;
use seriald::ch::snapshot::{self, Fork, Shown, SnapshotPath, Upgrade, Use};
use std::path::PathBuf;

/// Take a snapshot, show its paths, set its serial port to a socket, or make it a fork's.
///
/// Snapshots are Cloud Hypervisor's, as vm.snapshot writes them: a Cloud Hypervisor snapshot is a
/// directory with config.json, state.json and the guest's memory.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Have a running seriald take a snapshot of a VM, which runs on after it.
    ///
    /// What its guest has said is brought into its log first, as it would be in no snapshot.
    ///
    /// Example: seriald snapshot take web-1 /var/lib/vms/web-1/snapshot
    #[command(verbatim_doc_comment)]
    Take {
        /// The VM's name.
        id: String,
        /// Where it goes: a directory, which must exist, or a URL as Cloud Hypervisor has it.
        #[arg(value_name = "DIR")]
        to: String,
        #[command(flatten)]
        socket: Socket,
    },
    /// Show the serial section and every path that a restore would use. Changes nothing.
    ///
    /// Example: seriald snapshot show /var/lib/vms/a/snapshot
    #[command(verbatim_doc_comment)]
    Show {
        /// The directory with config.json and state.json, as vm.snapshot wrote them.
        dir: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Set the serial port from mode File to mode Socket.
    ///
    /// A restore of a File-mode snapshot truncates the log it names; one of Socket mode binds the
    /// socket, and `seriald run` or `seriald launch` keeps the log. Everything else in config.json
    /// stays byte for byte. May be repeated.
    ///
    /// Example: seriald snapshot upgrade /vms/a/snapshot --socket /vms/a/serial.sock
    #[command(verbatim_doc_comment)]
    Upgrade {
        /// The directory with config.json.
        dir: PathBuf,
        /// Where Cloud Hypervisor is to bind the serial socket.
        #[arg(long, value_name = "PATH")]
        socket: PathBuf,
    },
    /// Rewrite every path below one instance directory to the same place below another.
    ///
    /// For a copy of a snapshot that is to run beside its source: else both would use the same
    /// disks and sockets. Lists what was rewritten and what the two still share. May be repeated.
    ///
    /// Example: seriald snapshot fork /vms/b/snapshot --from /vms/a --to /vms/b
    #[command(verbatim_doc_comment)]
    Fork {
        /// The copy: the directory with its config.json and state.json.
        dir: PathBuf,
        /// The source's instance directory, absolute.
        #[arg(long, value_name = "OLD")]
        from: PathBuf,
        /// The fork's instance directory, absolute.
        #[arg(long, value_name = "NEW")]
        to: PathBuf,
    },
}

fn take(id: &str, to: &str, socket: &Socket) -> Result<(), Failure> {
    check_ids(&[id.to_owned()])?;
    let url = match to.contains("://") {
        true => to.to_owned(),
        false => {
            let whole = std::path::absolute(to).map_err(Failure::failed)?;
            format!("file://{}", whole.display())
        }
    };
    let body = json!({ "url": url }).to_string();
    socket.ask_within("POST", &format!("/v1/vms/{id}/snapshot"), &body, None)?;
    say(format_args!("{id}: snapshot taken into {}", printable(&url)));
    Ok(())
}

/// Runs the subcommand.
pub fn snapshot(args: Args) -> Result<(), Failure> {
    match args.action {
        Action::Take { id, to, socket } => take(&id, &to, &socket)?,
        Action::Show { dir, json } => {
            let shown = snapshot::show(&dir).map_err(Failure::failed)?;
            if json { say(as_json(&shown)) } else { show(&shown) }
        }
        Action::Upgrade { dir, socket } => {
            let done = snapshot::upgrade(&dir, &socket).map_err(Failure::failed)?;
            say(format_args!("{}: {}", dir.display(), upgraded(&done)));
        }
        Action::Fork { dir, from, to } => {
            forked(&snapshot::fork(&dir, &from, &to).map_err(Failure::failed)?);
        }
    }
    Ok(())
}

fn show(shown: &Shown) {
    let serial = shown.serial.clone().unwrap_or_default();
    let mode = serial.mode.as_deref().unwrap_or("unset (no serial output)");
    let path = if serial.is_file() { serial.file } else { serial.socket };
    say(format_args!("serial  {mode}  {}", path.unwrap_or_default()).to_string().trim_end());
    if mode == "File" {
        say("        a restore truncates this file: see `seriald snapshot upgrade --help`");
    }
    for path in &shown.paths {
        say(line(path));
    }
}

fn line(path: &SnapshotPath) -> String {
    format!("{} {}  {}", path.file, path.at, path.path)
}

fn as_json(shown: &Shown) -> serde_json::Value {
    let serial = shown
        .serial
        .as_ref()
        .map(|serial| json!({"mode": serial.mode, "file": serial.file, "socket": serial.socket}));
    let paths = shown.paths.iter().map(|path| {
        let socket = path.of == Use::Socket;
        json!({"file": path.file, "at": path.at, "path": path.path, "socket": socket})
    });
    json!({"serial": serial, "paths": paths.collect::<Vec<_>>()})
}

fn upgraded(done: &Upgrade) -> String {
    let was = |path: &Option<String>| path.clone().unwrap_or_else(|| "no path".into());
    match done {
        Upgrade::Upgraded { from, to } => format!("mode File ({}) -> Socket ({to})", was(from)),
        Upgrade::Moved { from, to } => format!("mode Socket, path {} -> {to}", was(from)),
        Upgrade::AlreadySocket { path } => format!("mode Socket ({path}) already, nothing changed"),
        Upgrade::NotFile { mode } => format!(
            "mode {}, not File: nothing changed",
            mode.as_deref().unwrap_or("unset (no serial output)")
        ),
    }
}

fn forked(fork: &Fork) {
    for rewritten in &fork.rewritten {
        say(format_args!("rewritten  {} -> {}", line(&rewritten.from), rewritten.to));
    }
    for path in &fork.kept {
        say(format_args!("shared     {}", line(path)));
    }
    if fork.rewritten.is_empty() {
        say("nothing lies under the old directory, nothing changed");
    }
}
