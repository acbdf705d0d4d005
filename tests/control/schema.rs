//! What an OpenAPI 3 description says of an answer, held against the answer.
//!
//! It knows what the description uses of JSON schemas, and panics at anything else.

use serde_json::Value;

use super::client::Answer;

/// Whether the description allows this answer to that request. `path` is the pattern.
#[track_caller]
pub fn assert_described(method: &str, path: &str, answer: &Answer) {
    let api: Value = serde_json::from_str(seriald::control::routes::OPENAPI).expect("JSON");
    let answers = &api["paths"][path][method.to_lowercase()]["responses"];
    let known = answers.get(answer.status.to_string());
    assert!(known.is_some() || answer.status >= 400, "{} is not described", answer.status);
    let known = known.unwrap_or(&answers["default"]);
    let shared = known["$ref"].as_str().map(|name| referred(&api, name));
    let content = &shared.unwrap_or(known)["content"];
    let media = answer.header("Content-Type").and_then(|media| media.split(';').next());
    let schema = &content[media.expect("a media type")]["schema"];
    assert!(schema.is_object(), "{method} {path}: {media:?} is not described");
    let place = format!("{method} {path}");
    if media == Some("application/json") {
        check(&api, schema, &answer.json(), &place);
    }
    if media == Some("application/jsonl") {
        for line in answer.json_lines() {
            check(&api, schema, &line, &place);
        }
    }
}

fn referred<'a>(api: &'a Value, name: &str) -> &'a Value {
    api.pointer(name.strip_prefix('#').expect("a local one")).expect("there")
}

fn check(api: &Value, schema: &Value, value: &Value, place: &str) {
    if let Some(name) = schema["$ref"].as_str() {
        return check(api, referred(api, name), value, place);
    }
    if schema["nullable"] == true && value.is_null() {
        return;
    }
    let fits = match schema["type"].as_str().expect("a type") {
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || (value.is_i64() && schema["minimum"] != 0),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("{place}: type {other}"),
    };
    assert!(fits, "{place}: {value} is no {}", schema["type"]);
    if let Some(words) = schema["enum"].as_array() {
        assert!(words.contains(value), "{place}: {value} is none of {words:?}");
    }
    for element in value.as_array().into_iter().flatten() {
        check(api, &schema["items"], element, &format!("{place}[]"));
    }
    let Some(properties) = schema["properties"].as_object() else { return };
    let members = value.as_object().expect("an object");
    for (name, member) in members {
        let described = properties.get(name);
        check(
            api,
            described.unwrap_or_else(|| panic!("{place}.{name} is not described")),
            member,
            &format!("{place}.{name}"),
        );
    }
    for name in schema["required"].as_array().into_iter().flatten() {
        let name = name.as_str().expect("a name");
        assert!(members.contains_key(name), "{place}.{name} is missing in {value}");
    }
}
