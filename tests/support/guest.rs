//! The tiny guest, built from `tests/guest` into a test's own directory, and what it prints.
//!
//! **Invariant:** nothing is written outside the directory that the caller names.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::process;

/// Compiles the guest into `dir`: an image for the `-kernel` of QEMU or the `--kernel` of Cloud
/// Hypervisor. The code is 32-bit; the wrapping is ELF64, the only class Cloud Hypervisor loads.
pub fn build(dir: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guest");
    let (linked, image) = (dir.join("guest.elf32"), dir.join("guest"));
    process::run_to_success(
        Command::new("gcc")
            .args(["-m32", "-O1", "-Wall", "-Wextra", "-Werror", "-ffreestanding", "-nostdlib"])
            .args(["-static", "-fno-pie", "-no-pie", "-fno-stack-protector", "-mno-sse"])
            .args(["-fno-asynchronous-unwind-tables", "-fcf-protection=none"])
            .args(["-Wl,--build-id=none,--no-warn-rwx-segments,-n", "-Wl,-T"])
            .arg(source.join("guest.ld"))
            .arg("-o")
            .arg(&linked)
            .arg(source.join("guest.c")),
    );
    process::run_to_success(
        Command::new("objcopy")
            .args(["-I", "elf32-i386", "-O", "elf64-x86-64"])
            .args([&linked, &image]),
    );
    image
}

/// What the guest prints for `lines=N` in one boot, without what `echo=1` adds.
pub fn expected_output(lines: u32) -> Vec<u8> {
    let numbered = |n| format!("SEQ {n:08} the quick brown fox jumps over the lazy dog\n");
    let body: String = (0..lines).map(numbered).collect();
    format!("GUEST-UP\n{body}GUEST-DONE\n").into_bytes()
}
