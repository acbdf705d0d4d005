//! One run's script: which VMs there are, what becomes of them, and what the operator does.
//!
//! **Invariant:** drawn from a seed before the run begins, so that it can be shown and shortened.

use crate::dice::Dice;
use crate::disk::Disk;
use crate::faults::{Fault, Faults};
use crate::kernel::viewers::{Asked, Pace};
use crate::vmm::{Deed, Version};
use seriald::config::{AfterRotate, Fsync, Overflow};
use seriald::{Config, LogSpec, OnExit, RotateMode, VmSpec};
use std::path::Path;
use std::time::Duration;

/// What the operator does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    Adopt(usize),
    Release(usize),
    Rotate(usize),
    /// The VM's log gets other settings.
    Reconfigure(usize, Box<LogSpec>),
    /// All logs are looked at anew.
    Reopen,
    Upgrade,
    /// The collector is killed before the call that comes after so many.
    Kill {
        calls: u64,
    },
    /// It is ended in order, and started again.
    Restart,
    /// Somebody asks for our own API.
    View(Asked, Pace),
    /// The viewer of this number hangs up.
    StopViewing(usize),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// A VMM, a guest or somebody outside.
    Deed(usize, Deed),
    Op(Op),
}

/// Which kinds of things happen in a run at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kinds {
    pub kills: bool,
    pub upgrades: bool,
    pub outsiders: bool,
    pub full_disk: bool,
    pub reboots: bool,
    pub displacers: bool,
    pub releases: bool,
    pub reloads: bool,
    /// Our own API is served.
    pub viewers: bool,
    /// A viewer that falls behind by little is dropped.
    pub small_buffers: bool,
}

#[derive(Clone, Debug)]
pub struct Script {
    pub versions: Vec<Version>,
    pub specs: Vec<VmSpec>,
    pub config: Config,
    pub ring_max: usize,
    /// A service manager with a descriptor store stands behind the collector.
    pub has_store: bool,
    pub store_room: usize,
    pub descriptors_max: usize,
    pub reuse_inodes: bool,
    pub kinds: Kinds,
    pub faults: Faults,
    pub acts: Vec<(Duration, Act)>,
}

/// The longest script, in milliseconds.
const LONGEST: u64 = 20_000;

impl Script {
    pub fn draw(dice: &mut Dice) -> Script {
        let vms = *dice.pick(&[1, 1, 2, 2, 3, 5, 12]);
        let mut kinds = draw_kinds(dice);
        let common = draw_log(dice);
        let versions: Vec<Version> =
            (0..vms).map(|_| *dice.pick(&[Version::V52, Version::V53])).collect();
        let specs: Vec<VmSpec> = (0..vms).map(|vm| draw_spec(vm, &common, dice)).collect();
        let is_limited = specs.iter().any(|spec| spec.log.rate_bytes.is_some());
        let has_store = is_limited && kinds.kills || dice.chance(6000);
        if kinds.kills {
            // What others did to a log and nobody noticed before a crash can't be told apart.
            kinds.outsiders = false;
        }
        let mut script = Script {
            versions,
            specs,
            config: Config {
                coalesce: Duration::from_micros(*dice.pick(&[0, 500, 500, 2000])),
                after_rotate_parallel: *dice.pick(&[1, 2, 4]),
                hold_bytes_total: *dice.pick(&[64 << 20, 3000]),
                ..Config::default()
            },
            ring_max: *dice.pick(&[1024 * 1024, 3000, 700]),
            has_store,
            store_room: *dice.pick(&[1, 3, 10, 512]),
            descriptors_max: 20_000,
            reuse_inodes: dice.chance(7000),
            kinds,
            faults: Faults::draw(dice),
            acts: Vec::new(),
        };
        script.draw_acts(dice);
        script.draw_viewers(dice);
        script
    }

