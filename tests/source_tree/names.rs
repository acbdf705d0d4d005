//! What a file says about itself, and names that say nothing.
//!
//! **Invariant:** a name is judged word by word: `metadata` isn't `data`.

use crate::file::{self, SourceFile};
use crate::text;

const EMPTY_WORDS: [&str; 6] = ["manager", "util", "utils", "helper", "helpers", "data"];

/// A file without a header, or with one that names no invariant. (`lib.rs` is the documentation of
/// the crate, `main.rs` a few lines; tests state theirs by their names.)
pub fn missing_header(file: &SourceFile) -> Vec<String> {
    let name = file.path.rsplit('/').next().unwrap_or_default();
    if !file.text.starts_with("//!") {
        return vec![file.breach_of_all("doesn't begin with a `//!` header")];
    }
    let header = file.text.lines().take_while(|line| line.starts_with("//!"));
    let exempt = matches!(name, "lib.rs" | "main.rs") || file::holds_only_tests(&file.path);
    if exempt || header.clone().any(|line| line.contains("**Invariant")) {
        return Vec::new();
    }
    vec![file.breach_of_all("its header states no **Invariant:**")]
}

/// Empty words in the name of the file or of a type or module in it.
pub fn empty_words(file: &SourceFile) -> Vec<String> {
    let mut breaches = Vec::new();
    if let Some(word) = empty_word(file.path.trim_end_matches(".rs")) {
        breaches.push(file.breach_of_all(&format!("`{word}` in its path says nothing")));
    }
    for two in text::tokens(&file.code).windows(2) {
        let [(_, keyword), (at, name)] = two else { unreachable!("windows of two") };
        if !matches!(*keyword, "struct" | "enum" | "trait" | "type" | "mod" | "union") {
            continue;
        }
        if let Some(word) = empty_word(name) {
            breaches.push(file.breach(*at, &format!("`{word}` in `{name}` says nothing")));
        }
    }
    breaches
}

fn empty_word(name: &str) -> Option<&'static str> {
    let mut spaced = String::new();
    for c in name.chars() {
        if !c.is_lowercase() {
            spaced.push(' ');
        }
        spaced.push(if c.is_alphanumeric() { c.to_ascii_lowercase() } else { ' ' });
    }
    let mut words = spaced.split_whitespace();
    words.find_map(|word| EMPTY_WORDS.into_iter().find(|empty| *empty == word))
}

#[test]
fn a_file_needs_a_header_with_an_invariant() {
    let breaches = |path, source| missing_header(&SourceFile::new(path, source)).len();
    assert_eq!(breaches("src/vm/mod.rs", "//! A VM.\n//! **Invariant:** pure.\n"), 0);
    assert_eq!(breaches("src/vm/mod.rs", "//! A VM.\nfn f() {} // **Invariant:** none\n"), 1);
    assert_eq!(breaches("src/vm/mod.rs", "use std::io;\n"), 1);
    assert_eq!(breaches("src/main.rs", "fn main() {}\n"), 1);
    assert_eq!(breaches("src/main.rs", "//! The binary.\nfn main() {}\n"), 0);
    assert_eq!(breaches("src/vm/tests.rs", "//! A VM's life.\n"), 0);
}

#[test]
fn an_empty_word_is_found_in_files_and_types() {
    let breaches = |path, source| empty_words(&SourceFile::new(path, source)).len();
    assert_eq!(breaches("src/vm/util.rs", ""), 1);
    assert_eq!(breaches("src/vm_helpers/mod.rs", ""), 1);
    assert_eq!(breaches("src/vm/mod.rs", "struct VmManager; enum LogData {} mod utils {}"), 3);
    assert_eq!(breaches("src/vm/mod.rs", "struct Metadata; // struct Data\nlet data = 1;"), 0);
}
