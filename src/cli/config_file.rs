//! The configuration of `seriald run`: a JSON file, every key optional.
//!
//! Owns the names of its keys.
//! **Invariant:** a key that means nothing is refused with its name and place, never ignored.

use crate::cli::{control_keys, metrics_keys};
use seriald::config::{Config, OnExit, VmSpec};
use seriald::keys::json_file::{FileError, JsonFile, Node, Object};
use seriald::keys::log_keys::{LogKeys, RATES, number_or_null, number_to, seconds_or_null};
use seriald::keys::vm_keys::{Taken, VM_KEYS, VmDefaults};
use seriald::limits;
use seriald::{ControlSpec, DirPattern, MetricsSpec};
use std::time::Duration;

const KEYS: [&str; 12] = [
    "control",
    "metrics",
    "coalesce_us",
    "dial_timeout_s",
    "hold_bytes_total",
    "host_rate_bytes",
    "host_burst_bytes",
    "after_rotate_parallel",
    "log",
    "watch",
    "instances",
    "vms",
];
/// Longest `coalesce_us`: ten times what fills CH's socket at a guest's full speed.
const COALESCE_US_MAX: u64 = 10_000;

/// Largest `hold_bytes_total`: 64 GiB.
const HOLD_BYTES_TOTAL_MAX: usize = 64 << 30;

/// What `seriald run` is to do.
pub struct Settings {
    /// The reactor's own settings.
    pub config: Config,
    /// Where our own API is asked for; `None`: nowhere.
    pub control: Option<ControlSpec>,
    /// What is told to whoever scrapes our counters, and where.
    pub metrics: MetricsSpec,
    /// What the VMs of the command line share with those of the file.
    pub defaults: VmDefaults,
    /// The patterns whose directories are VMs as they come and go.
    pub watch: Vec<DirPattern>,
    /// The VMs, in the order in which they were named.
    pub vms: Vec<VmSpec>,
    /// What the VMs have named so far.
    pub taken: Taken,
}

impl Default for Settings {
    fn default() -> Self {
        let defaults =
            VmDefaults { log: LogKeys::default(), on_exit: OnExit::Wait, dial_timeout: None };
        let (config, taken) = (Config::default(), Taken::default());
        let (watch, vms) = (Vec::new(), Vec::new());
        let (control, metrics) = (None, MetricsSpec::default());
        Settings { config, control, metrics, defaults, watch, vms, taken }
    }
}

impl Settings {
    /// What a file says.
    pub fn from_file(file: &JsonFile) -> Result<Settings, FileError> {
        let root = file.root()?;
        let keys = root.object(&KEYS)?;
        let mut settings = Settings::default();
        settings.config = host(&keys, settings.config)?;
        if let Some(node) = keys.get("dial_timeout_s") {
            settings.defaults.dial_timeout = seconds_or_null(node)?;
        }
        if let Some(node) = keys.get("log") {
            settings.defaults.log = LogKeys::common(node)?;
        }
        settings.control = keys.get("control").map(control_keys::read).transpose()?;
        let metrics = keys.get("metrics").map(metrics_keys::read).transpose()?;
        settings.metrics = metrics.unwrap_or_default();
        for node in keys.get("watch").map(Node::array).transpose()?.unwrap_or_default() {
            let pattern = DirPattern::parse(&node.string()?).map_err(|e| node.wrong(e))?;
            settings.watch.push(pattern);
        }
        for node in keys.get("instances").map(Node::array).transpose()?.unwrap_or_default() {
            let spec = settings.defaults.instance(&node.path()?).map_err(|e| node.wrong(e))?;
            settings.add(spec, &node)?;
        }
        for node in keys.get("vms").map(Node::array).transpose()?.unwrap_or_default() {
            let known: Vec<&str> = ["id"].into_iter().chain(VM_KEYS).collect();
            let spec = settings.defaults.read_vm(&node, &node.object(&known)?, None)?;
            settings.add(spec, &node)?;
        }
        Ok(settings)
    }

    fn add(&mut self, spec: VmSpec, node: &Node<'_>) -> Result<(), FileError> {
        self.taken.note(&spec, node.name()).map_err(|e| node.wrong(e))?;
        self.vms.push(spec);
        Ok(())
    }
}

