//! QEMU by software emulation, as a VMM whose serial port goes to a Unix socket.
//!
//! **Invariant:** no KVM, so that the guest runs wherever the tests do.

use std::path::Path;
use std::process::Command;

use super::process::Process;

/// What a QEMU is to boot.
pub struct Guest<'a> {
    /// The image for `-kernel`.
    pub kernel: &'a Path,
    /// The image for `-initrd`.
    pub initramfs: Option<&'a Path>,
    /// The kernel's command line.
    pub command_line: &'a str,
    /// Size of its memory.
    pub memory_mib: u32,
}

/// Boots `guest`; QEMU, `program`, connects its first serial port to the socket `serial`. It ends
/// when the guest powers off or resets.
pub fn boot(program: &Path, dir: &Path, serial: &Path, guest: &Guest) -> Process {
    let mut command = Command::new(program);
    command
        .args(["-machine", "pc,accel=tcg", "-nodefaults", "-display", "none", "-no-reboot"])
        .args(["-m", &guest.memory_mib.to_string()])
        .args(["-append", guest.command_line])
        .arg("-kernel")
        .arg(guest.kernel)
        .args(["-chardev", &format!("socket,id=serial,path={}", serial.display())])
        .args(["-serial", "chardev:serial"]);
    if let Some(initramfs) = guest.initramfs {
        command.arg("-initrd").arg(initramfs);
    }
    Process::start("qemu", dir, &mut command)
}
