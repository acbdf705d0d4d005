//! seriald, as a release binary with a configuration file.

use super::{Collector, Workshop, build, package};
use crate::loads::{Load, Work};
use crate::site::Site;
use anyhow::{Context, Result, bail};
use serde::Serialize;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// So large that nothing is rotated: a TiB, the most that is allowed.
const NEVER: u64 = 1 << 40;
/// seriald counts turns up to 50, 100, 250, 500, 1000, 2500 us and so on.
const TURNS_UP_TO_2500_US: usize = 6;

/// What seriald says about itself at its end. Other counters are left in the raw text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Told {
    /// Its longest turn, in microseconds.
    pub turn_us_max: u64,
    /// Its turns.
    pub turns: u64,
    /// Those of more than 2.5 ms.
    pub long_turns: u64,
    /// Reads that brought bytes.
    pub reads: u64,
    /// Those that found the socket full.
    pub socket_full_reads: u64,
    /// Rotations done.
    pub rotations: u64,
}

/// Finds the counters in what seriald said: the last line with `stats: {...}`. `None`: it told
/// nothing.
pub fn told(said: &str) -> Option<Told> {
    let json = said.lines().rev().find_map(|line| Some(line.split_once("stats: {")?.1))?;
    let stats: Value = serde_json::from_str(&format!("{{{json}")).ok()?;
    let long = stats["turn_us_counts"].as_array()?.iter().skip(TURNS_UP_TO_2500_US);
    Some(Told {
        turn_us_max: stats["turn_us_max"].as_u64()?,
        turns: stats["turns"].as_u64()?,
        long_turns: long.filter_map(Value::as_u64).sum(),
        reads: stats["reads"].as_u64()?,
        socket_full_reads: stats["socket_full_reads"].as_u64()?,
        rotations: stats["rotations"].as_u64()?,
    })
}

/// seriald.
pub struct Seriald {
    binary: PathBuf,
    coalesce: Duration,
    version: String,
}

impl Seriald {
    /// Takes the binary that is named, or builds it.
    ///
    /// # Errors
    /// Where it can't be built or run.
    pub fn make(workshop: &Workshop) -> Result<Seriald> {
        let binary = match workshop.seriald {
            Some(path) => path.to_path_buf(),
            None => build::cargo(&package().join("../../Cargo.toml"), "seriald")?,
        };
        let version = build::said_by(&binary, &["--version"]);
        let version = version.with_context(|| format!("can't run {}", binary.display()))?;
        if !version.starts_with("seriald ") {
            bail!("{} is no seriald", binary.display());
        }
        Ok(Seriald { binary, coalesce: workshop.coalesce, version })
    }

    fn config(&self, site: &Site, load: &Load) -> Value {
        let (mode, max_bytes) = match load.work {
            Work::Rotation { mode, max_bytes, .. } => (mode, max_bytes),
            _ => ("rename", NEVER),
        };
        let vms: Vec<Value> = site
            .vms
            .iter()
            .map(|vm| json!({"id": vm.id, "serial": vm.socket, "log": vm.log}))
            .collect();
        let log = json!({"max_bytes": max_bytes, "mode": mode, "max_age_s": null, "keep": 4});
        let mut config =
            json!({"coalesce_us": self.coalesce.as_micros() as u64, "log": log, "vms": vms});
        if load.work.asks() {
            config["control"] = json!(site.control());
        }
        config
    }
}

impl Collector for Seriald {
    fn name(&self) -> &'static str {
        "seriald"
    }

    fn version(&self) -> String {
        self.version.clone()
    }

    fn rotates(&self) -> bool {
        true
    }

    fn serves_consoles(&self) -> bool {
        true
    }

    fn commands(&self, site: &Site, load: &Load) -> Result<Vec<Command>> {
        let config = site.write("seriald.json", &self.config(site, load).to_string())?;
        let mut command = Command::new(&self.binary);
        command.arg("run").arg("--config").arg(config);
        Ok(vec![command])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_counters_are_read_whatever_stands_before_them() {
        let said = "[INFO] 1 VMs in charge\n[INFO] stats: {\"turns\":1,\"turn_us_max\":1,\
            \"turn_us_counts\":[],\"reads\":2,\"socket_full_reads\":0,\"rotations\":0}\n\
            [2026-01-01T00:00:00Z INFO] stats: {\"turns\":7,\"turn_us_max\":310,\
            \"turn_us_counts\":[0,0,1,2,0,0,3,0,0,1],\"reads\":9,\"socket_full_reads\":4,\
            \"rotations\":5,\"ends\":{\"reboots\":0}}\n[INFO] bye\n";
        let expected = Told {
            turn_us_max: 310,
            turns: 7,
            long_turns: 4,
            reads: 9,
            socket_full_reads: 4,
            rotations: 5,
        };
        assert_eq!(told(said), Some(expected));
    }

    #[test]
    fn a_seriald_that_tells_nothing_is_no_error() {
        assert_eq!(told("[INFO] 1 VMs in charge\n"), None);
        assert_eq!(told("stats: {\"turns\": 7}"), None);
    }
}
