//! What reading and changing a serial section promises.

use super::*;
use crate::fuzz;
use proptest::prelude::*;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

fn serial(config: &str) -> String {
    with_serial_socket(config, Path::new("/s")).unwrap()
}

fn launch(config: &str) -> String {
    for_launch(config, Path::new("/s")).unwrap()
}

#[test]
fn only_the_spans_of_the_serial_section_change() {
    for (config, expected) in [
        (
            r#"{"a" : 1.50e1, "serial":{"file":"/l","mode":"File"} ,"z":"\u00e9"}"#,
            r#"{"a" : 1.50e1, "serial":{"socket":"/s","mode":"Socket"} ,"z":"\u00e9"}"#,
        ),
        (
            r#"{"serial":{ "file":"/l", "iommu":false,"mode":"File","socket":null }}"#,
            r#"{"serial":{ "iommu":false,"mode":"Socket","socket":"/s" }}"#,
        ),
        (
            r#"{"serial":{"mode":"File","socket":"/old","file":"/l"}}"#,
            r#"{"serial":{"mode":"Socket","socket":"/s"}}"#,
        ),
        (r#"{"serial":{"mode":"Null"}}"#, r#"{"serial":{"mode":"Socket","socket":"/s"}}"#),
        (
            r#"{"serial":{"iommu":true}}"#,
            r#"{"serial":{"iommu":true,"mode":"Socket","socket":"/s"}}"#,
        ),
        (r#"{"serial":{"file":"/l"}}"#, r#"{"serial":{"socket":"/s","mode":"Socket"}}"#),
        (
            r#"{"serial":{"socket":"/s","file":null}}"#,
            r#"{"serial":{"socket":"/s","mode":"Socket"}}"#,
        ),
        (r#"{"serial":{ }}"#, r#"{"serial":{"mode":"Socket","socket":"/s" }}"#),
        (r#"{"serial":null,"x":1}"#, r#"{"serial":{"mode":"Socket","socket":"/s"},"x":1}"#),
        (
            "{\n  \"x\": 1\n}\n",
            "{\n  \"x\": 1,\"serial\":{\"mode\":\"Socket\",\"socket\":\"/s\"}\n}\n",
        ),
        ("{}", r#"{"serial":{"mode":"Socket","socket":"/s"}}"#),
    ] {
        let changed = serial(config);
        assert_eq!(changed, expected);
        assert_eq!(serial(&changed), changed, "a second time changes nothing");
        let section = serial_section(&changed).unwrap().unwrap();
        assert!(section.is_socket() && section.file.is_none(), "{section:?}");
        assert_eq!(section.socket.as_deref(), Some("/s"));
    }
}

#[test]
fn a_launch_turns_the_console_off_only_where_it_is_unset() {
    let on = r#""serial":{"mode":"Socket","socket":"/s"}"#;
    let off = r#""console":{"mode":"Off"}"#;
    for (config, expected) in [
        ("{}".to_owned(), format!("{{{on},{off}}}")),
        (" { } ".to_owned(), format!(" {{{on},{off} }} ")),
        ("{\"a\":1}".to_owned(), format!("{{\"a\":1,{on},{off}}}")),
        ("{\"console\":null}".to_owned(), format!("{{{off},{on}}}")),
        (format!("{{{on}}}"), format!("{{{on},{off}}}")),
        (
            "{\"console\":{\"mode\":\"Pty\"}}".to_owned(),
            format!("{{\"console\":{{\"mode\":\"Pty\"}},{on}}}"),
        ),
    ] {
        assert_eq!(launch(&config), expected);
        assert_eq!(launch(&expected), expected, "a second time changes nothing");
    }
}

#[test]
fn a_text_as_wanted_is_not_respelled() {
    let config = r#"{"serial" : {"socket":"\/s","mode":"\u0053ocket"},"console":{"mode":"Tty"}}"#;
    assert_eq!(launch(config), config);
}

#[test]
fn a_null_reads_as_absent_and_unknown_keys_are_ignored() {
    let read = |config| serial_section(config).unwrap();
    assert_eq!(read("{}"), None);
    assert_eq!(read(r#"{"serial":null}"#), None);
    let v52 = read(r#"{"serial":{"file":null,"mode":"Socket","iommu":false,"socket":"/s"}}"#);
    assert_eq!(
        v52,
        Some(SerialSection { mode: Some("Socket".into()), file: None, socket: Some("/s".into()) })
    );
}

#[test]
fn a_malformed_configuration_is_refused_with_its_place() {
    for (config, expected) in [
        ("[]", "the VM configuration: line 1, column 1: should be an object, is an array"),
        (
            "{\n\"serial\": 7}",
            "the VM configuration: line 2, column 11: serial: should be an object, is a number",
        ),
        (
            "{\"serial\":{},\"serial\":{}}",
            "the VM configuration: line 1, column 14: the key \"serial\" occurs twice",
        ),
        ("{\"a\":", "the VM configuration: line 1, column 5: EOF while parsing a value"),
    ] {
        let error = with_serial_socket(config, Path::new("/s")).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
    let error = serial_section(r#"{"serial":{"mode":1}}"#).unwrap_err();
    assert_eq!(
        error.to_string(),
        "line 1, column 19: serial.mode: should be a string, is a number"
    );
}

#[test]
fn a_path_may_have_the_bytes_of_sun_path_and_not_one_more() {
    let at = format!("/{}", "p".repeat(SUN_PATH_MAX - 1));
    assert!(with_serial_socket("{}", Path::new(&at)).unwrap().contains(&at));
    let over = format!("{at}p");
    let error = with_serial_socket("{}", Path::new(&over)).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "socket path \"{over}\" has 108 bytes, a Unix socket's has 107 at most: \
             use a shorter directory"
        )
    );
}

#[test]
fn a_path_that_json_or_a_socket_cannot_hold_is_refused() {
    let fault = |bytes: &[u8]| socket_path(Path::new(OsStr::from_bytes(bytes))).unwrap_err().fault;
    assert_eq!(fault(b"/\xff"), SocketPathFault::NotUtf8);
    assert_eq!(fault(b""), SocketPathFault::Empty);
    assert_eq!(fault(b"/a\0b"), SocketPathFault::HasNul);
}

/// Members with keys of their own, whatever their values.
fn members(prefix: &'static str) -> impl Strategy<Value = Vec<String>> {
    let member = (fuzz::space(), fuzz::json(), fuzz::space());
    prop::collection::vec(member, 0..3).prop_map(move |members| {
        let spelled = |(n, (a, value, b))| format!("{a}\"{prefix}{n}\"{b}:{a}{value}{b}");
        members.into_iter().enumerate().map(spelled).collect()
    })
}

/// A serial section: known keys with strings or null, unknown ones with anything, in any order.
fn section() -> impl Strategy<Value = String> {
    let text = || prop_oneof![fuzz::json_string(), Just("null".to_owned())];
    let known =
        |key: &'static str| prop::option::of(fuzz::json_member(Just(format!("\"{key}\"")), text()));
    let known = (known("mode"), known("file"), known("\\u0073ocket"), members("u"));
    let ordered = known.prop_map(|(mode, file, socket, others)| {
        mode.into_iter().chain(file).chain(socket).chain(others).collect::<Vec<_>>()
    });
    ordered.prop_shuffle().prop_map(|members| format!("{{{}}}", members.join(",")))
}

/// The values of a section that seriald does not know, by their keys, in order.
fn unknown(section: &str) -> Vec<(String, String)> {
    let json = Json::new(section).unwrap();
    let members = json.members(json.root(), "").unwrap();
    let others = members.iter().filter(|m| !["mode", "file", "socket"].contains(&&*m.key));
    others.map(|m| (m.key.clone(), m.value.get().to_owned())).collect()
}

/// What damaged configurations are made of.
const CONFIGS: [&str; 5] = [
    r#"{"a" : 1.50e1, "serial":{"file":"/l","mode":"File"} ,"z":"\u00e9"}"#,
    r#"{"serial":{ "file":"/l", "iommu":false,"mode":"File","socket":null },"console":null}"#,
    r#"{"x":[{"serial":1}],"\u0073erial":{"mode":"\u0053ocket","socket":"\/s"}}"#,
    "{\n  \"memory\": {\"size\": 1e400},\n  \"serial\": null\n}\n",
    "{}",
];

/// The text has such a place.
fn is_in(text: &str, error: &JsonError) -> bool {
    let line = text.split('\n').nth(error.line.wrapping_sub(1));
    line.is_some_and(|line| error.column <= line.len() + 1)
}

proptest! {
    #[test]
    fn only_the_serial_section_changes_whatever_stands_around_it(
        before in members("a"),
        serial in section(),
        behind in members("b"),
        key in prop::sample::select(vec!["\"serial\"", "\"\\u0073erial\""]),
        space in fuzz::space(),
    ) {
        let opened = before.iter().map(|member| format!("{member},")).collect::<String>();
        let head = format!("{space}{{{opened}{key}:{space}");
        let closed = behind.iter().map(|member| format!(",{member}")).collect::<String>();
        let tail = format!("{closed}}}{space}");
        let config = format!("{head}{serial}{tail}");
        let path = Path::new("/run/\"s\"");
        let changed = with_serial_socket(&config, path).unwrap();
        prop_assert!(changed.starts_with(&head) && changed.ends_with(&tail), "{}", changed);
        let section = &changed[head.len()..changed.len() - tail.len()];
        prop_assert_eq!(unknown(section), unknown(&serial));
        let read = serial_section(&changed).unwrap().unwrap();
        prop_assert!(read.is_socket() && read.file.is_none());
        prop_assert_eq!(read.socket.as_deref(), Some("/run/\"s\""));
        prop_assert_eq!(with_serial_socket(&changed, path).unwrap(), changed);
    }

    #[test]
    fn a_damaged_configuration_is_changed_whole_or_refused_with_its_place(
        config in fuzz::damaged_text(&CONFIGS),
    ) {
        let path = Path::new("/s");
        match for_launch(&config, path) {
            Ok(changed) => {
                prop_assert_eq!(&for_launch(&changed, path).unwrap(), &changed);
                let read = serial_section(&changed).unwrap().unwrap();
                prop_assert!(read.is_socket() && read.socket.as_deref() == Some("/s"));
            }
            Err(ConfigError::Json(error)) => {
                prop_assert!(is_in(&config, &error), "{} in {:?}", error, config);
                prop_assert!(!error.what.is_empty());
            }
            Err(ConfigError::Path(error)) => prop_assert!(false, "{}", error),
        }
        if let Err(error) = serial_section(&config) {
            prop_assert!(is_in(&config, &error), "{} in {:?}", error, config);
        }
    }

    #[test]
    fn whatever_the_path_it_is_read_back_and_the_rest_is_the_same(
        path in "[a-z\"\\\\\n\u{e9}/ ]{1,40}",
        value in prop::sample::select(vec!["1e400", "\"\\ud83d\\ude00\"", "[ 1,{ } ]", "null"]),
        place in 0usize..3,
    ) {
        let old = r#""serial":{"file":"/l","mode":"File"}"#;
        let mut members = vec![format!("\"a\":{value}"), format!("\"b\" : {value}")];
        members.insert(place, old.to_owned());
        let config = format!("{{ {} }}", members.join(" , "));
        let changed = with_serial_socket(&config, Path::new(&path)).unwrap();
        let section = serial_section(&changed).unwrap().unwrap();
        prop_assert_eq!(section.socket.as_deref(), Some(path.as_str()));
        let new = format!(r#""serial":{{"socket":{},"mode":"Socket"}}"#, spans::quoted(&path));
        prop_assert_eq!(changed, config.replace(old, &new));
    }

    #[test]
    fn whatever_the_section_held_it_is_one_of_mode_socket_and_its_other_keys_stay(
        members in prop::sample::subsequence(
            vec!["mode", "file", "socket", "iommu", "tcp"], 0..=5,
        ).prop_shuffle(),
        values in prop::collection::vec(
            prop::sample::select(vec!["null", "\"/s\"", "\"File\"", "[ ]", "false"]), 5,
        ),
        space in prop::sample::select(vec!["", " ", "\n\t"]),
    ) {
        let inner: Vec<_> = members
            .iter()
            .zip(&values)
            .map(|(key, value)| format!("{space}\"{key}\"{space}:{space}{value}{space}"))
            .collect();
        let config = format!("{{\"serial\":{{{}}}}}", inner.join(","));
        let changed = for_launch(&config, Path::new("/s")).unwrap();
        prop_assert_eq!(&for_launch(&changed, Path::new("/s")).unwrap(), &changed);
        let tree: serde_json::Value = serde_json::from_str(&changed).unwrap();
        let serial = tree["serial"].as_object().unwrap();
        prop_assert_eq!(&serial["mode"], "Socket");
        prop_assert_eq!(&serial["socket"], "/s");
        prop_assert!(!serial.contains_key("file"));
        for (key, spelled) in members.iter().zip(&inner) {
            if matches!(*key, "iommu" | "tcp") {
                prop_assert!(changed.contains(spelled.trim()), "{}", changed);
            }
        }
        prop_assert_eq!(&tree["console"]["mode"], "Off");
    }
}
