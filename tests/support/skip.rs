//! Tools that a machine may lack: the test that needs one says so and is skipped, but under
//! `SERIALD_REQUIRE=all` it fails, so that no skip can hide.
//!
//! **Invariant:** a tool that is named explicitly (`SERIALD_LINUX_KERNEL`, `CLOUD_HYPERVISOR`) and
//! isn't there is a failure, never a skip.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The path of `program`, looked up in PATH and in the `sbin` directories.
pub fn program(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let places = env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    let found = places.map(|place| place.join(program)).find(|file| file.is_file());
    found_or_skipped(program, found)
}

/// A compiler for the tiny guest: `gcc` that can do `-m32`, and `objcopy`.
pub fn guest_compiler() -> Option<()> {
    program("objcopy")?;
    let gcc = program("gcc")?;
    let mut probe = Command::new(gcc);
    probe.args(["-m32", "-fsyntax-only", "-x", "c", "/dev/null"]).stderr(Stdio::null());
    let works = probe.status().is_ok_and(|status| status.success());
    found_or_skipped("gcc -m32", works.then_some(()))
}

/// A kernel image for QEMU's `-kernel`, which `SERIALD_LINUX_KERNEL` names.
pub fn linux_kernel() -> Option<PathBuf> {
    let what = "a Linux kernel (SERIALD_LINUX_KERNEL)";
    found_or_skipped(what, named_by("SERIALD_LINUX_KERNEL"))
}

/// A real Cloud Hypervisor, which `CLOUD_HYPERVISOR` names. `SERIALD_REQUIRE=all` doesn't ask for
/// one: it needs KVM, and packages don't carry it.
pub fn cloud_hypervisor() -> Option<PathBuf> {
    let found = named_by("CLOUD_HYPERVISOR");
    if found.is_none() {
        eprintln!("skipped: CLOUD_HYPERVISOR names no Cloud Hypervisor");
    }
    found
}

/// Something that this machine does not allow, and why.
pub fn needs<T>(what: &str, why: &str) -> Option<T> {
    found_or_skipped(&format!("{what} ({why})"), None)
}

fn named_by(variable: &str) -> Option<PathBuf> {
    let path = PathBuf::from(env::var_os(variable).filter(|value| !value.is_empty())?);
    assert!(Path::exists(&path), "{variable} names {}, which isn't there", path.display());
    Some(path)
}

fn found_or_skipped<T>(what: &str, found: Option<T>) -> Option<T> {
    if found.is_none() {
        let required = env::var("SERIALD_REQUIRE").is_ok_and(|value| value == "all");
        assert!(!required, "{what} is missing, and SERIALD_REQUIRE=all allows no skip");
        eprintln!("skipped: {what} is missing");
    }
    found
}
