//! What whoever scrapes our counters is told, and where.
//!
//! Owns how an address is written.
//! **Invariant:** pure; no name is looked up. Without an address a port is this host's own alone.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// What is told of counters beside those of the host, and where beside the control socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MetricsSpec {
    /// Counters of each VM too, by its id.
    pub per_vm: bool,
    /// A TCP address at which they are told to whoever reaches it, and nothing else is; `None`:
    /// none.
    pub listen: Option<SocketAddr>,
}

/// A port alone: it is this host's own.
pub fn own_port(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Reads `127.0.0.1:9464`, `[::1]:9464` or `9464`.
///
/// # Errors
/// What is wrong, and how it is to be written.
pub fn parse_address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(address);
    }
    if let Ok(port) = text.parse::<u16>() {
        return Ok(own_port(port));
    }
    if let Ok(address) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
        return Err(format!("{text:?} has no port: write \"{}\"", SocketAddr::new(address, 9464)));
    }
    Err(match text.strip_prefix(':').and_then(|port| port.parse::<u16>().ok()) {
        Some(port) => format!(
            "{text:?} does not say whether others may reach it: write \"{port}\" for this host \
             alone, \"0.0.0.0:{port}\" or \"[::]:{port}\" for everybody"
        ),
        None => format!(
            "{text:?} is no IP address and port: write it as \"127.0.0.1:9464\", \"[::1]:9464\", \
             or \"9464\" for this host alone"
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_alone_is_this_hosts_own() {
        let own = |text: &str| parse_address(text).expect("an address");
        assert_eq!(own("9464").to_string(), "127.0.0.1:9464");
        assert_eq!(own("[::1]:9464").to_string(), "[::1]:9464");
        assert_eq!(own("0.0.0.0:0").to_string(), "0.0.0.0:0");
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_way_to_write_it() {
        for (text, way) in [
            ("localhost:9464", "write it as \"127.0.0.1:9464\""),
            ("", "\"9464\" for this host alone"),
            ("65536", "is no IP address and port"),
            (":9464", "\"0.0.0.0:9464\" or \"[::]:9464\" for everybody"),
            ("::1", "write \"[::1]:9464\""),
            ("[::1]", "write \"[::1]:9464\""),
            ("10.0.0.1", "write \"10.0.0.1:9464\""),
        ] {
            let why = parse_address(text).expect_err(text);
            assert!(why.contains(way) && why.contains(&format!("{text:?}")), "{why}");
        }
    }
}