    /// Drawn last: what else is drawn for a seed does not depend on it.
    fn draw_viewers(&mut self, dice: &mut Dice) {
        self.kinds.viewers = dice.chance(3000);
        if !self.kinds.viewers {
            return;
        }
        self.kinds.small_buffers = dice.chance(5000);
        let last = self.acts.last().map_or(Duration::ZERO, |(at, _)| *at);
        for viewer in 0..dice.between(1, 12) as usize {
            let at = Duration::from_micros(dice.below(last.as_micros() as u64 + 1));
            let vm = dice.below(self.versions.len() as u64) as usize;
            let asked = match dice.below(6) {
                0 => Asked::List,
                1 | 2 => Asked::Log(vm),
                _ => Asked::Console { vm, history: *dice.pick(&[0, 0, 100, 5000]) },
            };
            let (bytes, every) = (*dice.pick(&[1, 100, 1000]), dice.micros(1000, 100_000));
            let slow = Pace::Slow { bytes, every };
            let pace = *dice.pick(&[Pace::Prompt, Pace::Prompt, slow, Pace::Never]);
            self.acts.push((at, Act::Op(Op::View(asked, pace))));
            if dice.chance(3000) {
                let until = at + dice.micros(1000, 2_000_000);
                self.acts.push((until.min(last), Act::Op(Op::StopViewing(viewer))));
            }
        }
        self.acts.sort_by_key(|(at, _)| *at);
    }

    fn draw_acts(&mut self, dice: &mut Dice) {
        let mut acts = Vec::new();
        for vm in 0..self.versions.len() {
            let start = Duration::from_millis(dice.below(200));
            acts.push((start, Act::Deed(vm, Deed::Start { prints: draw_bytes(dice) })));
            acts.push((Duration::from_millis(dice.below(300)), Act::Op(Op::Adopt(vm))));
        }
        let span = *dice.pick(&[300, 2000, LONGEST]);
        let count = *dice.pick(&[3, 10, 25, 60]);
        for _ in 0..count {
            let at = Duration::from_micros(dice.below(span * 1000));
            acts.push((at, self.draw_act(dice)));
        }
        acts.sort_by_key(|(at, _)| *at);
        self.acts = acts;
    }

    fn draw_act(&self, dice: &mut Dice) -> Act {
        let vm = dice.below(self.versions.len() as u64) as usize;
        let kinds = &self.kinds;
        loop {
            let act = match dice.below(20) {
                0..=6 => Act::Deed(vm, Deed::Print { bytes: draw_bytes(dice) }),
                7 if kinds.reboots => Act::Deed(vm, Deed::Reboot { prints: draw_bytes(dice) }),
                8 if kinds.reboots => Act::Deed(vm, draw_end(dice)),
                9 => Act::Deed(vm, draw_begin(dice)),
                10 if kinds.displacers => {
                    Act::Deed(vm, Deed::Displace { micros: dice.below(300_000) })
                }
                11 => Act::Deed(vm, dice.pick(&[Deed::Pause, Deed::Resume, Deed::Resume]).clone()),
                12 if kinds.outsiders => Act::Deed(vm, draw_meddling(dice)),
                13 if kinds.full_disk => Act::Deed(vm, draw_space(dice)),
                14 if kinds.releases => Act::Op(Op::Release(vm)),
                15 if kinds.releases => Act::Op(Op::Adopt(vm)),
                16 => Act::Op(Op::Rotate(vm)),
                17 if kinds.reloads => Act::Op(self.draw_reload(vm, dice)),
                18 if kinds.kills => Act::Op(Op::Kill { calls: dice.below(300) }),
                18 if kinds.upgrades => Act::Op(Op::Upgrade),
                19 if kinds.upgrades => Act::Op(Op::Restart),
                _ => continue,
            };
            return act;
        }
    }

    fn draw_reload(&self, vm: usize, dice: &mut Dice) -> Op {
        if dice.chance(3000) {
            return Op::Reopen;
        }
        let mut log = self.specs[vm].log.clone();
        log.max_bytes = draw_max_bytes(dice);
        log.max_total_bytes = log.max_total_bytes.map(|_| log.max_bytes * 2);
        log.mode = draw_mode(dice);
        log.hold_bytes = *dice.pick(&[0, 1000, 64 * 1024]);
        Op::Reconfigure(vm, Box::new(log))
    }

    /// What the disk holds before anybody comes.
    pub fn prepare(&self, disk: &mut Disk) {
        disk.reuse_inodes = self.reuse_inodes;
        for vm in 0..self.versions.len() {
            let dir = Path::new("/vms").join(format!("vm{vm}"));
            disk.make_dir_all(&dir).expect("a fresh disk has room");
        }
        disk.take_changes();
    }

    /// Whether something is due although nothing happens.
    pub fn has_timers(&self) -> bool {
        let timed = |spec: &VmSpec| spec.log.max_age.is_some() || spec.log.max_backup_age.is_some();
        self.specs.iter().any(timed)
    }

