//! Building and finding programs.
//!
//! Owns nothing.

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;
use std::env;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Builds a cargo package's binary, for speed: its path, wherever the target directory is.
///
/// # Errors
/// Where there is no cargo, or it fails.
pub fn cargo(manifest: &Path, binary: &str) -> Result<PathBuf> {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--release", "--locked", "--bin", binary]);
    cargo.args(["--message-format", "json-render-diagnostics", "--manifest-path"]).arg(manifest);
    // What is said in cargo's own words is for the user, on stderr.
    let output = cargo.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = output.context("can't run cargo")?;
    if !output.status.success() {
        bail!("cargo can't build {}", manifest.display());
    }
    let path = executable(&String::from_utf8_lossy(&output.stdout), binary);
    path.with_context(|| format!("cargo names no binary {binary} of {}", manifest.display()))
}

/// The path of a binary, in what cargo says about its artifacts.
fn executable(messages: &str, binary: &str) -> Option<PathBuf> {
    let artifacts = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut paths = artifacts.filter_map(|artifact| {
        let named = artifact["target"]["name"] == binary;
        artifact["executable"].as_str().filter(|_| named).map(PathBuf::from)
    });
    paths.next_back()
}

/// The first line that a program says when asked for its version.
///
/// # Errors
/// Where there is no such program: with the package that brings it.
pub fn version(program: &str, arguments: &[&str], package: &str) -> Result<String> {
    said_by(Path::new(program), arguments).map_err(|error| match error.kind() {
        ErrorKind::NotFound => anyhow!("there is no {program} (apt-get install {package})"),
        _ => anyhow!("can't run {program}: {error}"),
    })
}

/// The first line that a program says on its output.
///
/// # Errors
/// Where it can't be run.
pub fn said_by(program: &Path, arguments: &[&str]) -> io::Result<String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    Ok(said.lines().next().unwrap_or_default().trim().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binary_is_found_in_cargos_messages() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"a"},"executable":null}
            {"reason":"compiler-artifact","target":{"name":"other"},"executable":"/t/other"}
            {"reason":"compiler-artifact","target":{"name":"a"},"executable":"/t/a"}
            {"reason":"build-finished","success":true}"#;
        assert_eq!(executable(messages, "a"), Some("/t/a".into()));
        assert_eq!(executable(messages, "b"), None);
    }

    #[test]
    fn a_program_that_is_not_there_is_told_with_its_package() {
        let error = version("no-such-program", &[], "some-package").expect_err("not there");
        assert!(error.to_string().contains("apt-get install some-package"));
    }
}
