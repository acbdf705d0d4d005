//! A snapshot: `config.json`, `state.json` and `memory-ranges` in a directory.
//!
//! `config.json` is the whole configuration, `serial` as it was given. `state.json` has the shape
//! of CH's: components nested by name, each with its state as JSON inside of a *string*; a disk's
//! path stands there (`disk_path`) and the serial socket's doesn't. The made-up part is the vCPU's
//! state: it holds the guest's position. What v53 has in its ring is in no snapshot.
//!
//! **Invariant:** an existing file is never overwritten, as CH refuses to.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::config::Config;
use super::guest::Stage;
use super::release::Release;

/// What a snapshot holds.
pub struct Snapshot {
    /// The VM's configuration.
    pub config: Config,
    /// The guest's next byte.
    pub offset: u64,
    /// What the guest is at.
    pub stage: Stage,
    /// What it echoed so far.
    pub echo: Vec<u8>,
    /// Input that it has not echoed.
    pub input: Vec<u8>,
}

/// Why it failed, in CH's words.
type Words = Vec<String>;

impl Snapshot {
    /// Writes the three files.
    ///
    /// # Errors
    /// CH's words.
    pub fn write(&self, url: &str) -> Result<(), Words> {
        let dir = directory(url)?;
        create(
            &dir.join("config.json"),
            "config",
            self.config.json.to_string().as_bytes(),
        )?;
        create(
            &dir.join("state.json"),
            "state",
            self.state().to_string().as_bytes(),
        )?;
        // The guest's memory is empty; a hole of its size costs nothing.
        let memory = dir.join("memory-ranges");
        create(&memory, "memory", b"")?;
        let sized = OpenOptions::new().write(true).open(&memory);
        sized
            .and_then(|file| file.set_len(self.config.memory_bytes()))
            .map_err(|error| vec![error.to_string()])
    }

    /// Reads the configuration and the state.
    ///
    /// # Errors
    /// CH's words.
    pub fn read(url: &str, release: Release) -> Result<Self, Words> {
        let dir = directory(url)?;
        let text = load(&dir.join("config.json"))?;
        let config = Config::parse(&text, release).map_err(|error| vec![error])?;
        let text = load(&dir.join("state.json"))?;
        let state: Value =
            serde_json::from_slice(&text).map_err(|error| vec![error.to_string()])?;
        let vcpu = &state["snapshots"]["cpu-manager"]["snapshots"]["0"]["snapshot_data"]["state"];
        let vcpu: Value = serde_json::from_str(vcpu.as_str().unwrap_or_default())
            .map_err(|error| vec![format!("vCPU state: {error}")])?;
        let guest = &vcpu["ch_sim_guest"];
        let bytes = |value: &Value| -> Vec<u8> {
            let numbers = value.as_array().into_iter().flatten();
            numbers
                .filter_map(Value::as_u64)
                .map(|number| number as u8)
                .collect()
        };
        Ok(Self {
            config,
            offset: guest["offset"].as_u64().unwrap_or_default(),
            stage: stage_of(guest["stage"].as_str().unwrap_or_default()),
            echo: bytes(&guest["echo"]),
            input: bytes(&guest["input"]),
        })
    }

    fn state(&self) -> Value {
        let leaf =
            |state: Value| json!({"snapshots": {}, "snapshot_data": {"state": state.to_string()}});
        let guest = json!({
            "offset": self.offset,
            "stage": word_of(self.stage),
            "echo": self.echo,
            "input": self.input,
        });
        let mut devices = json!({
            "__serial": leaf(json!({
                "baud_divisor": 12, "interrupt_enable": 0, "interrupt_identification": 1,
                "line_control": 3, "line_status": 96, "modem_control": 8, "modem_status": 176,
                "scratch": 0, "in_buffer": self.input,
            })),
            "__rng": leaf(json!({"avail_features": 5_637_144_576_u64, "acked_features": 0})),
        });
        for (number, path) in self.config.disks().enumerate() {
            let disk = json!({"disk_path": path, "disk_nsectors": 2048, "avail_features": 0});
            devices[format!("_disk{number}")] = leaf(disk);
        }
        json!({
            "snapshots": {
                "cpu-manager": {"snapshots": {"0": leaf(json!({"ch_sim_guest": guest}))}},
                "device-manager": {
                    "snapshots": devices,
                    "snapshot_data": {"state": json!({"device_id_cnt": 1}).to_string()},
                },
                "memory-manager": leaf(json!({"memory_ranges": [
                    {"gpa": 0, "length": self.config.memory_bytes()},
                ]})),
            },
            "snapshot_data": {"state": "{}"},
        })
    }
}

/// Whether the memory is there, which CH opens after it has bound the serial path.
///
/// # Errors
/// CH's words.
pub fn check_memory(url: &str) -> Result<(), Words> {
    load(&directory(url)?.join("memory-ranges")).map(drop)
}

fn directory(url: &str) -> Result<PathBuf, Words> {
    let Some(path) = url.strip_prefix("file://") else {
        return Err(vec![format!("Could not extract path from URL: {url}")]);
    };
    let path = PathBuf::from(path);
    match path.is_dir() {
        true => Ok(path),
        false => Err(vec![format!("Destination is not a directory: {path:?}")]),
    }
}

fn create(path: &Path, what: &str, text: &[u8]) -> Result<(), Words> {
    let failed = |error: std::io::Error| {
        vec![
            format!("Error creating VM {what} snapshot file"),
            error.to_string(),
        ]
    };
    let mut how = OpenOptions::new();
    let mut file = how
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(failed)?;
    file.write_all(text).map_err(failed)
}

fn load(path: &Path) -> Result<Vec<u8>, Words> {
    let size = fs::metadata(path)
        .map_err(|error| vec![error.to_string()])?
        .len();
    if path.ends_with("memory-ranges") {
        return Ok(size.to_le_bytes().to_vec());
    }
    fs::read(path).map_err(|error| vec![error.to_string()])
}

fn word_of(stage: Stage) -> &'static str {
    match stage {
        Stage::Printing => "printing",
        Stage::Echoing => "echoing",
        Stage::Ending => "ending",
    }
}

fn stage_of(word: &str) -> Stage {
    match word {
        "echoing" => Stage::Echoing,
        "ending" => Stage::Ending,
        _ => Stage::Printing,
    }
}
