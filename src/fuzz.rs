//! Inputs for the property tests of codecs: valid ones damaged, valid ones cut into pieces, JSON as
//! no writer of ours would spell it.
//!
//! Owns the strategies that several codecs share. For tests alone; the binaries include it too.
//! **Invariant:** knows no codec; the valid inputs to start from come from the caller.

// Each of the crates that include it uses a part of it.
#![allow(dead_code)]

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use std::ops::Range;

/// What makes parsers stumble, put in anywhere.
const TOKENS: [&[u8]; 32] = [
    b"\0",
    b"\n",
    b"\r\n",
    b"\r",
    b"\t",
    b" ",
    b"\xff",
    b"\xc3",
    b"\xed\xa0\x80",
    b"\xef\xbb\xbf",
    b"\x1b[2J",
    b"\"",
    b"\\",
    b"\\u",
    b"\\ud800",
    b"\\ud83d\\ude00",
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b"=",
    b"/",
    b"..",
    b"*",
    b"null",
    b"-",
    b".5",
    b"e400",
    b"\"\":{}",
    b"\r\n\r\n",
];

/// Where arithmetic ends, put in the place of a number.
const NUMBERS: [&str; 16] = [
    "0",
    "-0",
    "-1",
    "1",
    "00",
    "255",
    "4294967295",
    "4294967296",
    "4611686018427387904",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551614",
    "18446744073709551615",
    "18446744073709551616",
    "1e3",
    "99999999999999999999999999999999999999999",
];

/// One damage. Places count modulo what there is.
#[derive(Clone, Debug)]
enum Damage {
    Flip(Index, u8),
    Set(Index, u8),
    Truncate(Index),
    Cut(Index, Index),
    Insert(Index, &'static [u8]),
    Duplicate(Index, Index),
    Move(Index, Index, Index),
    Number(Index, &'static str),
    /// From here on another valid input, from its own place on.
    Splice(Index, Index, Index),
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = any::<Index>;
    prop_oneof![
        2 => (at(), 0..8u8).prop_map(|(at, bit)| Damage::Flip(at, 1 << bit)),
        2 => (at(), any::<u8>()).prop_map(|(at, byte)| Damage::Set(at, byte)),
        1 => at().prop_map(Damage::Truncate),
        2 => (at(), at()).prop_map(|(from, to)| Damage::Cut(from, to)),
        3 => (at(), select(TOKENS.to_vec())).prop_map(|(at, token)| Damage::Insert(at, token)),
        2 => (at(), at()).prop_map(|(from, to)| Damage::Duplicate(from, to)),
        1 => (at(), at(), at()).prop_map(|(from, end, to)| Damage::Move(from, end, to)),
        4 => (at(), select(NUMBERS.to_vec())).prop_map(|(at, with)| Damage::Number(at, with)),
        2 => (at(), at(), at()).prop_map(|(at, which, from)| Damage::Splice(at, which, from)),
    ]
}

fn range(bytes: &[u8], a: &Index, b: &Index) -> Range<usize> {
    let (a, b) = (a.index(bytes.len() + 1), b.index(bytes.len() + 1));
    a.min(b)..a.max(b)
}

/// The digits in a row that are the number at this index.
fn number_at(bytes: &[u8], at: &Index) -> Option<Range<usize>> {
    let is_digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let begins = |at: &usize| is_digit(*at) && (*at == 0 || !is_digit(at - 1));
    let starts: Vec<usize> = (0..bytes.len()).filter(begins).collect();
    let start = *starts.get(at.index(starts.len().max(1)))?;
    Some(start..(start..).find(|at| !is_digit(*at)).unwrap_or(bytes.len()))
}

fn apply(bytes: &mut Vec<u8>, damage: &Damage, corpus: &[Vec<u8>]) {
    let place = |at: &Index| at.index(bytes.len() + 1);
    match damage {
        Damage::Flip(at, bits) if !bytes.is_empty() => {
            let at = at.index(bytes.len());
            bytes[at] ^= bits;
        }
        Damage::Set(at, byte) if !bytes.is_empty() => {
            let at = at.index(bytes.len());
            bytes[at] = *byte;
        }
        Damage::Flip(..) | Damage::Set(..) => {}
        Damage::Truncate(at) => bytes.truncate(place(at)),
        Damage::Cut(from, to) => drop(bytes.drain(range(bytes, from, to))),
        Damage::Insert(at, token) => {
            let at = place(at);
            bytes.splice(at..at, token.iter().copied());
        }
        Damage::Duplicate(from, to) => {
            let part = range(bytes, from, to);
            bytes.splice(part.end..part.end, bytes[part].to_vec());
        }
        Damage::Move(from, end, to) => {
            let part: Vec<u8> = bytes.drain(range(bytes, from, end)).collect();
            let at = to.index(bytes.len() + 1);
            bytes.splice(at..at, part);
        }
        Damage::Number(at, with) => {
            if let Some(digits) = number_at(bytes, at) {
                bytes.splice(digits, with.bytes());
            }
        }
        Damage::Splice(at, which, from) => {
            let other = &corpus[which.index(corpus.len())];
            bytes.truncate(place(at));
            bytes.extend_from_slice(&other[from.index(other.len() + 1)..]);
        }
    }
}

/// Another number in the place of one, and nothing else.
#[derive(Clone, Debug)]
pub struct Number(Index, &'static str);

/// See [`Number`].
pub fn number() -> impl Strategy<Value = Number> {
    (any::<Index>(), select(NUMBERS.to_vec())).prop_map(|(at, with)| Number(at, with))
}

impl Number {
    /// The text with the other number in it.
    pub fn put_into(&self, text: &str) -> String {
        let mut text = text.to_owned();
        if let Some(digits) = number_at(text.as_bytes(), &self.0) {
            text.replace_range(digits, self.1);
        }
        text
    }
}

/// One of these valid inputs, damaged in up to seven ways, perhaps in none; or random bytes.
pub fn damaged(corpus: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let whole = (select(corpus.clone()), vec(damage(), 0..8));
    let damaged = whole.prop_map(move |(mut bytes, damages)| {
        damages.iter().for_each(|damage| apply(&mut bytes, damage, &corpus));
        bytes
    });
    prop_oneof![9 => damaged, 1 => vec(any::<u8>(), 0..300)]
}

/// The same as text.
pub fn damaged_text(corpus: &[&str]) -> impl Strategy<Value = String> + use<> {
    let corpus = corpus.iter().map(|text| text.as_bytes().to_vec()).collect();
    damaged(corpus).prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// Where to cut, for [`chop`].
pub fn cuts() -> impl Strategy<Value = Vec<usize>> {
    vec(prop_oneof![0..40usize, any::<usize>()], 0..12)
}

/// Cuts `bytes` at the given places, each taken modulo what is left.
pub fn chop<'b>(mut bytes: &'b [u8], cuts: &[usize]) -> Vec<&'b [u8]> {
    let mut chunks = Vec::new();
    for cut in cuts {
        let (chunk, rest) = bytes.split_at(cut % (bytes.len() + 1));
        chunks.push(chunk);
        bytes = rest;
    }
    chunks.push(bytes);
    chunks
}

/// `bytes` in one piece, byte by byte, in two pieces at every place, and cut as [`chop`] does.
pub fn choppings<'b>(bytes: &'b [u8], cuts: &[usize]) -> Vec<Vec<&'b [u8]>> {
    let halves = (0..=bytes.len()).map(|at| vec![&bytes[..at], &bytes[at..]]);
    let others = [vec![bytes], bytes.chunks(1).collect(), chop(bytes, cuts)];
    others.into_iter().chain(halves).collect()
}

