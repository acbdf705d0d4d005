//! The binary under test.
//!
//! **Invariant:** it gets its whole configuration from a file in the test's own directory.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::process::Process;

/// A configuration for `run` with one VM.
pub fn configuration(serial: &Path, log: &Path, log_options: Value) -> Value {
    json!({"log": log_options, "vms": [{"id": "guest", "serial": serial, "log": log}]})
}

/// Starts `seriald run` with that configuration.
pub fn run(dir: &Path, configuration: &Value) -> Process {
    let file = dir.join("seriald.json");
    fs::write(&file, configuration.to_string()).expect("a configuration file");
    let mut command = Command::new(env!("CARGO_BIN_EXE_seriald"));
    Process::start("seriald", dir, command.arg("run").arg("--config").arg(file))
}
