//! The key by which a file says what is told to whoever scrapes our counters, and where.
//!
//! Owns the names of its parts.
//! **Invariant:** an address is a number's: no name is looked up.

use seriald::MetricsSpec;
use seriald::control::metrics_spec::{own_port, parse_address};
use seriald::keys::json_file::{FileError, Node};

const KEYS: [&str; 2] = ["per_vm", "listen"];

/// An object with `per_vm` and `listen`, each optional.
pub fn read(node: &Node<'_>) -> Result<MetricsSpec, FileError> {
    let keys = node.object(&KEYS)?;
    let per_vm = keys.get("per_vm").map(Node::boolean).transpose()?.unwrap_or_default();
    let listen = match keys.get("listen").filter(|node| !node.is_null()) {
        None => None,
        Some(node) if node.is_string() => {
            Some(parse_address(&node.string()?).map_err(|why| node.wrong(why))?)
        }
        // No more than the range, which is that of a u16.
        Some(node) => Some(own_port(node.number(0..=u64::from(u16::MAX))? as u16)),
    };
    Ok(MetricsSpec { per_vm, listen })
}

#[cfg(test)]
mod tests {
    use super::*;
    use seriald::keys::json_file::JsonFile;

    fn read(text: &str) -> Result<MetricsSpec, String> {
        let file = JsonFile::of("x.json", text);
        file.root().and_then(|root| super::read(&root)).map_err(|error| error.to_string())
    }

    #[test]
    fn each_part_is_optional_and_a_port_is_this_hosts_own() {
        let listen = |text: &str| Some(text.parse().expect("an address"));
        assert_eq!(read("{}"), Ok(MetricsSpec::default()));
        assert_eq!(read("{\"listen\": null}"), Ok(MetricsSpec::default()));
        let all = MetricsSpec { per_vm: true, listen: listen("[::]:9464") };
        assert_eq!(read("{\"per_vm\": true, \"listen\": \"[::]:9464\"}"), Ok(all));
        for port in ["9464", "\"9464\"", "\"127.0.0.1:9464\""] {
            let spec = read(&format!("{{\"listen\": {port}}}")).expect("an address");
            assert_eq!(spec, MetricsSpec { per_vm: false, listen: listen("127.0.0.1:9464") });
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (text, why) in [
            ("3", "x.json:1:1: must be an object, is a number"),
            ("{\"per_vm\": 1}", "x.json:1:12: per_vm: must be a boolean, is a number"),
            (
                "{\"listen\": 65536}",
                "x.json:1:12: listen: 65536 is not a whole number from 0 to 65535",
            ),
            (
                "{\"listen\": \"host:9464\"}",
                "x.json:1:12: listen: \"host:9464\" is no IP address and port: write it as \
                 \"127.0.0.1:9464\", \"[::1]:9464\", or \"9464\" for this host alone",
            ),
            (
                "{\"port\": 1}",
                "x.json:1:2: unknown key \"port\", the keys here are: per_vm, listen",
            ),
        ] {
            assert_eq!(read(text).err().as_deref(), Some(why), "{text}");
        }
    }
}
