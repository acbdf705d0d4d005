//! A Linux user space of one program: an initramfs with busybox that prints numbered lines on the
//! first serial port and powers off.
//!
//! **Invariant:** made without root: it holds no device node; the kernel's devtmpfs has them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::process;

/// A command line with which the kernel prints on the first serial port from early on.
pub const COMMAND_LINE: &str = "console=ttyS0 panic=-1 rdinit=/init";

/// Packs the initramfs in `dir`; `busybox` is a static one.
pub fn initramfs(busybox: &Path, dir: &Path, lines: u32) -> PathBuf {
    let (root, image) = (dir.join("root"), dir.join("initramfs.cpio"));
    for name in ["bin", "dev", "proc"] {
        fs::create_dir_all(root.join(name)).expect("a directory of the initramfs");
    }
    fs::copy(busybox, root.join("bin/busybox")).expect("a copy of busybox");
    let init = root.join("init");
    fs::write(&init, init_script(lines)).expect("the init script");
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755)).expect("its mode");
    let pack = "cd \"$1\" && find . | cpio --quiet -o -H newc > \"$2\"";
    process::run_to_success(Command::new("sh").args(["-c", pack, "pack"]).args([&root, &image]));
    image
}

/// The lines as they come out of the serial port: its terminal puts a CR before each LF.
pub fn expected_lines(lines: u32) -> Vec<u8> {
    (0..lines)
        .map(|n| format!("line {n:08} from the user space of a Linux guest\r\n"))
        .collect::<String>()
        .into()
}

/// Nobody but the loop has the terminal open, so that its end is a close, which waits until the
/// last byte has left; on a busy host that wait ends too early, so that it is also looked whether
/// bytes still leave. The kernel's own messages are off meanwhile: they would come in between.
fn init_script(lines: u32) -> String {
    format!(
        "#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t proc proc /proc
echo 1 > /proc/sys/kernel/printk
n=0
while [ $n -lt {lines} ]; do
    printf 'line %08d from the user space of a Linux guest\\n' $n
    n=$((n + 1))
done > /dev/ttyS0
before=
sent=none
until [ \"$sent\" = \"$before\" ]; do
    /bin/busybox sleep 0.2
    before=$sent
    sent=$(/bin/busybox grep -o 'tx:[0-9]*' /proc/tty/driver/serial)
done
echo 7 > /proc/sys/kernel/printk
/bin/busybox poweroff -f
"
    )
}
