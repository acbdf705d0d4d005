//! Who may know whom.
//!
//! **Invariant:** tests may use the real clock and anything else; what ships may not.

use std::collections::{BTreeMap, BTreeSet};

use crate::file::SourceFile;
use crate::text;

/// What only `src/env` may say.
const KERNEL_WORDS: [&str; 3] = ["libc", "mio", "unsafe"];

/// A module, and one that it doesn't know.
const FORBIDDEN: [(&[&str], &[&str]); 8] = [
    (&["env"], &["reactor"]),
    (&["vm"], &["reactor"]),
    (&["log"], &["reactor"]),
    (&["ch"], &["reactor"]),
    (&["control"], &["reactor"]),
    (&["vm"], &["env", "os"]),
    (&["ch"], &["env", "os"]),
    (&["control"], &["env", "os"]),
];

/// A path from the crate's root on.
type Target<'a> = Vec<&'a str>;

/// Words of the kernel's bindings, and the clock, in a file that isn't the environment's.
pub fn kernel_words_outside_env(file: &SourceFile) -> Vec<String> {
    if file.module().first() == Some(&"env") {
        return Vec::new();
    }
    let tokens = text::tokens(&file.shipped);
    let breach = |at, word| file.breach(at, &format!("`{word}` is for src/env alone"));
    let words = tokens.iter().filter(|(_, word)| KERNEL_WORDS.contains(word));
    let clock = tokens
        .windows(3)
        .filter(|three| three.iter().map(|(_, token)| *token).eq(["Instant", "::", "now"]));
    words
        .map(|&(at, word)| breach(at, word))
        .chain(clock.map(|three| breach(three[0].0, "Instant::now")))
        .collect()
}

/// Imports that a layer must not have.
pub fn forbidden_imports(file: &SourceFile) -> Vec<String> {
    let module = file.module();
    let outside_cli = module.first().is_some_and(|top| *top != "cli");
    let is_forbidden = |target: &[&str]| {
        let below =
            FORBIDDEN.iter().any(|(who, whom)| module.starts_with(who) && target.starts_with(whom));
        below || (outside_cli && target.starts_with(&["cli"]))
    };
    let found = imports(file).into_iter().filter(|(_, target)| is_forbidden(target));
    found
        .map(|(at, target)| {
            file.breach(at, &format!("{} imports {}", module.join("::"), target.join("::")))
        })
        .collect()
}

/// Circles between the modules right below the crate.
pub fn circles(files: &[SourceFile]) -> Vec<String> {
    let mut graph: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for file in files {
        let Some(&top) = file.module().first() else { continue };
        let targets = imports(file).into_iter().filter_map(|(_, target)| target.first().copied());
        graph.entry(top).or_default().extend(targets.filter(|&target| target != top));
    }
    let caught = graph.keys().filter(|&&top| reachable(&graph, top).contains(top));
    caught.map(|top| format!("src/{top} imports itself through {:?}", graph[top])).collect()
}

fn reachable<'a>(graph: &BTreeMap<&str, BTreeSet<&'a str>>, from: &'a str) -> BTreeSet<&'a str> {
    let (mut found, mut left) = (BTreeSet::new(), vec![from]);
    while let Some(next) = left.pop() {
        let targets = graph.get(next).into_iter().flatten();
        left.extend(targets.filter(|&&target| found.insert(target)));
    }
    found
}

/// Every path into the crate that the shipped code of a file names. (`super` is taken from the
/// file's own module: there are no inline modules but those for tests.)
fn imports(file: &SourceFile) -> Vec<(usize, Target<'_>)> {
    let tokens = text::tokens(&file.shipped);
    let mut found = Vec::new();
    for (index, &(at, word)) in tokens.iter().enumerate() {
        let continued = index.checked_sub(1).is_some_and(|before| tokens[before].1 == "::");
        let goes_on = tokens.get(index + 1).is_some_and(|next| next.1 == "::");
        if !matches!(word, "crate" | "super") || continued || !goes_on {
            continue;
        }
        let mut base = if word == "super" { file.module() } else { Vec::new() };
        base.pop();
        let mut targets = Vec::new();
        expand(&tokens[index + 2..], base, &mut targets);
        found.extend(targets.into_iter().map(|target| (at, target)));
    }
    found
}

