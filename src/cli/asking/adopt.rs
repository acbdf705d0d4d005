//! `seriald adopt`: a running seriald takes charge of one more VM.
//!
//! Owns the request's body.
//! **Invariant:** relative paths are taken from the current directory of whoever types, not of the
//! one who is asked.

use super::each::check_ids;
use super::{Failure, Socket};
use crate::cli::say;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// Have a running seriald take charge of one more VM.
///
/// It stays in charge over reloads and upgrades until it is released or seriald ends. What is not
/// said here is as the configuration has it. For a VM that is in charge already, with the same
/// paths, nothing changes.
///
/// Examples:
///   seriald adopt web-1 --dir /var/lib/vms/web-1
///   seriald adopt web-2 --serial /run/web-2.sock --log /var/log/vms/web-2.log
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The VM's name.
    #[arg(value_name = "ID")]
    id: String,
    /// An instance directory: serial.sock, logs/app.log and ch.sock in it, unless said otherwise.
    #[arg(long, value_name = "DIR", required_unless_present_all = ["serial", "log"])]
    dir: Option<PathBuf>,
    /// Its serial socket.
    #[arg(long, value_name = "PATH")]
    serial: Option<PathBuf>,
    /// Its log.
    #[arg(long, value_name = "PATH")]
    log: Option<PathBuf>,
    /// Cloud Hypervisor's API socket.
    #[arg(long, value_name = "PATH")]
    api: Option<PathBuf>,
    #[command(flatten)]
    socket: Socket,
}

/// Runs the subcommand.
pub fn adopt(args: &Args) -> Result<(), Failure> {
    let id = &args.id;
    check_ids(std::slice::from_ref(id))?;
    let paths =
        [("dir", &args.dir), ("serial", &args.serial), ("log", &args.log), ("api", &args.api)];
    let mut body = Map::new();
    for (key, path) in paths {
        if let Some(path) = path {
            body.insert(key.to_owned(), absolute(path)?);
        }
    }
    args.socket.ask("PUT", &format!("/v1/vms/{id}"), &Value::Object(body).to_string())?;
    say(format_args!("{id}: in charge"));
    Ok(())
}

/// The whole path, as JSON.
pub(super) fn absolute(path: &Path) -> Result<Value, Failure> {
    let wrong = |why: &dyn std::fmt::Display| Failure::Usage(format!("{}: {why}", path.display()));
    let whole = std::path::absolute(path).map_err(|error| wrong(&error))?;
    let text = whole.to_str().ok_or_else(|| wrong(&"is not UTF-8, which JSON must be"))?;
    Ok(text.into())
}
