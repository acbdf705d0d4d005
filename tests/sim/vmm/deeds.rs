//! What VMMs, other clients and people outside do, and the steps in which they do it.
//!
//! **Invariant:** the order of the steps is the measured one; what a step finds changed, it leaves.

use super::{Thread, Version};
use crate::kernel::children::Errand;
use crate::kernel::sockets::Server;
use crate::kernel::{Event, Kernel};
use seriald::env::Exit;
use std::path::PathBuf;
use std::time::Duration;

/// How often another client may take a console from us within a second: the back-off sees to it.
const DISPLACED_A_SECOND: usize = 20;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    /// A VMM is started, and its guest booted; it prints so much.
    Start {
        prints: u64,
    },
    /// The guest prints so much more.
    Print {
        bytes: u64,
    },
    /// The guest resets itself, and then prints so much.
    Reboot {
        prints: u64,
    },
    /// The guest powers off: its VMM exits.
    PowerOff,
    /// vm.shutdown: the VMM stays.
    ShutDown,
    /// vm.boot after that.
    Boot {
        prints: u64,
    },
    /// SIGKILL.
    Crash,
    Pause,
    Resume,
    /// Another client connects, and leaves after so many microseconds.
    Displace {
        micros: u64,
    },

    /// Somebody truncates the log.
    TruncateLog,
    /// Somebody moves the log away.
    MoveLog,
    /// Somebody copies the log elsewhere and truncates it.
    CopyAndTruncateLog,
    /// All but so many bytes of the disk are taken by others.
    FillDisk {
        left: u64,
    },
    FreeDisk,

    // The steps of those.
    Output,
    Knock,
    WakeThread {
        life: u64,
    },
    EndStream {
        life: u64,
        then: After,
    },
    Bind {
        life: u64,
        boots: bool,
        prints: u64,
    },
    Listen {
        life: u64,
        boots: bool,
        prints: u64,
    },
    GuestBoots {
        life: u64,
        prints: u64,
    },
    Exit {
        pid: u32,
        exit: Exit,
    },
    EndListener {
        listener: usize,
    },
    LeaveOther {
        conn: usize,
    },
    /// Another client was displaced by us, and comes again.
    ComeAgain,
}

/// What follows the end of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    Bind { prints: u64 },
    Exit,
    Nothing,
}

impl Kernel {
    pub fn do_deed(&mut self, vm: usize, deed: Deed) {
        if !matches!(deed, Deed::Output | Deed::Knock) {
            self.note(|| format!("vm {vm}: {deed:?}"));
        }
        match deed {
            Deed::Start { prints } => self.start_vmm(vm, prints),
            Deed::Print { bytes } => self.ask_to_print(vm, bytes),
            Deed::Reboot { prints } => self.end_guest(vm, After::Bind { prints }),
            Deed::PowerOff => self.end_guest(vm, After::Exit),
            Deed::ShutDown => self.end_guest(vm, After::Nothing),
            Deed::Boot { prints } => self.boot_again(vm, prints),
            Deed::Crash => self.crash_vmm(vm),
            Deed::Pause => self.vmms[vm].is_paused = true,
            Deed::Resume => {
                self.vmms[vm].is_paused = false;
                self.go_on_printing(vm);
            }
            Deed::Displace { micros } => {
                if micros % 4 == 0 {
                    // One that takes the console back, for a while.
                    self.vmms[vm].rival_until = self.now + 10 * Duration::from_micros(micros);
                }
                self.displace(vm, micros);
            }
            Deed::ComeAgain => {
                let left = self.vmms[vm].rival_until.saturating_sub(self.now);
                if !left.is_zero() {
                    self.displace(vm, left.as_micros() as u64);
                }
            }
            Deed::LeaveOther { conn } => {
                let _ = self.shut_down_client(conn);
                self.drop_client(conn);
            }
            Deed::TruncateLog => self.truncate_log(vm, false),
            Deed::CopyAndTruncateLog => self.truncate_log(vm, true),
            Deed::MoveLog => self.move_log(vm),
            Deed::FillDisk { left } => self.disk.capacity = self.disk.used() + left,
            Deed::FreeDisk => self.disk.capacity = u64::MAX,
            Deed::Output => self.print_some(vm),
            Deed::Knock => self.serve_clients(vm),
            Deed::WakeThread { life } => {
                if self.vmms[vm].life == life && self.vmms[vm].thread == Thread::Sleeps {
                    self.vmms[vm].thread = Thread::Serves;
                    self.serve_clients(vm);
                }
            }
            Deed::EndStream { life, then } => self.end_stream(vm, life, then),
            Deed::Bind { life, boots, prints } => self.bind(vm, life, boots, prints),
            Deed::Listen { life, boots, prints } => self.listen(vm, life, boots, prints),
            Deed::GuestBoots { life, prints } => self.guest_boots(vm, life, prints),
            Deed::Exit { pid, exit } => self.exit_process(pid, exit),
            Deed::EndListener { listener } => self.close_listener(listener),
        }
    }

