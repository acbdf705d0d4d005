//! Which packages this one may build on.
//!
//! **Invariant:** a package that isn't on the list needs a reason, and a line here.

const SHIPPED: [&str; 18] = [
    // A log's bytes in lines of JSON.
    "base64",
    "clap",
    // The completion of the command line in the shells.
    "clap_complete",
    "env_logger",
    // The rules of a shell's wildcards, for one component of `--watch`.
    "glob",
    // A hash table of numbers whose keys lie elsewhere: the standard library's has none.
    "hashbrown",
    "httparse",
    // RFC 3339, for the events file.
    "humantime",
    "libc",
    "log",
    "mio",
    // Terminals and poll(2), for the binary: only src/env has `unsafe`.
    "rustix",
    "serde",
    "serde_json",
    "signal-hook",
    "slab",
    "socket2",
    // Which characters have no width, for what is shown on a terminal.
    "unicode-width",
];

/// What tests and benchmarks may use beyond that.
const FOR_TESTS: [&str; 3] = ["criterion", "proptest", "tempfile"];

/// The dependencies in a manifest that aren't on the list of their section.
pub fn unlisted(manifest: &str) -> Vec<String> {
    let mut section = "";
    let mut breaches = Vec::new();
    for line in manifest.lines().map(str::trim) {
        if let Some(header) = line.strip_prefix('[') {
            section = header.trim_matches(['[', ']']);
            let name = section.rsplit_once("dependencies.").map(|(_, name)| name);
            breaches.extend(name.and_then(|name| breach(section, name)));
        } else if section.ends_with("dependencies") {
            let name = line.split(['=', '.', ' ']).next().unwrap_or_default();
            breaches.extend(breach(section, name.trim_matches('"')));
        }
    }
    breaches
}

fn breach(section: &str, name: &str) -> Option<String> {
    let for_tests = section.contains("dev-dependencies") && FOR_TESTS.contains(&name);
    let listed = name.is_empty() || name.starts_with('#') || SHIPPED.contains(&name) || for_tests;
    (!listed).then(|| format!("Cargo.toml: [{section}] has {name}, which isn't on the list"))
}

#[test]
fn an_unlisted_dependency_is_found_in_every_section() {
    for manifest in [
        "[dependencies]\ntokio = \"1\"",
        "[dependencies]\nlog = \"0.4\"\ntokio = { version = \"1\" }",
        "[dependencies]\ntokio.workspace = true",
        "[dependencies.tokio]\nversion = \"1\"",
        "[build-dependencies]\ntokio = \"1\"",
        "[target.'cfg(unix)'.dependencies]\ntokio = \"1\"",
        "[dependencies]\ntempfile = \"3\"",
    ] {
        assert_eq!(unlisted(manifest).len(), 1, "{manifest}");
    }
    let listed = "[package]\nname = \"x\"\n[dependencies]\n# why\nmio = \"1\"\n\n[dev-dependencies]\n\
                  tempfile = \"3\"\n[profile.dev]\ndebug = 1";
    assert_eq!(unlisted(listed), Vec::<String>::new());
}
