//! A tenant's directory, another's files and console, and what a tenant can plant.
//!
//! **Invariant:** the tenant's deeds are done as the tenant, but those that a kernel may refuse him
//! (a hard link of another's file, a device): a protection of the kernel's is not ours.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use seriald::{LogSpec, RotateMode, VmId, VmSpec};
use tempfile::TempDir;

use crate::support::embedded::{Loop, Peer, send};
use crate::support::process::run_to_success;
use crate::support::skip;

/// The tenant's user.
pub const TENANT: u32 = 54_321;

pub const MODES: [RotateMode; 2] = [RotateMode::Rename, RotateMode::CopyTruncate];

/// More than what is shrunk at once when a backup goes.
const SECRET_BYTES: usize = 3 << 20;

pub struct Scene {
    pub top: TempDir,
    /// The tenant's own directory, and `logs` in it.
    pub home: PathBuf,
    /// Another's directory, with files at the names that a log has.
    pub other: PathBuf,
    before: Vec<(PathBuf, Traits)>,
}

/// What must not change of a file of another's: all but its number of links.
#[derive(Debug, PartialEq, Eq)]
struct Traits {
    bytes: Vec<u8>,
    inode: u64,
    mode: u32,
    owner: (u32, u32),
    modified: (i64, i64),
}

impl Scene {
    /// `None`: we are not root.
    pub fn set() -> Option<Scene> {
        skip::root()?;
        let top = tempfile::tempdir().expect("a directory");
        fs::set_permissions(top.path(), fs::Permissions::from_mode(0o755)).expect("a mode");
        let (home, other) = (top.path().join("home"), top.path().join("other"));
        for dir in [&home, &home.join("logs")] {
            fs::create_dir(dir).expect("a directory");
            chown(dir, Some(TENANT), Some(TENANT)).expect("the tenant's directory");
        }
        fs::create_dir(&other).expect("a directory");
        let secret = b"another's secret\n".repeat(SECRET_BYTES / 17);
        let others = ["app.log.1", "app.log.2", "app.log.dropped", "app.log.copied"];
        for (name, bytes) in
            others.map(|name| (name, 1700)).into_iter().chain([("app.log", SECRET_BYTES)])
        {
            fs::write(other.join(name), &secret[..bytes.min(secret.len())])
                .expect("another's file");
            fs::set_permissions(other.join(name), fs::Permissions::from_mode(0o600))
                .expect("a mode");
        }
        let mut scene = Scene { top, home, other, before: Vec::new() };
        scene.before = scene.others();
        Some(scene)
    }

    fn others(&self) -> Vec<(PathBuf, Traits)> {
        let entries = fs::read_dir(&self.other).expect("another's directory");
        let mut files: Vec<(PathBuf, Traits)> = entries
            .map(|entry| entry.expect("an entry").path())
            .map(|path| {
                let meta = fs::metadata(&path).expect("another's file");
                let traits = Traits {
                    bytes: fs::read(&path).expect("another's file"),
                    inode: meta.ino(),
                    mode: meta.mode(),
                    owner: (meta.uid(), meta.gid()),
                    modified: (meta.mtime(), meta.mtime_nsec()),
                };
                (path, traits)
            })
            .collect();
        files.sort_by(|one, two| one.0.cmp(&two.0));
        files
    }

    /// What is another's is as it was; nothing was added to it.
    pub fn assert_untouched(&self, what: &str) {
        let now = self.others();
        let names = |files: &[(PathBuf, Traits)]| -> Vec<PathBuf> {
            files.iter().map(|(path, _)| path.clone()).collect()
        };
        assert_eq!(names(&now), names(&self.before), "{what}");
        for ((path, is), (_, was)) in now.iter().zip(&self.before) {
            let path = path.display();
            assert_eq!(is.bytes.len(), was.bytes.len(), "{what}: the size of {path}");
            assert!(is == was, "{what}: {path} was changed");
        }
    }

    /// Another's file.
    pub fn secret(&self) -> PathBuf {
        self.other.join("app.log")
    }

    pub fn logs(&self) -> PathBuf {
        self.home.join("logs")
    }

    /// The tenant's VM: two backups, rotated only when that is asked for.
    pub fn spec(&self, mode: RotateMode) -> VmSpec {
        let mut log = LogSpec::new(self.logs().join("app.log"));
        (log.mode, log.keep, log.keep_boot_head) = (mode, 2, 100);
        VmSpec::new("a", self.home.join("serial.sock"), log)
    }

    /// Does something as the tenant.
    pub fn as_tenant(&self, command: &[&str]) {
        let mut run = Command::new(command[0]);
        run.args(&command[1..]).current_dir(&self.home).uid(TENANT).gid(TENANT);
        assert!(run.status().expect("a command").success(), "{command:?}");
    }

