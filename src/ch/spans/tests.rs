//! What the span editor promises.

use super::*;
use crate::fuzz;
use proptest::prelude::*;

#[test]
fn members_stand_where_their_spans_say() {
    let text = "\n { \"a\" : 1 ,\t\"\\u0062\":[ 2 ],\"c\":{} } ";
    let json = Json::new(text).unwrap();
    let members = json.members(json.root(), "").unwrap();
    let found: Vec<_> = members.iter().map(|m| (m.key.as_str(), &text[m.span.clone()])).collect();
    assert_eq!(found, [("a", "\"a\" : 1"), ("b", "\"\\u0062\":[ 2 ]"), ("c", "\"c\":{}")]);
    assert_eq!(&text[json.span(members[1].value)], "[ 2 ]");
}

#[test]
fn a_syntax_error_has_its_line_and_column() {
    for (text, expected) in [
        ("{\n \"a\": }", "line 2, column 7: expected value"),
        ("", "line 1, column 0: EOF while parsing a value"),
        ("{} x", "line 1, column 4: trailing characters"),
        ("{\"a\":1", "line 1, column 6: EOF while parsing an object"),
    ] {
        assert_eq!(Json::new(text).unwrap_err().to_string(), expected);
    }
}

#[test]
fn a_value_of_another_kind_is_named_with_its_place_in_the_whole_text() {
    let text = "{\n  \"a\": 7,\n  \"b\": \"\\ud800\"}";
    let json = Json::new(text).unwrap();
    let members = json.members(json.root(), "").unwrap();
    let error = json.members(members[0].value, "a").unwrap_err();
    assert_eq!(error.to_string(), "line 2, column 8: a: should be an object, is a number");
    let error = json.elements(members[0].value, "a").unwrap_err();
    assert_eq!(error.to_string(), "line 2, column 8: a: should be an array, is a number");
    assert!(json.string(members[1].value, "b").is_err());
}

#[test]
fn half_of_a_surrogate_pair_is_named_where_it_stands() {
    let text = "{\n\"a\":\"\\ud800\",\"b\":{\"\\udc00\":1}}";
    let json = Json::new(text).unwrap();
    let members = json.members(json.root(), "").unwrap();
    let what = "has half of a surrogate pair in it";
    let error = json.string(members[0].value, "a").unwrap_err();
    assert_eq!(error.to_string(), format!("line 2, column 5: a: {what}"));
    let error = json.members(members[1].value, "b").unwrap_err();
    assert_eq!(error.to_string(), format!("line 2, column 19: b: {what}"));
}

#[test]
fn a_key_that_occurs_twice_is_refused_however_it_is_spelled() {
    let text = "{\"a\":1,\n\"\\u0061\":2}";
    let json = Json::new(text).unwrap();
    let error = json.members(json.root(), "x").unwrap_err();
    assert_eq!(error.to_string(), "line 2, column 1: x: the key \"a\" occurs twice");
}

#[test]
fn removing_a_member_takes_one_comma_with_it() {
    let removed = |text: &str, index| {
        let json = Json::new(text).unwrap();
        let members = json.members(json.root(), "").unwrap();
        let mut edits = Edits::new();
        edits.remove_member(&members, index);
        edits.apply(text)
    };
    assert_eq!(removed("{ \"a\":1, \"b\":2, \"c\":3 }", 0), "{ \"b\":2, \"c\":3 }");
    assert_eq!(removed("{ \"a\":1, \"b\":2, \"c\":3 }", 1), "{ \"a\":1, \"c\":3 }");
    assert_eq!(removed("{ \"a\":1, \"b\":2, \"c\":3 }", 2), "{ \"a\":1, \"b\":2 }");
    assert_eq!(removed("{ \"a\":1 }", 0), "{  }");
}

