//! How much a reader has to take in at once.
//!
//! **Invariant:** comments and blank lines make no file too long, tests make none too long.

use crate::file::SourceFile;
use crate::text;

/// Lines of code in a file, tests aside.
const CODE_LINES_MAX: usize = 400;
/// Lines of a function, its comments included: what fits a screen.
const FUNCTION_LINES_MAX: usize = 70;
/// Columns of a line.
const COLUMNS_MAX: usize = 100;

/// What is too big in a file.
pub fn too_big(file: &SourceFile) -> Vec<String> {
    let mut breaches = long_lines(file);
    breaches.extend(long_functions(file));
    let lines = file.shipped.lines().filter(|line| !line.trim().is_empty()).count();
    if lines > CODE_LINES_MAX {
        breaches
            .push(file.breach_of_all(&format!("{lines} lines of code, at most {CODE_LINES_MAX}")));
    }
    breaches
}

fn long_lines(file: &SourceFile) -> Vec<String> {
    let numbered = file.text.lines().zip(1..).map(|(line, number)| (number, line.chars().count()));
    let long = numbered.filter(|&(_, columns)| columns > COLUMNS_MAX);
    long.map(|(number, columns)| {
        format!("{}:{number}: {columns} columns, at most {COLUMNS_MAX}", file.path)
    })
    .collect()
}

fn long_functions(file: &SourceFile) -> Vec<String> {
    let tokens = text::tokens(&file.shipped);
    let functions = tokens.windows(2).filter(|two| two[0].1 == "fn" && two[1].1 != "(");
    let sized = functions.map(|two| {
        let (start, name) = (two[0].0, two[1].1);
        let end = text::item_end(&file.shipped, start);
        (start, name, file.shipped[start..end].matches('\n').count() + 1)
    });
    let long = sized.filter(|&(.., lines)| lines > FUNCTION_LINES_MAX);
    long.map(|(start, name, lines)| {
        file.breach(start, &format!("fn {name} has {lines} lines, at most {FUNCTION_LINES_MAX}"))
    })
    .collect()
}

#[test]
fn a_file_may_have_400_lines_of_code_and_any_number_of_others() {
    let file = |lines: usize, others: &str| {
        let source = "const A: u8 = 1;\n".repeat(lines) + &others.repeat(500);
        too_big(&SourceFile::new("src/a.rs", &source)).len()
    };
    assert_eq!(file(400, "// a word\n\n"), 0);
    assert_eq!(file(400, "#[cfg(test)]\nmod tests {\n}\n"), 0);
    assert_eq!(file(401, ""), 1);
}

#[test]
fn a_function_may_have_70_lines() {
    let function = |lines: usize, what: &str| {
        let source = format!("{what} {{\n{}}}\n", "    f();\n".repeat(lines - 2));
        too_big(&SourceFile::new("src/a.rs", &source)).len()
    };
    assert_eq!(function(70, "fn a()"), 0);
    assert_eq!(function(71, "fn a()"), 1);
    assert_eq!(function(71, "pub fn a<'a>(x: [u8; 2]) -> &'a str"), 1);
    assert_eq!(function(71, "#[test]\nfn a()"), 1);
    assert_eq!(function(71, "#[cfg(test)]\nfn a()"), 0);
    assert_eq!(function(200, "mod a"), 0);
}

#[test]
fn a_line_may_have_100_columns() {
    let line = |columns| too_big(&SourceFile::new("src/a.rs", &"/".repeat(columns))).len();
    assert_eq!((line(100), line(101)), (0, 1));
    assert_eq!(too_big(&SourceFile::new("src/a.rs", &format!("//{}", "ä".repeat(98)))).len(), 0);
}
