//! The VMMs that end-to-end tests launch: ch-sim in both versions, and a real Cloud Hypervisor.
//!
//! **Invariant:** a test asks for the same guest in the same words, whichever VMM runs it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use seriald::{LaunchSpec, LogSpec, Start, VmSpec};

use super::{guest, skip};

/// One VMM and the guest that it boots.
#[derive(Clone, Debug)]
pub struct Vmm {
    pub name: &'static str,
    pub command: Vec<OsString>,
    kernel: PathBuf,
    /// How many of its pause loops the guest makes in a millisecond.
    loops_per_ms: u64,
}

/// What a real guest leaves its reader before its first byte.
const BEGINNING: Duration = Duration::from_millis(200);

/// ch-sim's pause loops take 5 ns each.
const SIM_LOOPS_PER_MS: u64 = 200_000;

impl Vmm {
    /// ch-sim as `v52` or `v53`, at its usual 80 kB/s.
    pub fn sim(version: &'static str) -> Self {
        let sim = env!("CARGO_BIN_EXE_ch-sim");
        let command = [sim, "--as", version].map(OsString::from).to_vec();
        let (kernel, loops_per_ms) = ("/dev/null".into(), SIM_LOOPS_PER_MS);
        Vmm { name: version, command, kernel, loops_per_ms }
    }

    /// The same, printing as fast as it can.
    pub fn flat_out(version: &'static str) -> Self {
        let mut sim = Vmm::sim(version);
        sim.command.push("--flat-out".into());
        sim
    }

    /// ch-sim in both versions, and a real Cloud Hypervisor where there is one; what it boots is
    /// built into `dir`.
    pub fn all(dir: &Path) -> Vec<Self> {
        [Vmm::sim("v52"), Vmm::sim("v53")].into_iter().chain(Vmm::real(dir)).collect()
    }

    /// The Cloud Hypervisor that `CLOUD_HYPERVISOR` names.
    pub fn real(dir: &Path) -> Option<Self> {
        let program = skip::cloud_hypervisor()?;
        skip::guest_compiler()?;
        let kernel = guest::build(dir);
        let loops_per_ms = loops_per_ms(&program, &kernel);
        Some(Vmm { name: "real", command: vec![program.into()], kernel, loops_per_ms })
    }

    /// The pause loops that last about so long: the argument of `wait=` and `delay=`.
    pub fn loops(&self, pause: Duration) -> u64 {
        (pause.as_micros() as u64 * self.loops_per_ms / 1000).max(1)
    }

    pub fn is_real(&self) -> bool {
        self.name == "real"
    }

    /// The body of vm.create for a guest with this command line. A real guest leaves room at its
    /// beginning: v52 drops what is printed before its serial thread has accepted the client that
    /// waits (seen on a busy machine in 1 of 80 boots, with a plain client).
    pub fn config(&self, cmdline: &str) -> Value {
        let begin = self.loops(BEGINNING);
        let cmdline =
            if self.is_real() { format!("{cmdline} begin={begin}") } else { cmdline.into() };
        json!({
            "payload": {"kernel": self.kernel, "cmdline": cmdline},
            "cpus": {"boot_vcpus": 1, "max_vcpus": 1},
            "memory": {"size": 64 << 20},
        })
    }

    /// The command that boots such a guest without a launcher, in the instance directory `dir`.
    pub fn by_itself(&self, dir: &Path, cmdline: &str) -> Command {
        let config = self.config(cmdline);
        let cmdline = config["payload"]["cmdline"].as_str().expect("a command line");
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]).arg("--kernel").arg(&self.kernel);
        command.args(["--cmdline", cmdline, "--console", "off", "--memory", "size=64M"]);
        let at = |word: &str, name: &str| format!("{word}={}", dir.join(name).display());
        command.args(["--serial", &at("socket", "serial.sock")]);
        command.args(["--api-socket", &at("path", "ch.sock")]);
        command
    }

    /// The VMM alone, its API in the directory `dir`.
    pub fn program(&self, dir: &Path) -> Command {
        std::fs::create_dir_all(dir).expect("an instance directory");
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]);
        command.arg("--api-socket").arg(format!("path={}", dir.join("ch.sock").display()));
        command
    }

    /// A launch in the instance directory `dir`, which is made.
    pub fn launch(&self, id: &str, dir: &Path, cmdline: &str) -> LaunchSpec {
        self.start(id, dir, Start::Create(self.config(cmdline).to_string()))
    }

    /// A launch with any start.
    pub fn start(&self, id: &str, dir: &Path, start: Start) -> LaunchSpec {
        std::fs::create_dir_all(dir).expect("an instance directory");
        let mut vm = VmSpec::instance(id, dir);
        vm.log = LogSpec { keep: 1000, ..LogSpec::new(dir.join("logs/app.log")) };
        LaunchSpec { vm, vmm: self.command.clone(), start, timeout: None }
    }
}

/// Measures the guest's pause loops: a KVM that emulates them needs microseconds for each, another
/// one a nanosecond.
fn loops_per_ms(program: &Path, kernel: &Path) -> u64 {
    let boot = |wait: u64| {
        let began = Instant::now();
        let mut command = Command::new(program);
        command.arg("--kernel").arg(kernel).arg("--cmdline").arg(format!("lines=1 wait={wait}"));
        command.args(["--serial", "null", "--console", "off", "--memory", "size=64M"]);
        let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
        assert!(
            status.expect("it starts").success(),
            "{} did not run the guest",
            program.display()
        );
        began.elapsed()
    };
    let without = boot(0);
    let mut wait = 4000;
    loop {
        let took = boot(wait).saturating_sub(without);
        if took > Duration::from_millis(100) {
            return (wait / took.as_millis() as u64).max(1);
        }
        wait *= 4;
    }
}
