//! Rust source with everything blanked that isn't code: comments, strings and, on request, tests.
//!
//! **Invariant:** what is blanked becomes spaces, byte for byte, so that offsets and line numbers
//! stay what they are in the source.

use std::ops::Range;

/// `source` without comments, strings and character literals.
pub fn code(source: &str) -> String {
    let mut blanked = source.as_bytes().to_vec();
    let mut at = 0;
    while at < source.len() {
        let end = at + literal_or_comment(&source[at..], previous(source, at));
        if end == at {
            at += source[at..].chars().next().map_or(1, char::len_utf8);
        } else {
            blank(&mut blanked, at..end);
            at = end;
        }
    }
    String::from_utf8(blanked).expect("only whole characters are blanked")
}

/// `code` without the items that are marked with `#[cfg(test)]`.
pub fn without_tests(code: &str) -> String {
    let mut blanked = code.as_bytes().to_vec();
    let mut from = 0;
    while let Some(found) = code[from..].find("#[cfg(test)]") {
        let start = from + found;
        let end = item_end(code, start + "#[cfg(test)]".len());
        blank(&mut blanked, start..end);
        from = end;
    }
    String::from_utf8(blanked).expect("only whole characters are blanked")
}

/// Where the item that begins at `from` ends: after its block, or its semicolon if that comes first.
pub fn item_end(code: &str, from: usize) -> usize {
    let (mut braces, mut others) = (0_usize, 0_usize);
    for (offset, byte) in code.bytes().enumerate().skip(from) {
        match byte {
            b'{' => braces += 1,
            b'(' | b'[' => others += 1,
            b')' | b']' => others = others.saturating_sub(1),
            b'}' if braces <= 1 => return offset + 1,
            b'}' => braces -= 1,
            b';' if braces == 0 && others == 0 => return offset + 1,
            _ => {}
        }
    }
    code.len()
}

/// The tokens of `code` with where they begin: words (identifiers, keywords, numbers), `::`, and
/// any other character by itself.
pub fn tokens(code: &str) -> Vec<(usize, &str)> {
    let (mut found, mut from) = (Vec::new(), 0);
    while let Some(offset) = code[from..].find(|c: char| !c.is_whitespace()) {
        let (start, rest) = (from + offset, &code[from + offset..]);
        let length = match rest.find(|c| !is_word(c)).unwrap_or(rest.len()) {
            0 if rest.starts_with("::") => 2,
            0 => rest.chars().next().map_or(1, char::len_utf8),
            length => length,
        };
        found.push((start, &rest[..length]));
        from = start + length;
    }
    found
}

/// The number of the line in which `offset` lies, from 1.
pub fn line_number(text: &str, offset: usize) -> usize {
    text[..offset].bytes().filter(|&byte| byte == b'\n').count() + 1
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

fn previous(source: &str, at: usize) -> Option<char> {
    source[..at].chars().next_back()
}

fn blank(bytes: &mut [u8], range: Range<usize>) {
    for byte in &mut bytes[range] {
        if *byte != b'\n' {
            *byte = b' ';
        }
    }
}

/// Length of the comment or literal that `rest` begins with; 0 if it begins with something else.
fn literal_or_comment(rest: &str, before: Option<char>) -> usize {
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return block_comment(rest);
    }
    if rest.starts_with('"') {
        return quoted(rest, '"');
    }
    if rest.starts_with('\'') {
        return character(rest);
    }
    // A prefix counts only at the beginning of a word: `br"` is a literal, the end of `for` isn't.
    if before.is_some_and(is_word) {
        return 0;
    }
    let prefix = ["br", "cr", "r"].into_iter().find(|prefix| rest.starts_with(prefix));
    prefix.map_or(0, |prefix| raw(rest, prefix.len()))
}

fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest[at..].starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// A character literal; a lifetime or a label isn't one.
fn character(rest: &str) -> usize {
    let mut inside = rest.chars().skip(1);
    let escaped = inside.next() == Some('\\');
    let closed = inside.next() == Some('\'');
    if escaped || closed { quoted(rest, '\'') } else { 0 }
}

/// `r"..."` or `r#"..."#` with any number of `#`, the prefix being `prefix` bytes long.
fn raw(rest: &str, prefix: usize) -> usize {
    let hashes = rest[prefix..].bytes().take_while(|&byte| byte == b'#').count();
    let body = prefix + hashes + 1;
    if rest.as_bytes().get(body - 1) != Some(&b'"') {
        return 0;
    }
    let end = format!("\"{}", "#".repeat(hashes));
    rest[body..].find(&end).map_or(rest.len(), |length| body + length + end.len())
}

#[test]
fn comments_and_literals_are_blanked_and_code_stays() {
    for (source, expected) in [
        ("a // unsafe\nb", "a          \nb"),
        ("a /* b /* c */ d */ e", "a                   e"),
        (r#"f("mio \" x") y"#, "f(          ) y"),
        (r##"f(r#"a "b" c"#) y"##, "f(            ) y"),
        (r#"f(b"libc") y"#, "f(b      ) y"),
        (r"f('\'', '{') y", "f(    ,    ) y"),
        ("fn f<'a>(x: &'a str)", "fn f<'a>(x: &'a str)"),
        ("for x in bar", "for x in bar"),
        ("'ä' b", "     b"),
    ] {
        assert_eq!(code(source), expected, "{source}");
    }
}

#[test]
fn an_item_for_tests_is_blanked_to_its_end() {
    let left = |source| {
        let left = without_tests(source);
        left.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let inline = "fn a() {}\n#[cfg(test)]\nmod tests { fn b() { {} } }\nfn c() {}";
    assert_eq!(left(inline), "fn a() {} fn c() {}");
    assert_eq!(left("#[cfg(test)]\nmod tests;\nfn c() {}"), "fn c() {}");
    assert_eq!(left("#[cfg(test)]\nfn b(x: [u8; 2]) {}\nfn c() {}"), "fn c() {}");
}

#[test]
fn tokens_are_words_paths_and_single_characters() {
    let found: Vec<_> = tokens("use a_b::{c};").into_iter().map(|(_, token)| token).collect();
    assert_eq!(found, ["use", "a_b", "::", "{", "c", "}", ";"]);
    assert_eq!(tokens(" x  y"), [(1, "x"), (4, "y")]);
    assert_eq!(line_number("a\nb\nc", 4), 3);
}
