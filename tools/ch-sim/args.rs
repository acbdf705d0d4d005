//! The command line: CH's own words, and ch-sim's.
//!
//! **Invariant:** what is not understood is refused by name; what CH has and ch-sim doesn't act on
//! is listed in `IGNORED`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::release::Release;

const HELP: &str = "\
ch-sim: a stand-in for Cloud Hypervisor, for tests and demos

  ch-sim --api-socket path=P               wait for API calls, as cloud-hypervisor does
  ch-sim --kernel K --cmdline WORDS --serial socket=P --console off
                                           create and boot at once
  ch-sim --restore source_url=file://DIR[,resume=true]
  ch-sim --fleet N --dir DIR --cmdline WORDS
                                           N running VMs, each in DIR/vm-0000, .. with its
                                           serial.sock, ch.sock and ledger.json
  ch-sim --verify LEDGER LOG...            compare logs, read in this order as one, with a ledger

  --as v52|v53         which release to imitate (v53)
  --rate BYTES_PER_S   how fast guests print (80000)
  --flat-out           as fast as they can
  --ledger FILE        what became of each byte (ledger.json beside the API socket);
                       SIGUSR1 writes all ledgers at once, so does GET /api/v1/ch-sim.ledger
  --ledger-ms N        how old it gets while its guest prints (100)
  --boot-on-connect    each boot prints its first byte once a client is connected
  --until-done         (fleet) a guest's power-off always ends its VMM, and with the last the fleet
  --no-shutdown        the VMM stays when its guest powers off
  --version, --help

The guest's script are the words of the kernel command line (payload.cmdline): lines=N (0: for
ever, default 100), delay=N and wait=N (loops of 5 ns after each line, and before the end), echo=1,
reboot=1, boots=N (with reboot=1: power off after boot N).";

/// Options of CH that take a value and change nothing here.
const IGNORED: [&str; 8] = [
    "--memory",
    "--cpus",
    "--seccomp",
    "--log-file",
    "--event-monitor",
    "--rng",
    "--disk",
    "--net",
];

/// What to do.
pub enum Job {
    /// Print this.
    Print(String),
    /// Compare logs with a ledger.
    Verify {
        /// The ledger.
        ledger: PathBuf,
        /// The logs, oldest first.
        logs: Vec<PathBuf>,
    },
    /// Run VMs.
    Run(Args),
}

/// A fleet's size and place.
pub struct Fleet {
    /// How many VMs.
    pub vms: usize,
    /// Where their directories are.
    pub dir: PathBuf,
}

/// What VMs to run, and how.
pub struct Args {
    /// The API socket.
    pub api_socket: Option<PathBuf>,
    /// Which release.
    pub release: Release,
    /// Bytes a second; `None`: as fast as it goes.
    pub rate: Option<u32>,
    /// The ledger, if it is not at its usual place.
    pub ledger: Option<PathBuf>,
    /// How old a ledger on disk gets while its guest prints, in milliseconds.
    pub ledger_ms: u32,
    /// A fleet instead of one VM.
    pub fleet: Option<Fleet>,
    /// The guest's script for a fleet.
    pub cmdline: String,
    /// The configuration of a VM to create and boot.
    pub vm_config: Option<String>,
    /// A snapshot to restore, and whether to resume.
    pub restore: Option<(String, bool)>,
    /// Whether the VMM outlives its guest.
    pub no_shutdown: bool,
    /// Whether guests wait for a client.
    pub boot_on_connect: bool,
    /// Whether a fleet ends with its last guest.
    pub until_done: bool,
}

/// The words as they come.
#[derive(Default)]
struct Words {
    kernel: Option<String>,
    serial: Option<String>,
    console: Option<String>,
    vms: Option<usize>,
    dir: Option<PathBuf>,
    version: bool,
}

