//! A launch file: one VM, the VMM that is to run it, and what it starts from.
//!
//! Owns the names of its keys.
//! **Invariant:** what CH is sent (`config`, `restore`) is not read here, only passed on.

use seriald::config::OnExit;
use seriald::keys::json_file::{FileError, JsonFile};
use seriald::keys::launch_keys::read_launch;
use seriald::keys::log_keys::LogKeys;
use seriald::keys::vm_keys::VmDefaults;
use seriald::vm::launch::LaunchSpec;

/// All keys of such a file.
pub const KEYS: [&str; 10] = [
    "id",
    "dir",
    "serial",
    "api",
    "log",
    "dial_timeout_s",
    "launch_timeout_s",
    "vmm",
    "config",
    "restore",
];

/// What a launch file says.
///
/// # Errors
/// The first thing that is wrong in it, with its place.
pub fn read(file: &JsonFile) -> Result<LaunchSpec, FileError> {
    let root = file.root()?;
    let keys = root.object(&KEYS)?;
    let defaults =
        VmDefaults { log: LogKeys::default(), on_exit: OnExit::Close, dial_timeout: None };
    let vm = defaults.read_vm(&root, &keys, None)?;
    read_launch(vm, &root, &keys)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz;
    use proptest::prelude::*;
    use seriald::vm::launch::Start;
    use std::path::Path;

    fn spec(text: &str) -> Result<LaunchSpec, String> {
        read(&JsonFile::of("a.json", text)).map_err(|e| e.to_string())
    }

    #[test]
    fn a_directory_and_a_config_are_enough() {
        let file = spec(r#"{"dir": "/vms/a", "config": {"x" : 1}}"#).expect("valid");
        assert_eq!(file.vm.id, "a");
        assert_eq!(file.vm.on_exit, OnExit::Close);
        assert_eq!(file.vm.api.as_deref(), Some(Path::new("/vms/a/ch.sock")));
        assert_eq!(file.vmm, ["cloud-hypervisor"]);
        assert_eq!(file.start, Start::Create("{\"x\" : 1}".into()));
        assert_eq!(file.timeout, None);
    }

    #[test]
    fn what_is_wrong_is_refused_with_its_place_and_the_way_out() {
        let cases = [
            (
                r#"{"dir": "/vms/a"}"#,
                "a.json:1:1: \"config\" (the body of vm.create) or \"restore\" (of vm.restore) is \
                 missing",
            ),
            (
                r#"{"dir": "/vms/a", "config": {}, "restore": {}}"#,
                "a.json:1:44: restore: there is a \"config\" too: a VM is either made or restored",
            ),
            (
                r#"{"dir": "/vms/a", "config": "x"}"#,
                "a.json:1:29: config: must be an object, is a string",
            ),
            (
                r#"{"id": "a", "serial": "s", "log": "l", "config": {}}"#,
                "a.json:1:1: key \"api\" is missing, and no \"dir\"",
            ),
            (r#"{"dir": "/vms/a", "vmm": [], "config": {}}"#, "a.json:1:26: vmm: names no program"),
            (
                r#"{"dir": "/vms/a", "vmm": ["ch", 3], "config": {}}"#,
                "a.json:1:33: vmm[1]: must be a string, is a number",
            ),
            (
                r#"{"dir": "/vms/a", "restor": {}}"#,
                "a.json:1:19: unknown key \"restor\", did you mean \"restore\"?",
            ),
            (
                r#"{"dir": "/vms/a", "on_exit": "wait", "config": {}}"#,
                "a.json:1:19: unknown key \"on_exit\", the keys here are: id, dir, serial, api, \
                 log, dial_timeout_s, launch_timeout_s, vmm, config, restore",
            ),
        ];
        for (text, message) in cases {
            assert_eq!(spec(text).err().as_deref(), Some(message), "{text}");
        }
    }

    const FILES: [&str; 2] = [
        r#"{"dir": "/vms/a", "vmm": ["ch", "-v"], "launch_timeout_s": 9, "config": {"x" : 1}}"#,
        r#"{"id": "a", "serial": "s", "api": "p", "log": {"path": "l", "keep": 2},
            "dial_timeout_s": null, "restore": {"source_url": "file:///s"}}"#,
    ];

    proptest! {
        #[test]
        fn a_damaged_file_is_refused_with_its_place_or_keeps_to_every_rule(
            text in fuzz::damaged_text(&FILES),
        ) {
            match read(&JsonFile::of("x.json", &text)) {
                Err(error) => {
                    let error = error.to_string();
                    prop_assert!(fuzz::is_placed(&error, &text), "{} in {:?}", error, text);
                }
                Ok(spec) => {
                    prop_assert_eq!(spec.vm.validate(), Ok(()));
                    prop_assert!(spec.vm.api.is_some() && !spec.vmm[0].is_empty());
                }
            }
        }

        /// What CH is sent stands there byte for byte as in the file.
        #[test]
        fn what_is_passed_on_is_not_respelled(
            members in prop::collection::vec(
                fuzz::json_member(fuzz::json_string(), fuzz::json()), 0..4,
            ),
            space in fuzz::space(),
        ) {
            let body = format!("{{{}}}", members.join(","));
            let text = format!("{{\"dir\":\"/vms/a\",{space}\"config\":{space}{body}{space}}}");
            prop_assert_eq!(spec(&text).map(|spec| spec.start), Ok(Start::Create(body)));
        }
    }
}
