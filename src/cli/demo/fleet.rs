//! The demonstration's VMs: where they live, what they print, how their logs are kept.
//!
//! Owns their names and paths.
//! **Invariant:** every VM goes through the launch machine that `seriald launch` uses.

use crate::cli::Failure;
use serde_json::json;
use seriald::config::{RotateMode, VmSpec};
use seriald::limits;
use seriald::vm::launch::{LaunchSpec, Start};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// What all simulated guests print together, in bytes per second: what two cores do with ease.
const RATE_ALL: u64 = 200_000;
/// What one of them prints at most and at least.
const RATE_MAX: u64 = 10_000;
const RATE_MIN: u64 = 200;

/// What a real guest is told to print, lines per second of the demonstration.
const REAL_LINES_PER_S: u64 = 500;

/// Length of a guest's line in bytes.
const LINE: u64 = 57;

/// What one of the guest's pause loops takes in the simulator.
const LOOP_NS: u64 = 5;

/// Size at which a log is rotated, at least; small, so that there is much to see.
const MAX_BYTES: u64 = 2048;

/// Which VMM runs the guests.
pub enum Vmm {
    /// ch-sim, out of our own executable.
    Simulated(PathBuf),
    /// A real Cloud Hypervisor and the guest's kernel.
    Real(PathBuf, PathBuf),
}

impl Vmm {
    /// The real one if a kernel is given, else ours.
    ///
    /// # Errors
    /// What is missing for a real one.
    pub fn choose(vmm: Option<&Path>, kernel: Option<&Path>) -> Result<Vmm, Failure> {
        let Some(kernel) = kernel else {
            if vmm.is_some() {
                return Err(Failure::Usage("--vmm needs --kernel, the guest to boot".into()));
            }
            let own = std::env::current_exe();
            let own = own.map_err(|e| Failure::Failed(format!("our own executable: {e}")))?;
            return Ok(Vmm::Simulated(own));
        };
        let found = match vmm {
            Some(path) => Some(path.to_path_buf()),
            None => on_path("cloud-hypervisor"),
        };
        let found = found
            .ok_or_else(|| Failure::failed("cloud-hypervisor is not on PATH: name it by --vmm"))?;
        for needed in [&*found, kernel, Path::new("/dev/kvm")] {
            if !needed.exists() {
                let needed = needed.display();
                return Err(Failure::Failed(format!(
                    "{needed} does not exist: leave --kernel out"
                )));
            }
        }
        Ok(Vmm::Real(found, kernel.to_path_buf()))
    }
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}

/// How a VM's log is rotated, and by whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// By us.
    Own(RotateMode),
    /// By an outsider, behind our back.
    Outside,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 3] =
        [Kind::Own(RotateMode::Rename), Kind::Own(RotateMode::CopyTruncate), Kind::Outside];

    /// Its name in the table.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Own(RotateMode::Rename) => "rename",
            Kind::Own(RotateMode::CopyTruncate) => "copytruncate",
            Kind::Outside => "outsider",
        }
    }
}

/// One VM of the demonstration.
pub struct Member {
    /// Its number, from 0.
    pub number: u32,
    /// Its id.
    pub id: String,
    /// Its instance directory.
    pub dir: PathBuf,
    /// How its log is rotated.
    pub kind: Kind,
}

impl Member {
    /// Its log.
    pub fn log(&self) -> PathBuf {
        self.dir.join("logs/app.log")
    }

    /// What its simulator says it printed and handed over.
    pub fn ledger(&self) -> PathBuf {
        self.dir.join("ledger.json")
    }
}

/// What is to be shown.
pub struct Plan {
    /// The directory of it all.
    pub home: PathBuf,
    /// How many VMs.
    pub vms: u32,
    /// How long.
    pub seconds: u64,
    /// Which VMM.
    pub vmm: Vmm,
}

impl Plan {
    /// VM number `n`: the last one is the outsider's, the others take turns.
    pub fn member(&self, n: u32) -> Member {
        let id = format!("vm-{n:04}");
        let kind = match n {
            n if n + 1 == self.vms => Kind::Outside,
            n if n % 2 == 0 => Kind::Own(RotateMode::Rename),
            _ => Kind::Own(RotateMode::CopyTruncate),
        };
        Member { number: n, dir: self.home.join(&id), id, kind }
    }

    /// How a member is launched.
    pub fn launch(&self, member: &Member) -> LaunchSpec {
        let cmdline = self.cmdline(member);
        let mut vm = VmSpec::instance(&member.id, &member.dir);
        let bytes = self.bytes(member);
        vm.log.max_age = None;
        match member.kind {
            Kind::Own(mode) => {
                // At most some hundred backups, however long it runs, and room for all of them.
                vm.log.max_bytes = MAX_BYTES.max(bytes / 128);
                vm.log.keep = 1000;
                vm.log.mode = mode;
            }
            Kind::Outside => vm.log.max_bytes = limits::MAX_BYTES_MAX,
        }
        let config = match &self.vmm {
            Vmm::Simulated(_) => {
                json!({"payload": {"kernel": self.home.join("kernel"), "cmdline": cmdline}})
            }
            Vmm::Real(_, kernel) => json!({
                "payload": {"kernel": kernel, "cmdline": cmdline},
                "cpus": {"boot_vcpus": 1, "max_vcpus": 1},
                "memory": {"size": 64 << 20},
            }),
        };
        let start = Start::Create(config.to_string());
        LaunchSpec { vm, vmm: self.command(member), start, timeout: None }
    }

    /// The kernel command line: what the guest prints.
    pub fn cmdline(&self, member: &Member) -> String {
        match self.vmm {
            // Whole lines with a pause between them: a wake-up a line, not a byte.
            Vmm::Simulated(_) => {
                format!("lines=0 delay={}", LINE * 1_000_000_000 / self.rate(member) / LOOP_NS)
            }
            Vmm::Real(..) => format!("lines={}", self.seconds * REAL_LINES_PER_S),
        }
    }

    fn command(&self, member: &Member) -> Vec<OsString> {
        match &self.vmm {
            Vmm::Simulated(own) => vec![
                own.into(),
                "ch-sim".into(),
                "--flat-out".into(),
                // It is read at the end alone, and written then whatever this says.
                "--ledger-ms".into(),
                "60000".into(),
                "--ledger".into(),
                member.ledger().into(),
            ],
            Vmm::Real(vmm, _) => vec![vmm.into()],
        }
    }

    /// Half of the common rate to one and a half of it, so that they don't all rotate at once; the
    /// outsider's prints as fast as any may, so that his loss is seen.
    fn rate(&self, member: &Member) -> u64 {
        let common = (RATE_ALL / u64::from(self.vms)).clamp(RATE_MIN, RATE_MAX);
        match member.kind {
            Kind::Own(_) => common / 2 + common * u64::from(member.number) / u64::from(self.vms),
            Kind::Outside => RATE_MAX,
        }
    }

    fn bytes(&self, member: &Member) -> u64 {
        match self.vmm {
            Vmm::Simulated(_) => self.rate(member) * self.seconds,
            Vmm::Real(..) => self.seconds * REAL_LINES_PER_S * LINE,
        }
    }
}
