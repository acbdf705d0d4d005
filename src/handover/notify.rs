//! What a service and its manager tell each other: sd_notify(3), sd_listen_fds(3).
//!
//! Owns the words.
//! **Invariant:** pure; nothing that a service says, or a guest makes it say, adds a line to a
//! message, and arbitrary bytes are read without a panic.

use crate::limits::STORED_MAX;
use std::fmt;

/// One message to the manager.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// The service is up.
    Ready,
    /// One line for people.
    Status(String),
    /// It reads its configuration anew, since this moment of CLOCK_MONOTONIC, in microseconds.
    Reloading(u64),
    /// It is alive.
    Watchdog,
    /// It is ending.
    Stopping,
    /// The descriptor beside this is to be kept under this name. It is not watched (FDPOLL=0): a
    /// manager that saw a hang-up would close it, and what it had yet to be read.
    Store(String),
    /// Descriptors of this name are to be dropped.
    Remove(String),
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Message::Ready => f.write_str("READY=1"),
            Message::Status(text) => {
                let line = text.replace(|c: char| c.is_control(), " ");
                write!(f, "STATUS={line}")
            }
            Message::Reloading(at) => write!(f, "RELOADING=1\nMONOTONIC_USEC={at}"),
            Message::Watchdog => f.write_str("WATCHDOG=1"),
            Message::Stopping => f.write_str("STOPPING=1"),
            Message::Store(name) => write!(f, "FDSTORE=1\nFDNAME={name}\nFDPOLL=0"),
            Message::Remove(name) => write!(f, "FDSTOREREMOVE=1\nFDNAME={name}"),
        }
    }
}

/// What a manager makes of a datagram; what it does not know it leaves out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// The service is up.
    pub ready: bool,
    /// It is ending.
    pub stopping: bool,
    /// Descriptors are to be kept.
    pub store: bool,
    /// Descriptors are to be dropped.
    pub remove: bool,
    /// Their name, if it is one.
    pub name: Option<String>,
}

impl Heard {
    /// Reads a datagram.
    pub fn of(datagram: &[u8]) -> Heard {
        let mut heard = Heard::default();
        for line in datagram.split(|byte| *byte == b'\n') {
            match line {
                b"READY=1" => heard.ready = true,
                b"STOPPING=1" => heard.stopping = true,
                b"FDSTORE=1" => heard.store = true,
                b"FDSTOREREMOVE=1" => heard.remove = true,
                line => {
                    let name = line.strip_prefix(b"FDNAME=").map(std::str::from_utf8);
                    let name = name.and_then(Result::ok).filter(|name| is_name(name));
                    heard.name = name.map(str::to_owned).or(heard.name);
                }
            }
        }
        heard
    }
}

/// Whether it may be a descriptor's name: up to 255 printable ASCII characters, none a colon.
pub fn is_name(name: &str) -> bool {
    let fits = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b':';
    (1..=255).contains(&name.len()) && name.bytes().all(fits)
}