/// Asserts that `bytes` mean the same, valid or not, however they are cut: what `outcome` makes of
/// them whole is what it makes of all [`choppings`].
pub fn means_the_same<T: PartialEq + std::fmt::Debug>(
    bytes: &[u8],
    cuts: &[usize],
    outcome: impl Fn(&[&[u8]]) -> T,
) -> Result<(), TestCaseError> {
    let whole = outcome(&[bytes]);
    for chunks in choppings(bytes, cuts) {
        prop_assert_eq!(&outcome(&chunks), &whole, "{:?}", chunks);
    }
    Ok(())
}

/// White space between two tokens of JSON.
pub fn space() -> impl Strategy<Value = &'static str> {
    prop_oneof![4 => Just(""), 1 => select(vec![" ", "\n", "\r\n", "\t", "\n  "])]
}

/// A JSON string, quotes included: escapes that need not be, halves of pairs, control characters.
pub fn json_string() -> impl Strategy<Value = String> {
    let piece = select(vec![
        "a",
        "b",
        "/",
        "\\/",
        "\\u0061",
        "\\\"",
        "\\\\",
        "\\n",
        "\\u0000",
        "\u{e9}",
        "\\u00E9",
        "\u{20ac}",
        "\u{1f600}",
        "\\ud83d\\ude00",
        "\\ud800",
        "\\uDC00",
        "\u{7f}",
        "{",
        "]",
        ",",
        "disk_path",
        "\\u0073erial",
    ]);
    vec(piece, 0..4).prop_map(|pieces| format!("\"{}\"", pieces.concat()))
}

/// Any JSON value, oddly spelled: keys may come twice, numbers are not as Rust writes them.
pub fn json() -> impl Strategy<Value = String> {
    let number = select(vec![
        "0",
        "-0",
        "1.50e1",
        "1E+2",
        "1e400",
        "-0.0",
        "18446744073709551616",
        "0.1000",
        "7",
    ]);
    let leaf = prop_oneof![
        select(vec!["null", "true", "false"]).prop_map(str::to_owned),
        number.prop_map(str::to_owned),
        json_string(),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let element = (space(), inner.clone(), space()).prop_map(|(a, x, b)| format!("{a}{x}{b}"));
        prop_oneof![
            vec(element, 0..4).prop_map(|elements| format!("[{}]", elements.join(","))),
            vec(json_member(json_string(), inner), 0..4)
                .prop_map(|members| format!("{{{}}}", members.join(","))),
        ]
    })
}

/// A member of an object, with white space at each of its four places.
pub fn json_member(
    key: impl Strategy<Value = String>,
    value: impl Strategy<Value = String>,
) -> impl Strategy<Value = String> {
    let spaces = (space(), space(), space(), space());
    (spaces, key, value).prop_map(|((a, b, c, d), key, value)| format!("{a}{key}{b}:{c}{value}{d}"))
}

/// Whether an error about `x.json`, of which this is the text, names a place that lies in it.
pub fn is_placed(error: &str, text: &str) -> bool {
    if text.trim().is_empty() {
        return error == "x.json: is empty";
    }
    let (place, what) = error.split_once(": ").unwrap_or_default();
    let mut parts = place.split(':');
    let name = parts.next();
    let mut number = || parts.next().and_then(|part| part.parse::<usize>().ok()).unwrap_or(0);
    let (line, column) = (number(), number());
    let there = text.split('\n').nth(line.wrapping_sub(1));
    // serde_json counts a line's end as the column 0 of the next one.
    name == Some("x.json") && there.is_some_and(|line| column <= line.len() + 1) && !what.is_empty()
}
