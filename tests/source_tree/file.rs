//! One source file, as the rules see it.
//!
//! **Invariant:** `text`, `code` and `shipped` have the same offsets and lines.

use crate::text;

/// A `.rs` file of the tree.
pub struct SourceFile {
    /// Relative to the package, with `/`.
    pub path: String,
    /// The source itself.
    pub text: String,
    /// Without comments and literals.
    pub code: String,
    /// `code` without tests; empty for a file that holds nothing else.
    pub shipped: String,
}

impl SourceFile {
    pub fn new(path: &str, source: &str) -> SourceFile {
        let code = text::code(source);
        let shipped =
            if holds_only_tests(path) { blank(&code) } else { text::without_tests(&code) };
        SourceFile { path: path.to_owned(), text: source.to_owned(), code, shipped }
    }

    /// The module's path within the crate: `["log", "rotation"]`; empty for `lib.rs`, `main.rs` and
    /// whatever isn't below `src`.
    pub fn module(&self) -> Vec<&str> {
        let Some(path) = self.path.strip_prefix("src/") else { return Vec::new() };
        let path = path.trim_end_matches(".rs").trim_end_matches("/mod");
        if matches!(path, "lib" | "main") { Vec::new() } else { path.split('/').collect() }
    }

    /// A breach of a rule at `offset`.
    pub fn breach(&self, offset: usize, what: &str) -> String {
        format!("{}:{}: {what}", self.path, text::line_number(&self.text, offset))
    }

    /// A breach of a rule by the file as a whole.
    pub fn breach_of_all(&self, what: &str) -> String {
        format!("{}: {what}", self.path)
    }
}

/// `tests.rs`, `x_tests.rs`, and whatever lies in a folder `tests`.
pub fn holds_only_tests(path: &str) -> bool {
    path.contains("/tests/") || path.ends_with("/tests.rs") || path.ends_with("_tests.rs")
}

fn blank(code: &str) -> String {
    code.bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }).collect()
}

#[test]
fn a_file_knows_its_module() {
    for (path, module) in [
        ("src/lib.rs", &[][..]),
        ("src/vm/mod.rs", &["vm"]),
        ("src/vm/dial.rs", &["vm", "dial"]),
        ("src/limits.rs", &["limits"]),
        ("tools/ch-sim/main.rs", &[]),
    ] {
        assert_eq!(SourceFile::new(path, "").module(), module, "{path}");
    }
}

#[test]
fn a_file_of_tests_ships_nothing() {
    for path in ["src/vm/tests.rs", "src/vm/dial_tests.rs", "src/vm/tests/dial.rs"] {
        assert_eq!(SourceFile::new(path, "fn a() {}\n").shipped, "         \n", "{path}");
    }
    assert_eq!(SourceFile::new("src/vm/mod.rs", "fn a() {}\n").shipped, "fn a() {}\n");
}