/// Adds all paths of the use tree that `tokens` begin with, each below `base`; returns what follows
/// the tree.
fn expand<'t, 'a>(
    mut tokens: &'t [(usize, &'a str)],
    mut base: Target<'a>,
    found: &mut Vec<Target<'a>>,
) -> &'t [(usize, &'a str)] {
    while let [(_, word), rest @ ..] = tokens {
        match *word {
            "{" => return expand_list(rest, &base, found),
            "super" => drop(base.pop()),
            "self" | "*" | "<" => {}
            name => base.push(name),
        }
        match rest {
            [(_, "::"), after @ ..] => tokens = after,
            _ => {
                tokens = rest;
                break;
            }
        }
    }
    found.push(base);
    tokens
}

fn expand_list<'t, 'a>(
    mut tokens: &'t [(usize, &'a str)],
    base: &Target<'a>,
    found: &mut Vec<Target<'a>>,
) -> &'t [(usize, &'a str)] {
    loop {
        tokens = match tokens {
            [] => return tokens,
            [(_, "}"), rest @ ..] => return rest,
            [(_, ","), rest @ ..] | [(_, "as"), _, rest @ ..] => rest,
            _ => expand(tokens, base.clone(), found),
        };
    }
}

#[test]
fn the_kernel_is_for_the_environment_alone() {
    let breaches = |path, source| kernel_words_outside_env(&SourceFile::new(path, source)).len();
    assert_eq!(breaches("src/vm/mod.rs", "use mio::Poll;"), 1);
    assert_eq!(breaches("src/vm/mod.rs", "fn f() { unsafe { libc::getpid() } }"), 2);
    assert_eq!(breaches("src/reactor/turn.rs", "let now = std::time::Instant::now();"), 1);
    assert_eq!(breaches("src/env/os/mod.rs", "let now = Instant::now(); unsafe {}"), 0);
    assert_eq!(
        breaches("src/vm/mod.rs", "//! no mio here\n#![deny(unsafe_code)]\nlet now = 1;"),
        0
    );
    assert_eq!(breaches("src/vm/mod.rs", "#[cfg(test)]\nmod tests { use libc; }"), 0);
}

#[test]
fn a_layer_must_not_import_what_lies_above_it() {
    let breaches = |path, source| forbidden_imports(&SourceFile::new(path, source)).len();
    assert_eq!(breaches("src/vm/mod.rs", "use crate::reactor::Key;"), 1);
    assert_eq!(breaches("src/vm/mod.rs", "use crate::{env::{self, os::OsEnv}, reactor};"), 2);
    assert_eq!(breaches("src/log/append.rs", "use super::super::reactor::Key;"), 1);
    assert_eq!(breaches("src/ch/mod.rs", "fn f() { super::env::os::now() }"), 1);
    assert_eq!(breaches("src/reactor/mod.rs", "use crate::cli::run;"), 1);
    assert_eq!(breaches("src/control/request.rs", "use crate::reactor as r;"), 1);
    assert_eq!(breaches("src/main.rs", "use crate::cli::run;"), 0);
    assert_eq!(breaches("src/cli/run.rs", "use crate::cli::args; use crate::env::os;"), 0);
    assert_eq!(breaches("src/reactor/mod.rs", "use crate::{env::os, vm::{Vm as V, *}};"), 0);
    assert_eq!(breaches("src/vm/dial.rs", "pub(super) fn f() {} use super::reactor_of;"), 0);
}

#[test]
fn a_circle_of_modules_is_found() {
    let tree = |ch: &str| {
        let vm = SourceFile::new("src/vm/mod.rs", "use crate::{limits, log::append::Log};");
        let log = SourceFile::new("src/log/append.rs", "use crate::ch; use crate::log::age;");
        [vm, log, SourceFile::new("src/ch/mod.rs", ch)]
    };
    assert_eq!(circles(&tree("use super::vm::Vm;")).len(), 3);
    assert_eq!(circles(&tree("use super::limits;")).len(), 0);
}
