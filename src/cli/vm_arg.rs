//! A VM on the command line: `id=a,serial=/run/a.sock,log=/var/log/a.log[,api=/run/a.api]`.
//!
//! Owns the names of its parts.
//! **Invariant:** a path with a comma in it can't be said this way; a configuration file can.

use seriald::config::{OnExit, VmSpec};
use seriald::keys::json_file::unknown;
use seriald::keys::vm_keys::VmDefaults;

const KEYS: [&str; 5] = ["id", "serial", "log", "api", "on_exit"];

/// The VM that the argument describes.
///
/// # Errors
/// The part that is wrong or missing.
pub fn parse(text: &str, defaults: &VmDefaults) -> Result<VmSpec, String> {
    let mut values: [Option<&str>; KEYS.len()] = [None; KEYS.len()];
    for part in text.split(',') {
        let (key, value) = part
            .split_once('=')
            .filter(|(_, value)| !value.is_empty())
            .ok_or_else(|| format!("{part:?} is not of the form key=value"))?;
        let at = KEYS.iter().position(|k| *k == key).ok_or_else(|| unknown(key, &KEYS))?;
        if values[at].replace(value).is_some() {
            return Err(format!("key {key:?} comes twice"));
        }
    }
    let [id, serial, log, api, on_exit] = values;
    let needed = |value: Option<&str>, key: &str| {
        value.map(str::to_string).ok_or_else(|| format!("key {key:?} is missing"))
    };
    let (id, serial, log) = (needed(id, "id")?, needed(serial, "serial")?, needed(log, "log")?);
    let mut spec = defaults.vm(id, serial.into(), log.into());
    spec.api = api.map(Into::into);
    spec.on_exit = match on_exit {
        None => spec.on_exit,
        Some("close") => OnExit::Close,
        Some("wait") => OnExit::Wait,
        Some(other) => return Err(format!("on_exit {other:?} is neither \"close\" nor \"wait\"")),
    };
    spec.validate().map_err(|e| e.to_string())?;
    Ok(spec)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::config_file::Settings;
    use crate::fuzz;
    use proptest::prelude::*;
    use std::path::Path;

    fn read(text: &str) -> Result<VmSpec, String> {
        parse(text, &Settings::default().defaults)
    }

    #[test]
    fn the_parts_may_come_in_any_order() {
        let spec = read("log=l,api=p,on_exit=close,serial=s,id=a").expect("valid");
        assert_eq!((spec.id.as_str(), spec.on_exit), ("a", OnExit::Close));
        assert_eq!(
            (spec.serial.as_path(), spec.log.path.as_path()),
            (Path::new("s"), "l".as_ref())
        );
        assert_eq!(spec.api.as_deref(), Some(Path::new("p")));
        assert_eq!(read("id=a,serial=s,log=l").expect("valid").on_exit, OnExit::Wait);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let cases = [
            ("", "\"\" is not of the form key=value"),
            ("id=a,serial=", "\"serial=\" is not of the form key=value"),
            ("id=a,serial=s", "key \"log\" is missing"),
            ("id=a,id=b", "key \"id\" comes twice"),
            ("id=a,serail=s", "unknown key \"serail\", did you mean \"serial\"?"),
            ("path=a", "unknown key \"path\", the keys here are: id, serial, log, api, on_exit"),
            ("id=-,serial=s,log=l", "VM \"-\": id must match [A-Za-z0-9][A-Za-z0-9._-]{0,63}"),
            ("id=a,serial=s,log=l,on_exit=x", "on_exit \"x\" is neither \"close\" nor \"wait\""),
        ];
        for (text, message) in cases {
            assert_eq!(read(text).err().as_deref(), Some(message), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_damaged_argument_is_refused_in_words_or_keeps_to_every_rule(
            text in fuzz::damaged_text(&[
                "id=a,serial=/run/a.sock,log=/var/log/a.log,api=/run/a.api",
                "log=l,api=p,on_exit=close,serial=s,id=a",
            ]),
        ) {
            match read(&text) {
                Ok(spec) => prop_assert_eq!(spec.validate(), Ok(())),
                Err(why) => prop_assert!(!why.is_empty()),
            }
        }
    }
}
