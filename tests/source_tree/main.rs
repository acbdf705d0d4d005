//! The rules of the house, checked on the source tree: layers, sizes, names, headers, dependencies.
//!
//! Each rule is a function over text that returns what breaks it, and is proven able to fail beside
//! its definition; here it is applied to the files.
//! **Invariant:** reads only the tree; no rule depends on the compiler.

mod dependencies;
mod file;
mod layers;
mod names;
mod panics;
mod sizes;
mod text;

use std::fs;
use std::path::Path;

use file::SourceFile;

/// All `.rs` files below the given folders of the package.
fn files(folders: &[&str]) -> Vec<SourceFile> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for folder in folders {
        collect(root, &root.join(folder), &mut found);
    }
    found.sort_by(|one, other| one.path.cmp(&other.path));
    assert!(!found.is_empty(), "no source below {folders:?}");
    found
}

fn collect(root: &Path, folder: &Path, found: &mut Vec<SourceFile>) {
    for entry in fs::read_dir(folder).expect("a folder of the tree") {
        let path = entry.expect("an entry of it").path();
        if path.is_dir() {
            collect(root, &path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root).expect("below the root").to_str().expect("UTF-8");
            found.push(SourceFile::new(name, &fs::read_to_string(&path).expect("a source file")));
        }
    }
}

/// Fails with all breaches that `rule` finds in the files.
fn check(folders: &[&str], rule: impl Fn(&SourceFile) -> Vec<String>) {
    assert_none(files(folders).iter().flat_map(rule).collect());
}

fn assert_none(breaches: Vec<String>) {
    assert!(breaches.is_empty(), "\n{}", breaches.join("\n"));
}

#[test]
fn only_the_environment_talks_to_the_kernel_and_the_clock() {
    check(&["src"], layers::kernel_words_outside_env);
}

#[test]
fn layers_import_only_what_lies_below_them() {
    check(&["src"], layers::forbidden_imports);
}

#[test]
fn no_module_of_the_top_level_imports_itself_through_others() {
    assert_none(layers::circles(&files(&["src"])));
}

#[test]
fn files_functions_and_lines_fit_their_limits() {
    check(&["src", "tools"], sizes::too_big);
}

#[test]
fn every_file_says_what_it_is_and_what_it_never_does() {
    check(&["src"], names::missing_header);
}

#[test]
fn no_file_or_type_has_a_name_that_says_nothing() {
    check(&["src", "tools", "tests", "benches"].map(existing).concat(), names::empty_words);
}

#[test]
fn nothing_outside_tests_panics_on_a_failure() {
    check(&["src"], panics::panicking_calls);
}

#[test]
fn every_dependency_is_on_the_list() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    assert_none(dependencies::unlisted(&fs::read_to_string(manifest).expect("Cargo.toml")));
}

/// The folder as a list, empty where there is none (yet).
fn existing(folder: &str) -> Vec<&str> {
    let there = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).is_dir();
    if there { vec![folder] } else { Vec::new() }
}