/// The names of the descriptors that a manager hands over, from number 3 on.
///
/// `pid`: LISTEN_PID, `count`: LISTEN_FDS, `names`: LISTEN_FDNAMES, `ours`: our pid. Nothing is
/// handed to us if the pid is another's. A name that is missing is `unknown`, as systemd has it.
pub fn listen_names(
    pid: Option<&str>,
    count: Option<&str>,
    names: Option<&str>,
    ours: u32,
) -> Vec<String> {
    if pid.and_then(|pid| pid.parse().ok()) != Some(ours) {
        return Vec::new();
    }
    let count: usize = count.and_then(|count| count.parse().ok()).unwrap_or(0);
    // An empty one keeps its place: the next name is the next number's.
    let mut names = names.unwrap_or_default().split(':');
    let name = || names.next().filter(|name| !name.is_empty()).unwrap_or("unknown").to_owned();
    std::iter::repeat_with(name).take(count.min(STORED_MAX)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz;
    use proptest::prelude::*;

    #[test]
    fn a_status_cannot_smuggle_a_line() {
        let status = Message::Status("a\nFDSTOREREMOVE=1\r\u{85}b".into()).to_string();
        assert_eq!(status, "STATUS=a FDSTOREREMOVE=1  b");
        assert!(!Heard::of(status.as_bytes()).remove);
    }

    #[test]
    fn what_the_service_says_the_manager_hears() {
        let heard = |message: Message| Heard::of(message.to_string().as_bytes());
        let name = Some("s19999".to_owned());
        assert!(heard(Message::Ready).ready && heard(Message::Stopping).stopping);
        let store = Heard { store: true, name: name.clone(), ..Heard::default() };
        assert_eq!(heard(Message::Store("s19999".into())), store);
        let remove = Heard { remove: true, name, ..Heard::default() };
        assert_eq!(heard(Message::Remove("s19999".into())), remove);
        for other in [Message::Watchdog, Message::Reloading(7), Message::Status("READY=1".into())] {
            assert_eq!(heard(other), Heard::default());
        }
    }

    #[test]
    fn descriptors_are_ours_only_by_our_pid() {
        let names = |pid, count, names| listen_names(Some(pid), Some(count), Some(names), 42);
        assert_eq!(names("42", "3", "state:s0"), ["state", "s0", "unknown"]);
        assert!(names("43", "3", "a:b:c").is_empty() && names("42", "x", "a").is_empty());
        assert!(listen_names(None, Some("1"), None, 42).is_empty());
        assert_eq!(names("42", "999999999", "").len(), STORED_MAX);
    }

    #[test]
    fn the_names_of_all_berths_fit_into_one_string_of_the_environment() {
        let names = (0..crate::limits::BERTHS_MAX).map(|berth| format!("s{berth}"));
        let names = names.chain(["state".into()]).collect::<Vec<_>>().join(":");
        assert!("LISTEN_FDNAMES=".len() + names.len() < 128 * 1024, "{}", names.len());
    }

    #[test]
    fn an_empty_name_keeps_its_place() {
        let names = listen_names(Some("42"), Some("4"), Some("a::s0:"), 42);
        assert_eq!(names, ["a", "unknown", "s0", "unknown"]);
    }

    /// Datagrams of services, ours and others'.
    fn datagrams() -> Vec<Vec<u8>> {
        let messages = [
            Message::Ready,
            Message::Status("up: 3 VMs".into()),
            Message::Reloading(7),
            Message::Stopping,
            Message::Store("s19999".into()),
            Message::Remove("state".into()),
        ];
        let odd = ["READY=1\nSTATUS=a\nMAINPID=7\n", "FDNAME=a\nFDNAME=b:c\nFDSTORE=1", "\n\n="];
        let all = messages.map(|message| message.to_string()).into_iter();
        all.chain(odd.map(str::to_owned)).map(String::into_bytes).collect()
    }

    /// What stands in a datagram, by looking for each line anew.
    fn model(datagram: &[u8]) -> Heard {
        let lines: Vec<&[u8]> = datagram.split(|byte| *byte == b'\n').collect();
        let has = |line: &str| lines.contains(&line.as_bytes());
        let names = lines.iter().filter_map(|line| line.strip_prefix(b"FDNAME="));
        let mut valid =
            names.filter_map(|name| std::str::from_utf8(name).ok()).filter(|n| is_name(n));
        Heard {
            ready: has("READY=1"),
            stopping: has("STOPPING=1"),
            store: has("FDSTORE=1"),
            remove: has("FDSTOREREMOVE=1"),
            name: valid.next_back().map(str::to_owned),
        }
    }

    proptest! {
        #[test]
        fn any_datagram_is_read_line_by_line(datagram in fuzz::damaged(datagrams())) {
            prop_assert_eq!(Heard::of(&datagram), model(&datagram));
        }

        #[test]
        fn any_status_is_one_line(text in ".*", damaged in fuzz::damaged(datagrams())) {
            for text in [text, String::from_utf8_lossy(&damaged).into_owned()] {
                let message = Message::Status(text).to_string();
                prop_assert!(!message.contains('\n'));
                prop_assert_eq!(Heard::of(message.as_bytes()), Heard::default());
            }
        }

        #[test]
        fn any_name_is_heard_as_it_was_said(name in "[ -9;-~]{1,255}") {
            prop_assert!(is_name(&name));
            let said = Message::Store(name.clone()).to_string();
            let heard = Heard { store: true, name: Some(name), ..Heard::default() };
            prop_assert_eq!(Heard::of(said.as_bytes()), heard);
        }

        #[test]
        fn names_are_handed_over_in_the_order_of_their_numbers(
            names in proptest::collection::vec("[ -9;-~]{0,9}", 1..20),
            more in 0..3usize,
        ) {
            let count = (names.len() + more).to_string();
            let heard = listen_names(Some("7"), Some(&count), Some(&names.join(":")), 7);
            prop_assert_eq!(heard.len(), names.len() + more);
            for (n, name) in heard.iter().enumerate() {
                let said = names.get(n).filter(|name| !name.is_empty());
                prop_assert_eq!(name, said.map_or("unknown", |name| name));
            }
        }

        #[test]
        fn any_environment_is_read(
            pid in prop_oneof![Just("1".to_owned()), fuzz::damaged_text(&["1"])],
            count in fuzz::damaged_text(&["3", "20017"]),
            names in fuzz::damaged_text(&["state:s0:s1", "s0:s0:s0"]),
        ) {
            let heard = listen_names(Some(&pid), Some(&count), Some(&names), 1);
            prop_assert!(heard.len() <= STORED_MAX);
            prop_assert!(heard.iter().all(|name| !name.is_empty() && !name.contains(':')));
            prop_assert!(heard.is_empty() || pid.parse() == Ok(1));
        }
    }
}