    fn plan(&mut self, vm: usize, from: u64, to: u64, deed: Deed) {
        let after = self.dice.micros(from, to);
        self.schedule(after, Event::Deed { vm, deed });
    }

    /// The serial thread of a VM has something to look at.
    pub fn knock(&mut self, vm: usize) {
        if vm < self.vmms.len() {
            self.plan(vm, 20, 400, Deed::Knock);
        }
    }

    /// A client has shut down, or closed.
    pub fn client_gone(&mut self, vm: usize) {
        self.knock(vm);
        // A vCPU that waits for room in a closed socket gets EPIPE.
        if let Some(vmm) = self.vmms.get_mut(vm)
            && std::mem::take(&mut vmm.is_blocked)
        {
            self.go_on_printing(vm);
        }
    }

    /// What was unread when the last holder closed.
    pub fn bytes_destroyed(&mut self, conn: usize, unread: usize) {
        let one = &self.conns[conn];
        if unread > 0 && one.is_ours && self.store.is_in_use {
            let vm = one.vm;
            self.break_rule(format!("vm {vm}: {unread} bytes died with their connection"));
        }
    }

    fn start_vmm(&mut self, vm: usize, prints: u64) {
        if self.vmms[vm].pid.is_some() {
            return;
        }
        let dir = self.vmms[vm].dir.clone();
        if self.disk.make_dir_all(&dir).is_err() {
            return;
        }
        let pid = self.new_process(false, Errand::None);
        let vmm = &mut self.vmms[vm];
        vmm.pid = Some(pid);
        vmm.life += 1;
        vmm.is_paused = false;
        let (life, serial) = (vmm.life, vmm.serial.clone());
        // What a crash has left is removed by whoever starts it.
        let _ = self.disk.remove_path(&serial);
        self.plan(vm, 100, 3000, Deed::Bind { life, boots: true, prints });
    }

    fn bind(&mut self, vm: usize, life: u64, boots: bool, prints: u64) {
        let vmm = &self.vmms[vm];
        let Some(pid) = vmm.pid.filter(|_| vmm.life == life) else { return };
        let serial = vmm.serial.clone();
        let Ok((inode, _)) = self.disk.bind_socket(&serial, 0) else { return };
        let backlog_max = if self.dice.chance(500) { 1 } else { 4096 };
        self.listeners.push(crate::kernel::sockets::Listener {
            inode,
            vm,
            pid,
            uid: 0,
            listens: false,
            is_open: true,
            backlog: std::collections::VecDeque::new(),
            backlog_max,
        });
        self.vmms[vm].listener = Some(self.listeners.len() - 1);
        self.plan(vm, 1, 2000, Deed::Listen { life, boots, prints });
    }

    fn listen(&mut self, vm: usize, life: u64, boots: bool, prints: u64) {
        let vmm = &self.vmms[vm];
        let Some(at) = vmm.listener.filter(|_| vmm.life == life) else { return };
        self.listeners[at].listens = true;
        let to = if boots { 20_000 } else { 100 };
        self.plan(vm, 1, to, Deed::GuestBoots { life, prints });
    }

    fn guest_boots(&mut self, vm: usize, life: u64, prints: u64) {
        let vmm = &mut self.vmms[vm];
        if vmm.life != life || vmm.pid.is_none() {
            return;
        }
        (vmm.is_on, vmm.thread, vmm.to_print, vmm.is_blocked) = (true, Thread::Serves, 0, false);
        vmm.ring.clear();
        self.serve_clients(vm);
        self.ask_to_print(vm, prints);
    }

    fn boot_again(&mut self, vm: usize, prints: u64) {
        let vmm = &self.vmms[vm];
        if vmm.pid.is_some() && !vmm.is_on && vmm.listener.is_none() {
            let life = vmm.life;
            self.plan(vm, 1, 1000, Deed::Bind { life, boots: false, prints });
        }
    }

    /// The path goes first, then the stream (fact 2.3).
    fn end_guest(&mut self, vm: usize, then: After) {
        let vmm = &mut self.vmms[vm];
        if vmm.pid.is_none() || !vmm.is_on {
            return;
        }
        vmm.is_on = false;
        vmm.life += 1;
        let (life, serial) = (vmm.life, vmm.serial.clone());
        let _ = self.disk.remove_path(&serial);
        self.plan(vm, 1, 300, Deed::EndStream { life, then });
    }

    fn end_stream(&mut self, vm: usize, life: u64, then: After) {
        if self.vmms[vm].life != life {
            return;
        }
        self.drop_console(vm);
        match then {
            After::Bind { prints } => {
                let slow = self.dice.chance(300);
                let (from, to) = if slow { (2000, 12_000) } else { (400, 1800) };
                self.plan(vm, from, to, Deed::Bind { life, boots: false, prints });
            }
            After::Exit => {
                if let Some(pid) = self.vmms[vm].pid.take() {
                    self.plan(vm, 700, 2000, Deed::Exit { pid, exit: Exit::Code(0) });
                }
            }
            After::Nothing => {}
        }
    }