/// What concerns all VMs together.
fn host(keys: &Object<'_>, mut config: Config) -> Result<Config, FileError> {
    if let Some(node) = keys.get("coalesce_us") {
        config.coalesce = Duration::from_micros(node.number(0..=COALESCE_US_MAX)?);
    }
    if let Some(node) = keys.get("hold_bytes_total") {
        config.hold_bytes_total = number_to(node, HOLD_BYTES_TOTAL_MAX)?;
    }
    config.host_rate_bytes = number_or_null(keys, "host_rate_bytes", RATES)?.flatten();
    config.host_burst_bytes = number_or_null(keys, "host_burst_bytes", RATES)?.flatten();
    if let Some(node) = keys.get("host_burst_bytes") {
        let Some(rate) = config.host_rate_bytes else {
            return Err(node.wrong("means nothing without \"host_rate_bytes\""));
        };
        if config.host_burst_bytes.is_some_and(|burst| burst < rate) {
            return Err(node.wrong("is below \"host_rate_bytes\", a second's worth"));
        }
    }
    if let Some(node) = keys.get("after_rotate_parallel") {
        let parallel = node.number(1..=limits::AFTER_ROTATE_PARALLEL_MAX as u64)?;
        config.after_rotate_parallel = parallel as usize;
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz;
    use proptest::prelude::*;
    use seriald::config::RotateMode;
    use seriald::keys::log_keys::SECONDS_MAX;
    use std::collections::HashSet;
    use std::path::Path;

    fn read(text: &str) -> Result<Settings, String> {
        Settings::from_file(&JsonFile::of("x.json", text)).map_err(|e| e.to_string())
    }

    #[test]
    fn an_empty_object_is_the_default_of_everything() {
        let settings = read("{}").expect("every key is optional");
        assert_eq!((settings.config, settings.control), (Config::default(), None));
        assert_eq!(settings.metrics, MetricsSpec::default());
        assert!(settings.vms.is_empty());
    }

    #[test]
    fn a_vms_own_log_overrides_the_common_one_key_by_key() {
        let settings = read(
            r#"{"coalesce_us": 0, "dial_timeout_s": 60,
                "log": {"max_bytes": 4096, "max_age_s": null, "keep": 9, "mode": "copytruncate",
                        "check_interval_s": 7, "file_mode": "0600", "group": "adm"},
                "instances": ["/vms/a"],
                "vms": [{"id": "b", "serial": "/r/b.sock", "log": "/l/b.log", "api": "/r/b.api",
                         "on_exit": "close", "dial_timeout_s": null},
                        {"dir": "/vms/c", "log": {"keep": 2, "max_age_s": 60}},
                        {"id": "d", "serial": "d.sock", "log": {"path": "d.log"}}]}"#,
        )
        .expect("valid");
        assert_eq!(settings.config.coalesce, Duration::ZERO);
        let [a, b, c, d] = &settings.vms[..] else { panic!("{}", settings.vms.len()) };
        assert_eq!((a.id.as_str(), a.on_exit), ("a", OnExit::Wait));
        assert_eq!(a.serial, Path::new("/vms/a/serial.sock"));
        assert_eq!(a.dial_timeout, Some(Duration::from_secs(60)));
        assert_eq!((a.log.max_bytes, a.log.max_age, a.log.keep), (4096, None, 9));
        assert_eq!((a.log.mode, a.log.file_mode), (RotateMode::CopyTruncate, 0o600));
        assert_eq!(a.log.group.as_deref(), Some("adm"));
        assert_eq!(a.log.check_interval, Duration::from_secs(7));
        assert_eq!((b.on_exit, b.dial_timeout), (OnExit::Close, None));
        assert_eq!(b.api.as_deref(), Some(Path::new("/r/b.api")));
        assert_eq!((c.id.as_str(), c.log.keep, c.log.max_bytes), ("c", 2, 4096));
        assert_eq!(c.log.path, Path::new("/vms/c/logs/app.log"));
        assert_eq!(c.log.max_age, Some(Duration::from_secs(60)));
        assert_eq!((d.log.path.as_path(), d.api.as_deref()), (Path::new("d.log"), None));
    }

    #[test]
    fn what_is_wrong_is_refused_with_its_place_and_the_way_out() {
        let cases = [
            ("[]", "x.json:1:1: must be an object, is an array"),
            (
                "{\"vms\": [{}, \n {\"log\": {\"path\": \"a\", \"max_byte\": 1}}]}",
                "x.json:1:10: vms[0]: key \"id\" is missing, and no \"dir\"",
            ),
            (
                "{\"vms\": [{\"dir\": \"a\"}, \n {\"dir\": \"b\", \"log\": {\"max_byte\": 1}}]}",
                "x.json:2:23: vms[1].log: unknown key \"max_byte\", did you mean \"max_bytes\"?",
            ),
            (
                "{\"colours\": []}",
                "x.json:1:2: unknown key \"colours\", the keys here are: control, metrics, \
                 coalesce_us, dial_timeout_s, hold_bytes_total, host_rate_bytes, \
                 host_burst_bytes, after_rotate_parallel, log, watch, instances, vms",
            ),
            ("{\"watch\": \"/vms/*\"}", "x.json:1:11: watch: must be an array, is a string"),
            (
                "{\"watch\": [\"/vms/*\", \"/vms/**\"]}",
                "x.json:1:22: watch[1]: pattern \"/vms/**\" has \"**\": a wildcard matches within \
                 one level, write one * for each",
            ),
            (
                "{\"log\": {\"path\": \"a\"}}",
                "x.json:1:10: log: unknown key \"path\", the keys here are: max_bytes, max_age_s, \
                 keep, max_total_bytes, max_backup_age_s, mode, check_interval_s, file_mode, \
                 group, owner, root, hold_bytes, on_overflow, rate_bytes, burst_bytes, \
                 keep_boot_head, after_rotate, fsync",
            ),
            (
                "{\"log\": {\"after_rotate\": {\"command\": [\"zstd\"]}}}",
                "x.json:1:26: log.after_rotate: key \"suffix\" is missing",
            ),
            (
                "{\"log\": {\"after_rotate\": {\"command\": [], \"suffix\": \".zst\"}}}",
                "x.json:1:38: log.after_rotate.command: names no program",
            ),
            (
                "{\"log\": {\"after_rotate\": {\"command\": [\"zstd\"], \"suffix\": \".1\"}}}",
                "x.json:1:58: log.after_rotate.suffix: \".1\" is no \".\" and one to eight letters \
                 or digits, one of them a letter",
            ),
            (
                "{\"host_burst_bytes\": 4096}",
                "x.json:1:22: host_burst_bytes: means nothing without \"host_rate_bytes\"",
            ),
            (
                "{\"host_rate_bytes\": 4097, \"host_burst_bytes\": 4096}",
                "x.json:1:47: host_burst_bytes: is below \"host_rate_bytes\", a second's worth",
            ),
            (
                "{\"log\": {\"rate_bytes\": 4097, \"burst_bytes\": 4096}, \
                 \"instances\": [\"/vms/a\"]}",
                "x.json:1:66: instances[0]: instance /vms/a: VM \"a\": log.burst_bytes 4096 is \
                 below rate_bytes, 4097",
            ),
            (
                "{\"log\": {\"burst_bytes\": 4096}, \"instances\": [\"/vms/a\"]}",
                "x.json:1:46: instances[0]: instance /vms/a: VM \"a\": log.burst_bytes means \
                 nothing without rate_bytes",
            ),
            (
                "{\"log\": {\"root\": \"/srv\"}, \"instances\": [\"/vms/a\"]}",
                "x.json:1:41: instances[0]: instance /vms/a: VM \"a\": log.root /srv does not lead \
                 to /vms/a/logs/app.log without \"..\"",
            ),
            ("{\"log\": {\"keep\": 1, \"keep\": 2}}", "x.json:1:21: log: key \"keep\" comes twice"),
            (
                "{\"log\": {\"keep\": 1001}}",
                "x.json:1:18: log.keep: 1001 is not a whole number from 0 to 1000",
            ),
            (
                "{\"log\": {\"keep\": -1}}",
                "x.json:1:18: log.keep: -1 is not a whole number from 0 to 1000",
            ),
            (
                "{\"log\": {\"max_bytes\": 10}}",
                "x.json:1:23: log.max_bytes: 10 is not a whole number from 1024 to 1099511627776",
            ),
            (
                "{\"log\": {\"max_bytes\": 2048.5}}",
                "x.json:1:23: log.max_bytes: 2048.5 is not a whole number from 1024 to \
                 1099511627776",
            ),
            (
                "{\"log\": {\"max_bytes\": \"1M\"}}",
                "x.json:1:23: log.max_bytes: must be a whole number, is a string",
            ),
            (
                "{\"log\": {\"max_age_s\": 0}}",
                "x.json:1:23: log.max_age_s: 0 is not a whole number from 1 to 3153600000",
            ),
            (
                "{\"log\": {\"mode\": \"move\"}}",
                "x.json:1:18: log.mode: \"move\" is neither \"rename\" nor \"copytruncate\"",
            ),
            (
                "{\"log\": {\"file_mode\": 640}}",
                "x.json:1:23: log.file_mode: must be a string of octal digits, as \"0640\"",
            ),
            (
                "{\"log\": {\"file_mode\": \"0440\"}}",
                "x.json:1:23: log.file_mode: \"0440\" is not an octal mode from \"0600\" to \
                 \"0777\"",
            ),
            ("{\"log\": {\"group\": 4}}", "x.json:1:19: log.group: must be a string, is a number"),
            (
                "{\"coalesce_us\": 10001}",
                "x.json:1:17: coalesce_us: 10001 is not a whole number from 0 to 10000",
            ),
            ("{\"instances\": \"a\"}", "x.json:1:15: instances: must be an array, is a string"),
            (
                "{\"instances\": [\"/a b\"]}",
                "x.json:1:16: instances[0]: instance /a b: VM \"a b\": id must match \
                 [A-Za-z0-9][A-Za-z0-9._-]{0,63}",
            ),
            ("{\"instances\": [\"\"]}", "x.json:1:16: instances[0]: \"\" is no path"),
            (
                "{\"vms\": [{\"id\": \"a\", \"log\": \"l\"}]}",
                "x.json:1:10: vms[0]: key \"serial\" is missing, and no \"dir\"",
            ),
            (
                "{\"vms\": [{\"id\": \"a\", \"serial\": \"s\"}]}",
                "x.json:1:10: vms[0]: key \"log\" is missing, and no \"dir\"",
            ),
            (
                "{\"vms\": [{\"id\": \"a\", \"serial\": \"s\", \"log\": {}}]}",
                "x.json:1:44: vms[0].log: key \"path\" is missing",
            ),
            (
                "{\"vms\": [{\"dir\": \"a\", \"on_exit\": \"stop\"}]}",
                "x.json:1:34: vms[0].on_exit: \"stop\" is neither \"close\" nor \"wait\"",
            ),
            (
                "{\"instances\": [\"/i/a\"],\n\"vms\": [{\"id\": \"a\", \"serial\": \"s\", \
                 \"log\": \"l\"}]}",
                "x.json:2:9: vms[0]: id a is already taken, by instances[0]",
            ),
            (
                "{\"instances\": [\"/i/a\"],\n\"vms\": [{\"id\": \"b\", \"log\": \"l\", \
                 \"serial\": \"/i/a//serial.sock\"}]}",
                "x.json:2:9: vms[0]: serial /i/a/serial.sock is already taken, by instances[0]",
            ),
            (
                "{\"instances\": [\"/i/a\"],\n\"vms\": [{\"id\": \"b\", \"serial\": \"s\", \
                 \"log\": \"/i/a/logs/app.log\"}]}",
                "x.json:2:9: vms[0]: log /i/a/logs/app.log is already taken, by instances[0]",
            ),
        ];
        for (text, message) in cases {
            assert_eq!(read(text).err().as_deref(), Some(message), "{text}");
        }
    }

    /// What damaged configurations are made of: every key in its place.
    const FILES: [&str; 2] = [
        r#"{"control": {"path": "/run/c.sock", "mode": "0660", "group": "adm",
                        "read": {"gids": [4]}},
            "metrics": {"per_vm": true, "listen": "[::1]:9464"},
            "coalesce_us": 250, "dial_timeout_s": 60, "hold_bytes_total": 67108864,
            "host_rate_bytes": 4096, "host_burst_bytes": 8192, "after_rotate_parallel": 2,
            "log": {"max_bytes": 4096, "max_age_s": null, "keep": 9, "mode": "copytruncate",
                    "max_total_bytes": 40960, "max_backup_age_s": 86400, "check_interval_s": 7,
                    "file_mode": "0600", "group": "adm", "owner": "root", "root": null,
                    "hold_bytes": 65536, "on_overflow": "newest", "rate_bytes": 1024,
                    "burst_bytes": 2048, "keep_boot_head": 512, "fsync": "rotation",
                    "after_rotate": {"command": ["zstd", "-q"], "suffix": ".zst"}},
            "watch": ["/vms/*", "/srv/[ab]?/x"], "instances": ["/vms/a", "/vms/b"]}"#,
        r#"{"vms": [{"id": "b", "serial": "/r/b.sock", "log": "/l/b.log", "api": "/r/b.api",
                      "on_exit": "close", "dial_timeout_s": null, "expect_uid": 1000},
                     {"dir": "/vms/c", "log": {"keep": 2, "max_age_s": 60}},
                     {"id": "d", "serial": "d.sock", "log": {"path": "d.log"}}]}"#,
    ];

    proptest! {
        /// A damaged file is refused with a place that is in it, or gives VMs that keep to every
        /// rule, none twice.
        #[test]
        fn a_damaged_file_is_refused_with_its_place_or_keeps_to_every_rule(
            text in fuzz::damaged_text(&FILES),
        ) {
            match Settings::from_file(&JsonFile::of("x.json", &text)) {
                Err(error) => {
                    let error = error.to_string();
                    prop_assert!(fuzz::is_placed(&error, &text), "{} in {:?}", error, text);
                }
                Ok(settings) => {
                    let ids: HashSet<&str> = settings.vms.iter().map(|vm| vm.id.as_str()).collect();
                    prop_assert_eq!(ids.len(), settings.vms.len());
                    for vm in &settings.vms {
                        prop_assert_eq!(vm.validate(), Ok(()));
                    }
                    let longest = Duration::from_micros(COALESCE_US_MAX);
                    prop_assert!(settings.config.coalesce <= longest);
                    prop_assert!(settings.config.hold_bytes_total <= HOLD_BYTES_TOTAL_MAX);
                }
            }
        }

        /// What a file says is what comes out, whatever it leaves out.
        #[test]
        fn every_key_that_is_given_is_taken(
            max_bytes in prop::option::of(limits::MAX_BYTES_MIN..=limits::MAX_BYTES_MAX),
            keep in prop::option::of(0..=limits::KEEP_MAX),
            age in prop::option::of(prop::option::of(1..=SECONDS_MAX)),
            hold in prop::option::of(0..=limits::HOLD_BYTES_MAX),
            rate in prop::option::of(prop::option::of(RATES)),
            head in prop::option::of(0..=limits::BOOT_HEAD_MAX),
            mode in prop::option::of(0o600..=0o777u32),
            space in fuzz::space(),
        ) {
            let null = |value: Option<u64>| value.map_or("null".into(), |value| value.to_string());
            let mode = mode.map(|mode| mode | 0o600);
            let given = [
                max_bytes.map(|n| format!("\"max_bytes\":{space}{n}")),
                keep.map(|n| format!("\"keep\"{space}:{n}")),
                age.map(|age| format!("\"max_age_s\":{}", null(age))),
                hold.map(|n| format!("\"hold_bytes\":{n}{space}")),
                rate.map(|rate| format!("\"rate_bytes\":{}", null(rate))),
                head.map(|n| format!("{space}\"keep_boot_head\":{n}")),
                mode.map(|mode| format!("\"file_mode\":\"{mode:04o}\"")),
            ];
            let log = given.into_iter().flatten().collect::<Vec<_>>().join(",");
            let text = format!("{{{space}\"instances\":[\"/vms/a\"],\"log\":{{{log}}}{space}}}");
            let settings = read(&text);
            prop_assert!(settings.is_ok(), "{:?}", settings.err());
            let settings = settings.unwrap_or_default();
            let mut expected = VmSpec::instance("a", "/vms/a");
            expected.on_exit = OnExit::Wait;
            let log = &mut expected.log;
            log.max_bytes = max_bytes.unwrap_or(log.max_bytes);
            log.keep = keep.unwrap_or(log.keep);
            log.max_age = age.map_or(log.max_age, |age| age.map(Duration::from_secs));
            log.hold_bytes = hold.unwrap_or(log.hold_bytes);
            log.rate_bytes = rate.unwrap_or(log.rate_bytes);
            log.keep_boot_head = head.unwrap_or(log.keep_boot_head);
            log.file_mode = mode.unwrap_or(log.file_mode);
            prop_assert_eq!(settings.vms, [expected]);
        }
    }
}
