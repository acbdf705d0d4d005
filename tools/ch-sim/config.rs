//! A VM's configuration: the JSON of `vm.create`, completed as CH completes it.
//!
//! **Invariant:** whatever the client gave is kept as it gave it; only absent keys are added.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Value, json};

use super::release::Release;

/// What is asked of a configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// The whole, as `vm.info` shows it and a snapshot holds it.
    pub json: Value,
    known: Known,
}

/// The parts that ch-sim acts on.
#[derive(Clone, Debug, Default, Deserialize)]
struct Known {
    payload: Option<Payload>,
    serial: Option<Console>,
    console: Option<Console>,
    disks: Option<Vec<Disk>>,
}

/// What is booted.
#[derive(Clone, Debug, Default, Deserialize)]
struct Payload {
    kernel: Option<PathBuf>,
    firmware: Option<PathBuf>,
    cmdline: Option<String>,
}

/// A disk.
#[derive(Clone, Debug, Default, Deserialize)]
struct Disk {
    path: Option<PathBuf>,
}

/// A serial port or a console.
#[derive(Clone, Debug, Deserialize)]
pub struct Console {
    /// Where its output goes.
    pub mode: Mode,
    /// For mode File; ignored in others.
    pub file: Option<PathBuf>,
    /// For mode Socket; ignored in others.
    pub socket: Option<PathBuf>,
}

/// The modes that CH knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Mode {
    /// No device.
    Off,
    /// A pseudo-terminal.
    Pty,
    /// CH's own terminal.
    Tty,
    /// A file.
    File,
    /// A Unix socket.
    Socket,
    /// A device whose output goes nowhere.
    Null,
}

impl Config {
    /// Parses a configuration and adds what is absent.
    ///
    /// # Errors
    /// The JSON parser's words.
    pub fn parse(text: &[u8], release: Release) -> Result<Self, String> {
        let known: Known = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        let mut json: Value = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        complete(&mut json, release);
        Ok(Self { json, known })
    }

    /// The serial port; without one in the configuration output goes nowhere.
    pub fn serial(&self) -> Console {
        self.known.serial.clone().unwrap_or(Console {
            mode: Mode::Null,
            file: None,
            socket: None,
        })
    }

    /// Whether the console is wished on a socket, which CH refuses: only the serial port has it.
    pub fn wants_console_socket(&self) -> bool {
        let console = self.known.console.as_ref();
        console.is_some_and(|console| console.mode == Mode::Socket)
    }

    /// The kernel's or the firmware's path.
    pub fn boot_item(&self) -> Option<&Path> {
        let payload = self.known.payload.as_ref()?;
        payload.kernel.as_deref().or(payload.firmware.as_deref())
    }

    /// The kernel's command line: the guest's script.
    pub fn cmdline(&self) -> &str {
        let payload = self.known.payload.as_ref();
        payload
            .and_then(|payload| payload.cmdline.as_deref())
            .unwrap_or_default()
    }

    /// The paths of the disks.
    pub fn disks(&self) -> impl Iterator<Item = &Path> {
        let disks = self.known.disks.iter().flatten();
        disks.filter_map(|disk| disk.path.as_deref())
    }

    /// Bytes of memory.
    pub fn memory_bytes(&self) -> u64 {
        self.json["memory"]["size"].as_u64().unwrap_or_default()
    }
}

fn complete(json: &mut Value, release: Release) {
    let defaults = json!({
        "cpus": {"boot_vcpus": 1, "max_vcpus": 1, "kvm_hyperv": false, "max_phys_bits": 46,
            "features": {"amx": false}},
        "memory": {"size": 536_870_912_u64, "mergeable": false, "hotplug_method": "Acpi",
            "shared": false, "hugepages": false, "prefault": false, "thp": true},
        "rng": {"src": "/dev/urandom"},
        "serial": {"mode": "Null"},
        "console": {"mode": "Tty"},
        "debug_console": {"mode": "Off", "iobase": 233},
        "pvpanic": false, "iommu": false, "watchdog": false, "landlock_enable": false,
    });
    add_absent(json, &defaults);
    if release.writes_nulls() {
        let nulls = json!({
            "payload": {"firmware": null, "kernel": null, "cmdline": null, "initramfs": null},
            "serial": {"file": null, "iommu": false, "socket": null},
            "console": {"file": null, "iommu": false, "socket": null},
            "disks": null, "net": null, "fs": null, "pmem": null, "devices": null, "vdpa": null,
            "vsock": null, "numa": null, "tpm": null, "balloon": null, "landlock_rules": null,
        });
        add_absent(json, &nulls);
    }
}

/// Adds the keys of `from` that are not there, inside of objects too.
fn add_absent(json: &mut Value, from: &Value) {
    let (Value::Object(into), Value::Object(from)) = (json, from) else {
        return;
    };
    for (key, value) in from {
        match into.get_mut(key) {
            Some(there) => add_absent(there, value),
            // An absent payload stays absent: nothing would boot.
            None if key == "payload" => {}
            None => drop(into.insert(key.clone(), value.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_serial_section_stays_as_given_and_v52_adds_nulls() {
        let text = br#"{"serial":{"mode":"Socket","socket":"p"}}"#;
        let config = Config::parse(text, Release::V53).expect("parsed");
        assert_eq!(
            config.json["serial"],
            json!({"mode": "Socket", "socket": "p"})
        );
        let config = Config::parse(text, Release::V52).expect("parsed");
        let serial = json!({"mode": "Socket", "socket": "p", "file": null, "iommu": false});
        assert_eq!(config.json["serial"], serial);
    }

    #[test]
    fn an_unknown_mode_is_named_with_those_known() {
        let refused = Config::parse(br#"{"serial":{"mode":"Foo"}}"#, Release::V53);
        let words = refused.expect_err("refused");
        assert!(words.starts_with("unknown variant `Foo`, expected one of `Off`, `Pty`"));
    }
}