    /// Thread, client and listener go; what the ring holds dies with them (fact 2.2).
    fn drop_console(&mut self, vm: usize) {
        let vmm = &mut self.vmms[vm];
        vmm.thread = Thread::None;
        vmm.ring.clear();
        vmm.is_blocked = false;
        let (client, listener) = (vmm.client.take(), vmm.listener.take());
        if let Some(conn) = client {
            self.close_server(conn);
        }
        if let Some(at) = listener {
            self.close_listener(at);
        }
    }

    /// SIGKILL: descriptors close one by one, the path stays (facts 1.4, 2.6).
    fn crash_vmm(&mut self, vm: usize) {
        let Some(pid) = self.vmms[vm].pid.take() else { return };
        let vmm = &mut self.vmms[vm];
        vmm.life += 1;
        vmm.is_on = false;
        let listener = vmm.listener.take();
        self.drop_console(vm);
        if let Some(listener) = listener {
            self.plan(vm, 1, 1000, Deed::EndListener { listener });
        }
        self.plan(vm, 1000, 2000, Deed::Exit { pid, exit: Exit::Signal(9) });
    }

    /// The serial thread looks at its client and its listener.
    fn serve_clients(&mut self, vm: usize) {
        if self.vmms[vm].thread != Thread::Serves {
            return;
        }
        let Some(listener) = self.vmms[vm].listener else { return };
        loop {
            if let Some(conn) = self.vmms[vm].client {
                let one = &self.conns[conn];
                if one.was_reset {
                    self.thread_dies(vm, conn);
                    return;
                }
                if one.left_at.is_some() || one.clients == 0 {
                    let plain = one.left_at.is_none();
                    self.close_server(conn);
                    self.vmms[vm].client = None;
                    if plain {
                        return self.sleep_thread(vm);
                    }
                }
            }
            let Some(next) = self.listeners[listener].backlog.pop_front() else { break };
            if let Some(old) = self.vmms[vm].client.replace(next) {
                self.close_server(old);
                self.displaced(vm, old, next);
            }
            self.conns[next].server = Server::Open;
            self.note(|| format!("vm {vm}: connection {next} is accepted"));
            if self.vmms[vm].version == Version::V53 {
                self.flush_ring(vm);
            }
            if std::mem::take(&mut self.vmms[vm].is_blocked) {
                self.go_on_printing(vm);
            }
        }
    }

    /// One client has taken another's place: who fights for a console must do so ever more seldom.
    fn displaced(&mut self, vm: usize, old: usize, new: usize) {
        let now = self.now;
        match (self.conns[old].is_ours, self.conns[new].is_ours) {
            (true, false) => {
                let displaced = &mut self.vmms[vm].displaced;
                displaced.push(now);
                displaced.retain(|at| now < *at + Duration::from_secs(1));
                let count = displaced.len();
                if count > DISPLACED_A_SECOND {
                    self.break_rule(format!("vm {vm}: displaced {count} times within a second"));
                }
            }
            (false, true) if now < self.vmms[vm].rival_until => {
                self.plan(vm, 500, 3000, Deed::ComeAgain);
            }
            _ => {}
        }
    }

    fn thread_dies(&mut self, vm: usize, conn: usize) {
        let vmm = &mut self.vmms[vm];
        vmm.thread = Thread::Dead;
        vmm.client = None;
        vmm.ring.clear();
        self.conns[conn].server = Server::Closed;
        self.note(|| format!("vm {vm}: the serial thread dies"));
        let one = &self.conns[conn];
        if one.is_ours && one.was_closed {
            self.break_rule(format!("vm {vm}: its serial thread was killed by us"));
        }
    }

    fn displace(&mut self, vm: usize, micros: u64) {
        let serial = self.vmms[vm].serial.clone();
        let Ok(info) = self.disk.socket_at(&serial) else { return };
        let conn = self.new_conn(false);
        if self.connect(conn, info.inode).is_ok() {
            self.plan(vm, micros, micros, Deed::LeaveOther { conn });
        }
    }

    fn truncate_log(&mut self, vm: usize, copies: bool) {
        let log = self.vmms[vm].log.clone();
        let Ok(bytes) = self.disk.read_file(&log) else { return };
        if copies {
            let _ = self.disk.write_file(&other_name(&log, "copy"), &bytes);
        }
        if self.disk.truncate_path(&log, 0).is_ok() {
            let outside = &mut self.vmms[vm].outside;
            outside.truncations += 1;
            outside.truncated_bytes += bytes.len() as u64;
        }
    }

    fn move_log(&mut self, vm: usize) {
        let log = self.vmms[vm].log.clone();
        let count = self.vmms[vm].outside.moves;
        if self.disk.rename_path(&log, &other_name(&log, &format!("moved{count}"))).is_ok() {
            self.vmms[vm].outside.moves += 1;
        }
    }
}

/// A name beside the log that is none of the collector's.
fn other_name(log: &std::path::Path, what: &str) -> PathBuf {
    log.with_file_name(format!("other-{what}"))
}