    /// Whether the disk can be full.
    pub fn disk_can_be_full(&self) -> bool {
        self.kinds.full_disk || self.faults.chance(Fault::Full) > 0
    }

    /// Whether something can keep a log from being written.
    pub fn logs_can_fail(&self) -> bool {
        let kinds = [Fault::Full, Fault::Broken, Fault::Open, Fault::NoDescriptor, Fault::Rename];
        self.kinds.full_disk || kinds.iter().any(|kind| self.faults.chance(*kind) > 0)
    }
}

fn draw_kinds(dice: &mut Dice) -> Kinds {
    let mut some = |chance| dice.chance(chance);
    Kinds {
        kills: some(4000),
        upgrades: some(4000),
        outsiders: some(2500),
        full_disk: some(3000),
        reboots: some(6000),
        displacers: some(3000),
        releases: some(4000),
        reloads: some(3000),
        viewers: false,
        small_buffers: false,
    }
}

fn draw_bytes(dice: &mut Dice) -> u64 {
    match dice.below(10) {
        0 => 0,
        1..=5 => dice.between(1, 300),
        6..=8 => dice.between(300, 5000),
        _ => dice.between(5000, 30_000),
    }
}

fn draw_end(dice: &mut Dice) -> Deed {
    dice.pick(&[Deed::PowerOff, Deed::Crash, Deed::ShutDown]).clone()
}

fn draw_begin(dice: &mut Dice) -> Deed {
    let prints = draw_bytes(dice);
    dice.pick(&[Deed::Start { prints }, Deed::Boot { prints }]).clone()
}

fn draw_meddling(dice: &mut Dice) -> Deed {
    dice.pick(&[Deed::TruncateLog, Deed::MoveLog, Deed::CopyAndTruncateLog]).clone()
}

fn draw_space(dice: &mut Dice) -> Deed {
    let left = *dice.pick(&[0, 0, 10, 500, 5000]);
    dice.pick(&[Deed::FillDisk { left }, Deed::FreeDisk]).clone()
}

fn draw_max_bytes(dice: &mut Dice) -> u64 {
    *dice.pick(&[1024, 1500, 4096, 20_000, 1 << 20])
}

fn draw_mode(dice: &mut Dice) -> RotateMode {
    *dice.pick(&[RotateMode::Rename, RotateMode::CopyTruncate])
}

/// The settings that all logs of a run share.
fn draw_log(dice: &mut Dice) -> LogSpec {
    let mut log = LogSpec::new("/");
    log.max_bytes = draw_max_bytes(dice);
    log.max_age = *dice.pick(&[None, None, Some(Duration::from_secs(2))]);
    log.keep = *dice.pick(&[0, 1, 2, 5, 1000, 1000, 1000, 1000]);
    log.mode = draw_mode(dice);
    log.check_interval = Duration::from_millis(*dice.pick(&[0, 100, 5000]));
    log.hold_bytes = *dice.pick(&[0, 500, 10_000, 64 * 1024]);
    log.on_overflow = *dice.pick(&[Overflow::Oldest, Overflow::Newest]);
    log.keep_boot_head = *dice.pick(&[0, 0, 0, 100, 5000]);
    log.fsync = *dice.pick(&[Fsync::None, Fsync::None, Fsync::Rotation]);
    if dice.chance(1500) {
        log.rate_bytes = Some(*dice.pick(&[128, 2000, 50_000]));
    }
    if dice.chance(2000) {
        let command = vec!["pack".to_owned()];
        log.after_rotate = Some(AfterRotate { command, suffix: ".zst".to_owned() });
    }
    if dice.chance(1000) {
        log.max_total_bytes = Some(log.max_bytes * 2);
    }
    if dice.chance(1000) {
        log.max_backup_age = Some(Duration::from_secs(3));
    }
    log
}

fn draw_spec(vm: usize, common: &LogSpec, dice: &mut Dice) -> VmSpec {
    let dir = Path::new("/vms").join(format!("vm{vm}"));
    let mut log = common.clone();
    log.path = dir.join("logs/app.log");
    let mut spec = VmSpec::new(format!("vm{vm}"), dir.join("serial.sock"), log);
    spec.on_exit = *dice.pick(&[OnExit::Wait, OnExit::Wait, OnExit::Close]);
    spec
}
