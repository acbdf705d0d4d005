//! What the span editor promises.

use super::*;
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
}