    /// A copy of a program where the tenant may run it. Not made by this process: a child that
    /// another thread forks would hold it open for writing (ETXTBSY).
    pub fn program(&self, program: &str) -> PathBuf {
        let to = self.top.path().join(Path::new(program).file_name().expect("a name"));
        run_to_success(Command::new("install").args(["-m", "755", program]).arg(&to));
        to
    }

    /// Whether a name in the tenant's log directory stands for another's file.
    pub fn has_anothers(&self, name: &str) -> bool {
        let inode = |path: &Path| fs::symlink_metadata(path).map(|meta| meta.ino()).ok();
        inode(&self.logs().join(name)) == inode(&self.secret())
    }
}

/// A VM in charge, and its VMM's end of the console.
pub struct Running {
    // Dropped first: its end is what the loop waits for when it lets go of the VM.
    pub client: UnixStream,
    pub turns: Loop,
    pub vm: VmId,
    printed: u32,
    // Its path stays.
    _peer: Peer,
}

impl Running {
    pub fn adopt(spec: VmSpec) -> Running {
        let peer = Peer::at(&spec.serial);
        let mut turns = Loop::new();
        let vm = turns.reactor.adopt(spec).expect("adopted");
        let client = peer.accept(&mut turns);
        Running { turns, vm, client, printed: 0, _peer: peer }
    }

    /// The guest prints a line, which is read. Returns it.
    pub fn print(&mut self) -> String {
        self.printed += 1;
        let line = format!("line {}\n", self.printed);
        let read = self.turns.reactor.status(self.vm).expect("in charge").read_bytes;
        send(&mut self.turns, &mut self.client, line.as_bytes());
        self.turns.turn_until_read(self.vm, read);
        line
    }

    /// Rotates, and turns until nothing is under way any more, or it has failed.
    pub fn rotate(&mut self) {
        let counters = |turns: &Loop, vm| turns.reactor.status(vm).expect("in charge").log_counters;
        let before = counters(&self.turns, self.vm);
        self.turns.reactor.rotate(self.vm);
        let vm = self.vm;
        self.turns.turn_until("a rotation, or its failure", |turns| {
            let now = counters(turns, vm);
            now.rotations > before.rotations || now.rotation_failures > before.rotation_failures
        });
        // What is dropped is dropped slice by slice.
        for _ in 0..10 {
            self.turns.reactor.turn(Some(std::time::Duration::ZERO)).expect("a turn");
        }
    }

    pub fn failures(&self) -> u64 {
        self.turns.reactor.status(self.vm).expect("in charge").log_counters.rotation_failures
    }

    pub fn rotations(&self) -> u64 {
        self.turns.reactor.status(self.vm).expect("in charge").log_counters.rotations
    }
}

/// What a tenant plants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    Symlink,
    HardLink,
    Fifo,
    Device,
    Directory,
    FullDirectory,
    OwnFile,
}

impl Plant {
    pub const ALL: [Plant; 7] = [
        Plant::Symlink,
        Plant::HardLink,
        Plant::Fifo,
        Plant::Device,
        Plant::Directory,
        Plant::FullDirectory,
        Plant::OwnFile,
    ];

    /// Puts it at a name in the log's directory, in the place of what is there. `false`: this
    /// machine does not allow it to anybody.
    pub fn put(self, scene: &Scene, name: &str) -> bool {
        let (at, secret) = (scene.logs().join(name), scene.secret());
        let (at_text, secret_text) = (at.display().to_string(), secret.display().to_string());
        scene.as_tenant(&["rm", "-rf", &at_text]);
        match self {
            Plant::Symlink => scene.as_tenant(&["ln", "-s", &secret_text, &at_text]),
            Plant::HardLink => fs::hard_link(secret, at).expect("a hard link"),
            Plant::Fifo => scene.as_tenant(&["mkfifo", &at_text]),
            Plant::Device => {
                let made = Command::new("mknod").args([&at_text, "c", "1", "3"]).status();
                if !made.expect("mknod").success() {
                    eprintln!("skipped: a device can't be made here");
                    return false;
                }
            }
            Plant::Directory => scene.as_tenant(&["mkdir", &at_text]),
            Plant::FullDirectory => {
                scene.as_tenant(&["mkdir", "-p", &format!("{at_text}/x")]);
            }
            Plant::OwnFile => {
                let mut file = fs::File::create(&at).expect("a file");
                file.write_all(b"line 0\n").expect("room");
                chown(&at, Some(TENANT), Some(TENANT)).expect("the tenant's file");
            }
        }
        true
    }
}
