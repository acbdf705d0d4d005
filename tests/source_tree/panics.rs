//! Failures are values: what ships neither unwraps nor panics.
//!
//! **Invariant:** an exception states its reason in a comment that begins with `Infallible:`, on the
//! same line or in the comment right above. `assert!` and `unreachable!` are for bugs, and allowed.

use crate::file::SourceFile;
use crate::text;

const REASON: &str = "// Infallible:";

/// Calls of `.unwrap()` and `.expect(..)`, and macros that panic on purpose.
pub fn panicking_calls(file: &SourceFile) -> Vec<String> {
    let tokens = text::tokens(&file.shipped);
    let calls = tokens.windows(3).filter(|three| {
        matches!(
            [three[0].1, three[1].1, three[2].1],
            [".", "unwrap" | "expect" | "unwrap_err" | "expect_err", "("]
                | ["panic" | "todo" | "unimplemented", "!", _]
        )
    });
    let unexplained = calls.filter(|three| !is_explained(file, three[1].0));
    let named = unexplained.map(|three| (three[1].0, three.iter().map(|token| token.1)));
    named.map(|(at, call)| file.breach(at, &format!("`{}`", call.collect::<String>()))).collect()
}

fn is_explained(file: &SourceFile, offset: usize) -> bool {
    let line = text::line_number(&file.text, offset);
    let lines: Vec<_> = file.text.lines().take(line).collect();
    let above = lines[..line - 1].iter().rev().take_while(|line| line.trim().starts_with("//"));
    above.chain(lines.last()).any(|line| line.contains(REASON))
}

#[test]
fn a_call_that_may_panic_needs_a_reason() {
    let breaches = |source| panicking_calls(&SourceFile::new("src/a.rs", source)).len();
    assert_eq!(breaches("fn f() { g().unwrap(); h().expect(\"x\"); panic!(\"y\"); todo!() }"), 4);
    assert_eq!(breaches("g()\n    .unwrap()"), 1);
    assert_eq!(breaches("g().unwrap(); // Infallible: g is a constant"), 0);
    assert_eq!(breaches("// Infallible: g is a constant,\n// as f says.\ng().unwrap();"), 0);
    assert_eq!(breaches("// Infallible: g is a constant\nf();\ng().unwrap();"), 1);
    assert_eq!(breaches("g().unwrap_or(1); assert!(x); // .unwrap() panic!()"), 0);
    assert_eq!(breaches("#[cfg(test)]\nmod tests { fn f() { g().unwrap() } }"), 0);
}
