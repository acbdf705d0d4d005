//! The description of the API, judged by somebody else's reader.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use super::support::family::output;
use super::support::skip;
use super::support::wait::PATIENCE;

/// kin-openapi's verdict on a description; Debian's packages have its source.
fn judged(description: &Path) -> Option<Output> {
    let go = skip::program("go")?;
    let sources = Path::new("/usr/share/gocode");
    if !sources.join("src/github.com/getkin/kin-openapi").is_dir() {
        return skip::needs("kin-openapi", "package golang-github-getkin-kin-openapi-dev");
    }
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/control/openapi/validate.go");
    let cache = tempfile::tempdir().expect("a directory");
    let mut command = Command::new(go);
    command.args(["run", program]).env("GO111MODULE", "off").env("GOPATH", sources);
    command.env("GOCACHE", cache.path()).env("GOFLAGS", "");
    command.stdin(Stdio::from(File::open(description).expect("a description")));
    Some(output(&mut command, PATIENCE))
}

#[test]
fn another_reader_finds_nothing_wrong_with_the_description() {
    let description = concat!(env!("CARGO_MANIFEST_DIR"), "/src/control/openapi.json");
    let Some(verdict) = judged(Path::new(description)) else { return };
    assert!(verdict.status.success(), "{}", String::from_utf8_lossy(&verdict.stderr));
    // It would say so: an example that its own schema forbids.
    let dir = tempfile::tempdir().expect("a directory");
    let wrong = dir.path().join("wrong.json");
    let text = std::fs::read_to_string(description).expect("UTF-8");
    let broken = text.replace("\"event\": \"connected\"", "\"event\": \"conected\"");
    assert_ne!(broken, text);
    std::fs::write(&wrong, broken).expect("written");
    let verdict = judged(&wrong).expect("the reader is there");
    assert!(!verdict.status.success());
}
