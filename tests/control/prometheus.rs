//! What Prometheus' own tool says of our pages, and of the dashboard and the alerts that we ship.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::metrics::{connected, page};
use super::served::Served;
use super::support::family::output;
use super::support::skip;
use super::support::wait::PATIENCE;

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/prometheus").join(name)
}

fn run(promtool: &mut Command) -> String {
    let output = output(promtool, PATIENCE);
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "{said}");
    said
}

/// A page on which every family has a sample.
fn full_page(per_vm: bool) -> String {
    let served = Served::scraped(per_vm);
    let _console = connected(&served, "a");
    served.adopt(&["b"]);
    page(&served)
}

#[test]
fn promtool_has_nothing_to_say_of_a_page() {
    let Some(promtool) = skip::program("promtool") else { return };
    for per_vm in [false, true] {
        let text = full_page(per_vm);
        assert_eq!(text.contains("{vm=\"a\"}"), per_vm);
        let mut file: File = tempfile::tempfile().expect("a file");
        file.write_all(text.as_bytes()).expect("written");
        file.seek(SeekFrom::Start(0)).expect("at its beginning");
        let said = run(Command::new(&promtool).args(["check", "metrics"]).stdin(file));
        assert_eq!(said, "", "per_vm: {per_vm}");
    }
}

#[test]
fn promtool_takes_the_alerts_and_each_fires_where_it_should() {
    let Some(promtool) = skip::program("promtool") else { return };
    run(Command::new(&promtool).args(["check", "rules"]).arg(shipped("alerts.yml")));
    let mut tests = Command::new(&promtool);
    tests.args(["test", "rules", "alerts_test.yml"]);
    run(tests.current_dir(shipped("")));
}

#[test]
fn promtool_takes_every_expression_of_the_dashboard() {
    let Some(promtool) = skip::program("promtool") else { return };
    let dir = tempfile::tempdir().expect("a directory");
    let mut rules = String::from("groups:\n- name: dashboard\n  rules:\n");
    let expressions = strings("expr");
    assert!(expressions.len() > 30, "{}", expressions.len());
    for (n, expression) in expressions.iter().enumerate() {
        // As Grafana has filled them in by the time that they are asked.
        let filled = expression
            .replace("$__rate_interval", "1m")
            .replace("$__interval", "1m")
            .replace("$__range", "1h");
        let quoted = serde_json::to_string(&filled).expect("a string");
        rules += &format!("  - {{record: \"expression:{n}\", expr: {quoted}}}\n");
    }
    let path = dir.path().join("rules.yml");
    std::fs::write(&path, rules).expect("written");
    run(Command::new(&promtool).args(["check", "rules"]).arg(path));
}

#[test]
fn each_alert_has_a_test_in_which_it_fires() {
    let read = |name: &str| std::fs::read_to_string(shipped(name)).expect("it is there");
    let (rules, tests) = (read("alerts.yml"), read("alerts_test.yml"));
    let names = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: "));
    let names: Vec<&str> = names.collect();
    assert!(names.len() > 10);
    for name in names {
        assert!(
            tests.contains(&format!("{{alertname=\"{name}\"}}")),
            "{name} is never seen to fire"
        );
    }
}

#[test]
fn the_dashboard_and_the_alerts_use_no_metric_that_is_not_there() {
    let page = full_page(true);
    let families: BTreeSet<&str> = page
        .lines()
        .filter_map(|line| Some(line.strip_prefix("# TYPE ")?.split_once(' ')?.0))
        .collect();
    // Linux before 6.2 does not tell that one.
    let elsewhere = ["process_open_fds"];
    let is_there = |name: &str| {
        let parts = ["_bucket", "_sum", "_count"];
        let whole = parts.iter().find_map(|part| name.strip_suffix(part));
        families.contains(name)
            || whole.is_some_and(|whole| page.contains(&format!("# TYPE {whole} histogram\n")))
            || elsewhere.contains(&name)
    };
    let read = |name: &str| std::fs::read_to_string(shipped(name)).expect("it is there");
    let of_dashboard = [strings("expr"), strings("query")].concat().join("\n");
    for (what, text) in [("dashboard", of_dashboard), ("alerts", read("alerts.yml"))] {
        let names = metrics_in(&text);
        assert!(names.len() > 15, "{what}: {names:?}");
        for name in names {
            assert!(is_there(&name), "{what}: there is no {name}");
        }
    }
}

/// Every string of the dashboard that stands behind this key.
fn strings(key: &str) -> Vec<String> {
    fn collect(value: &Value, wanted: &str, into: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                for (key, member) in members {
                    match member {
                        Value::String(text) if key == wanted => into.push(text.clone()),
                        member => collect(member, wanted, into),
                    }
                }
            }
            Value::Array(members) => {
                members.iter().for_each(|member| collect(member, wanted, into));
            }
            _ => {}
        }
    }
    let text = std::fs::read_to_string(shipped("dashboard.json")).expect("it is there");
    let mut found = Vec::new();
    collect(&serde_json::from_str(&text).expect("JSON"), key, &mut found);
    found
}

/// The words that can only be names of metrics.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let ours = words.filter(|word| word.starts_with("seriald_") || word.starts_with("process_"));
    ours.map(str::to_owned).collect()
}