/// Own walks must not take a stack frame a level, as a peer's or a file's depth is not ours.
#[test]
fn a_text_may_be_nested_as_deep_as_it_is_long() {
    let deep = |open: &str, inner: &str, close: &str| {
        format!("{}{inner}{}", open.repeat(200_000), close.repeat(200_000))
    };
    for value in [deep("[", "", "]"), deep("{\"a\":", "7", "}"), deep("[{\"\":", "[]", "}]")] {
        let text = format!("{{\"x\":{value},\"y\":1}}");
        let json = Json::new(&text).unwrap();
        let members = json.members(json.root(), "").unwrap();
        assert_eq!(members[0].value.get(), value);
        assert!(json.string(members[0].value, "x").is_err());
        assert!(Json::new(&text[..text.len() - 1]).is_err());
    }
}

proptest! {
    #[test]
    fn an_edit_inside_a_string_is_the_same_edit_of_its_content(
        content in "[a\"\\\\/\n\u{7f}\u{e9}\u{20ac}\u{1f600}]{0,12}",
        spelled in any::<bool>(),
        with in "[x\"\\\\\n]{0,4}",
        cuts in any::<(prop::sample::Index, prop::sample::Index)>(),
    ) {
        let escape = |c: char| {
            let mut units = [0; 2];
            let units = c.encode_utf16(&mut units);
            units.iter().map(|unit| format!("\\u{unit:04x}")).collect::<String>()
        };
        let literal = if spelled {
            format!("\"{}\"", content.chars().map(escape).collect::<String>())
        } else {
            quoted(&content)
        };
        let places: Vec<_> =
            content.char_indices().map(|(at, _)| at).chain([content.len()]).collect();
        let (a, b) = (*cuts.0.get(&places), *cuts.1.get(&places));
        let span = a.min(b)..a.max(b);
        let mut edits = Edits::new();
        edits.replace(span, with);
        let text = format!("[ {literal}]");
        let lifted = edits.clone().lift(&text, 2..2 + literal.len()).apply(&text);
        let decoded: Vec<String> = serde_json::from_str(&lifted).unwrap();
        prop_assert_eq!(&decoded[0], &edits.apply(&content));
    }

    #[test]
    fn arbitrary_text_never_panics(text in "[{}\\[\\]\",:a0 \\\\un]{0,30}") {
        if let Ok(json) = Json::new(&text) {
            let _ = json.members(json.root(), "");
            let _ = json.elements(json.root(), "");
            let _ = json.string(json.root(), "");
        }
    }

    /// What stands at a member's span is that member, and taking one out leaves the others.
    #[test]
    fn a_member_that_is_taken_out_leaves_every_other_as_it_was(
        values in prop::collection::vec((fuzz::space(), fuzz::json(), fuzz::space()), 1..6),
        which: prop::sample::Index,
    ) {
        let spelled = values.iter().enumerate();
        let spelled = spelled.map(|(n, (a, value, b))| format!("{a}\"k{n}\"{b}:{a}{value}{b}"));
        let spelled: Vec<String> = spelled.collect();
        let text = format!("{{{}}}", spelled.join(","));
        let json = Json::new(&text).unwrap();
        let members = json.members(json.root(), "").unwrap();
        for (member, spelled) in members.iter().zip(&spelled) {
            prop_assert_eq!(&text[member.span.clone()], spelled.trim());
            prop_assert_eq!(&text[json.span(member.value)], member.value.get());
        }
        let which = which.index(members.len());
        let mut edits = Edits::new();
        edits.remove_member(&members, which);
        let edited = edits.apply(&text);
        let json = Json::new(&edited).unwrap();
        let left = json.members(json.root(), "").unwrap();
        let left: Vec<_> = left.iter().map(|m| (m.key.clone(), m.value.get().to_owned())).collect();
        let mut expected: Vec<_> =
            members.iter().map(|m| (m.key.clone(), m.value.get().to_owned())).collect();
        expected.remove(which);
        prop_assert_eq!(left, expected);
    }
}
