//! `seriald ls`: the VMs in charge.
//!
//! Owns the columns.
//! **Invariant:** sorted by name; what a person reads is escaped, what a program reads is JSON.

use super::{Socket, printable};
use crate::cli::{Failure, say};
use serde_json::Value;

/// List the VMs that a running seriald has in charge.
///
/// One line a VM: its name, state, the VMM's pid, bytes read from its console, bytes in its log's
/// present generation, bytes lost, and the log. --json gives all that is known of each, as
/// GET /v1/vms does.
///
/// Example: seriald ls --control /run/seriald/control.sock
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// For programs: a JSON array, sorted by name.
    #[arg(long)]
    json: bool,
    /// Names alone, one a line.
    #[arg(long, conflicts_with = "json")]
    ids: bool,
    #[command(flatten)]
    socket: Socket,
}

const HEADINGS: [&str; 7] = ["ID", "STATE", "PID", "READ", "SIZE", "LOST", "LOG"];

/// Runs the subcommand.
pub fn ls(args: &Args) -> Result<(), Failure> {
    let mut answer = args.socket.ask("GET", "/v1/vms", "")?;
    let mut vms = match answer["vms"].take() {
        Value::Array(vms) => vms,
        _ => return Err(Failure::Failed("the answer has no list of VMs".into())),
    };
    vms.sort_by(|one, other| one["id"].as_str().cmp(&other["id"].as_str()));
    if args.json {
        say(Value::Array(vms));
        return Ok(());
    }
    if args.ids {
        vms.iter().filter_map(|vm| vm["id"].as_str()).for_each(say);
        return Ok(());
    }
    let rows: Vec<[String; 7]> = vms.iter().map(row).collect();
    for line in table(&rows) {
        say(line);
    }
    Ok(())
}

fn row(vm: &Value) -> [String; 7] {
    let cell = |value: &Value| match value {
        Value::String(text) => printable(text),
        Value::Null => "-".to_owned(),
        value => value.to_string(),
    };
    let lost = &vm["log_counters"]["lost_bytes"];
    let keys = ["id", "state", "pid", "read_bytes", "log_bytes"].map(|key| &vm[key]);
    let [id, state, pid, read, size] = keys.map(cell);
    [id, state, pid, read, size, cell(lost), cell(&vm["log"])]
}

/// The rows below their headings, each column as wide as its widest; numbers to the right.
fn table(rows: &[[String; 7]]) -> Vec<String> {
    let headings = HEADINGS.map(str::to_owned);
    let all = || [&headings].into_iter().chain(rows);
    let width = |column: usize| all().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 7] = std::array::from_fn(width);
    let line = |row: &[String; 7]| {
        let cells =
            row.iter().zip(widths).enumerate().map(|(column, (cell, width))| match column {
                2..=5 => format!("{cell:>width$}"),
                _ => format!("{cell:<width$}"),
            });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    all().map(line).collect()
}
