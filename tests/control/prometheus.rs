//! What Prometheus' own tool says of our pages, and of the dashboard and the alerts that we ship.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::metrics::{connected, page};
use super::served::Served;
use super::support::skip;

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/prometheus").join(name)
}

fn run(promtool: &mut Command) -> String {
    let output = promtool.output().expect("it runs");
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
    let dashboard: Value = serde_json::from_str(&read("dashboard.json")).expect("JSON");
    let mut expressions = String::new();
    collect(&dashboard, &mut expressions);
    for (what, text) in [("dashboard", expressions), ("alerts", read("alerts.yml"))] {
        let names = metrics_in(&text);
        assert!(names.len() > 15, "{what}: {names:?}");
        for name in names {
            assert!(is_there(&name), "{what}: there is no {name}");
        }
    }
}

/// Every expression and query of a dashboard.
fn collect(value: &Value, into: &mut String) {
    match value {
        Value::Object(members) => {
            for (key, member) in members {
                match member {
                    Value::String(text) if key == "expr" || key == "query" => {
                        into.push_str(text);
                        into.push('\n');
                    }
                    member => collect(member, into),
                }
            }
        }
        Value::Array(members) => members.iter().for_each(|member| collect(member, into)),
        _ => {}
    }
}

/// The words that can only be names of metrics.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let ours = words.filter(|word| word.starts_with("seriald_") || word.starts_with("process_"));
    ours.map(str::to_owned).collect()
}