impl Args {
    /// Parses a command line without the program's name.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(given: impl Iterator<Item = OsString>) -> Result<Job, String> {
        let mut given = given.map(|word| {
            word.into_string().map_err(|word| format!("{}: not UTF-8", word.display()))
        });
        let mut args = Self::default();
        let mut words = Words::default();
        while let Some(word) = given.next().transpose()? {
            // clap, which CH uses, takes both `--name value` and `--name=value`.
            let (name, joined) = match word.split_once('=') {
                Some((name, value)) if name.starts_with("--") => (name, Some(value.to_string())),
                _ => (word.as_str(), None),
            };
            match name {
                "--help" | "-h" => return Ok(Job::Print(HELP.to_string())),
                "--version" | "-V" => words.version = true,
                "--flat-out" => args.rate = None,
                "--no-shutdown" => args.no_shutdown = true,
                "--boot-on-connect" => args.boot_on_connect = true,
                "--until-done" => args.until_done = true,
                "-v" | "-vv" | "-vvv" => {}
                _ => {
                    let value = match joined {
                        Some(value) => value,
                        None => given.next().transpose()?.ok_or(format!("{name}: no value"))?,
                    };
                    if name == "--verify" {
                        let logs: Result<Vec<String>, String> = given.collect();
                        let logs = logs?.into_iter().map(PathBuf::from).collect();
                        return Ok(Job::Verify { ledger: PathBuf::from(value), logs });
                    }
                    args.option(&mut words, name, value)?;
                }
            }
        }
        if words.version {
            let version = args.release.version();
            return Ok(Job::Print(format!("cloud-hypervisor v{version}")));
        }
        args.complete(words).map(Job::Run)
    }

    /// Where a lone VMM's ledger is.
    pub fn ledger_path(&self) -> PathBuf {
        let beside = self.api_socket.as_deref().and_then(Path::parent);
        let usual = || beside.unwrap_or(Path::new("")).join("ledger.json");
        self.ledger.clone().unwrap_or_else(usual)
    }

    fn option(&mut self, words: &mut Words, name: &str, value: String) -> Result<(), String> {
        let number = || format!("{name}: {value}: not a number above 0");
        match name {
            "--api-socket" => {
                let path = value.strip_prefix("path=").unwrap_or(&value);
                if path.starts_with("fd=") {
                    return Err("--api-socket: ch-sim takes a path, no descriptor".to_string());
                }
                self.api_socket = Some(PathBuf::from(path));
            }
            "--as" => {
                let release = Release::parse(&value);
                self.release = release.ok_or(format!("--as: {value}: neither v52 nor v53"))?;
            }
            "--rate" => {
                let rate = value.parse().ok().filter(|rate| *rate > 0);
                self.rate = Some(rate.ok_or_else(number)?);
            }
            "--ledger" => self.ledger = Some(PathBuf::from(value)),
            "--ledger-ms" => {
                let age = value.parse().ok().filter(|age| *age > 0);
                self.ledger_ms = age.ok_or_else(number)?;
            }
            "--fleet" => {
                let vms = value.parse().ok().filter(|vms| *vms > 0);
                words.vms = Some(vms.ok_or_else(number)?);
            }
            "--dir" => words.dir = Some(PathBuf::from(value)),
            "--cmdline" => self.cmdline = value,
            "--kernel" | "--firmware" => words.kernel = Some(value),
            "--serial" => words.serial = Some(value),
            "--console" => words.console = Some(value),
            "--restore" => {
                let mut parts = value.split(',');
                let url = parts.next().and_then(|part| part.strip_prefix("source_url="));
                let url = url.ok_or("--restore: no source_url=")?.to_string();
                let resume = parts.any(|part| part == "resume=true" || part == "resume=on");
                self.restore = Some((url, resume));
            }
            _ if IGNORED.contains(&name) => eprintln!("ch-sim: {name} is ignored"),
            _ => return Err(format!("{name}: unknown")),
        }
        Ok(())
    }

    fn complete(mut self, words: Words) -> Result<Self, String> {
        if let Some(vms) = words.vms {
            let dir = words.dir.ok_or("--fleet: no --dir")?;
            self.fleet = Some(Fleet { vms, dir });
            return Ok(self);
        }
        if let Some(kernel) = words.kernel {
            let config = json!({
                "payload": {"kernel": kernel, "cmdline": self.cmdline},
                "serial": console("--serial", words.serial.as_deref().unwrap_or("null"))?,
                "console": console("--console", words.console.as_deref().unwrap_or("tty"))?,
            });
            self.vm_config = Some(config.to_string());
        } else if self.api_socket.is_none() && self.restore.is_none() {
            return Err("nothing to do: no --api-socket, --kernel, --restore, --fleet".to_string());
        }
        Ok(self)
    }
}

impl Default for Args {
    fn default() -> Self {
        Self {
            api_socket: None,
            release: Release::V53,
            rate: Some(80_000),
            ledger: None,
            ledger_ms: 100,
            fleet: None,
            cmdline: String::new(),
            vm_config: None,
            restore: None,
            no_shutdown: false,
            boot_on_connect: false,
            until_done: false,
        }
    }
}

/// CH's `off`, `null`, `tty`, `pty`, `file=PATH`, `socket=PATH`.
fn console(option: &str, value: &str) -> Result<Value, String> {
    Ok(match value.split_once('=') {
        Some(("file", path)) => json!({"mode": "File", "file": path}),
        Some(("socket", path)) => json!({"mode": "Socket", "socket": path}),
        None if value == "off" => json!({"mode": "Off"}),
        None if value == "null" => json!({"mode": "Null"}),
        None if value == "tty" => json!({"mode": "Tty"}),
        None if value == "pty" => json!({"mode": "Pty"}),
        _ => return Err(format!("{option}: {value}: not understood")),
    })
}
