//! Format 1 is frozen, and lenient.

use super::*;
use crate::config::RotateMode;
use crate::env::{Exit, FileId};
use crate::fuzz;
use crate::log::{Counters, Rotation};
use crate::vm::After;

/// Written once by the first program that knew format 1, and never changed since.
const FIXTURE: &str = include_str!("fixture_1.json");

fn socket(inode: u64) -> SocketId {
    SocketId { file: FileId { device: 3, inode }, born: Duration::new(1_700_000_000, inode as u32) }
}

fn counters(name: &str, count: u64) -> Map<String, Value> {
    [(name.to_owned(), count.into())].into_iter().collect()
}

/// What the fixture says.
fn whole() -> State {
    let log = SavedLog {
        path: "/var/log/vms/a.log".into(),
        max_bytes: 10_485_760,
        max_age: Some(Duration::from_secs(86_400)),
        keep: 4,
        copies: true,
        check_interval: Duration::from_secs(5),
        file_mode: 0o640,
        group: Some("adm".into()),
        dir: 10,
        file: 11,
        id: Some(FileId { device: 3, inode: 7 }),
        size: 5000,
        age_due: Some(Duration::from_secs(90_000)),
        rotation: Rotation::Copying { copied: 4096 },
        begun_at: 4900,
        copy: Some(12),
        held: b"not written\n".to_vec(),
        counters: Counters { written_bytes: 6000, rotations: 2, ..Counters::default() },
        ..SavedLog::default()
    };
    let machine = SavedVm {
        state: "streaming".into(),
        since: Duration::from_millis(1500),
        heard: true,
        full: true,
        displaced_tries: 2,
        ours_after: Duration::from_secs(2),
        ..SavedVm::default()
    };
    let streaming = VmState {
        id: "a".into(),
        serial: "/run/vms/a/serial.sock".into(),
        api: Some("/run/vms/a/ch.sock".into()),
        stream: Some(StreamState { descriptor: 13, socket: Some(socket(8)), berth: Some(5) }),
        successor: Some(StreamState { descriptor: 14, socket: Some(socket(9)), berth: None }),
        vmm: Some(ProcessState { descriptor: 15, pid: 4242, child: true }),
        launch: Some(LaunchState {
            made_serial: Some(socket(8)),
            made_api: Some(socket(10)),
            api_is_anothers: false,
            ended: false,
            digest: None,
        }),
        machine,
        log: log.clone(),
        counters: counters("read_bytes", 6012),
        ..VmState::default()
    };
    let dialing = VmState {
        id: "b".into(),
        serial: "/run/vms/b/serial.sock".into(),
        waits_on_exit: true,
        dial_timeout: Some(Duration::from_secs(60)),
        machine: SavedVm {
            state: "dialing".into(),
            give_up: Some(Duration::from_secs(61)),
            after: After::Gone { shut_down_at: Some(Duration::from_secs(3)) },
            vmm_exit: Some(Exit::Signal(9)),
            ..SavedVm::default()
        },
        log: SavedLog { rotation: Rotation::Away { by_us: true }, copy: None, ..log },
        ..VmState::default()
    };
    State {
        format: 1,
        version: "0.1.0".into(),
        origin: Duration::new(77, 5),
        stats: counters("turns", 12),
        failures: 1,
        vms: vec![streaming, dialing],
        store: Some(16),
        control: None,
        feed: None,
        scraping: None,
        requested: Vec::new(),
    }
}

#[test]
fn the_fixture_of_format_1_is_read() {
    let state = State::parse(FIXTURE.as_bytes()).unwrap();
    assert_eq!(state, whole());
    assert_eq!(state.vms[0].log.spec().mode, RotateMode::CopyTruncate);
    let mut descriptors = state.descriptors();
    descriptors.sort_unstable();
    assert_eq!(descriptors, [10, 10, 11, 11, 12, 13, 14, 15, 16]);
}

#[test]
fn what_is_written_now_means_the_same() {
    let written: Value = serde_json::from_slice(&whole().encode().unwrap()).unwrap();
    let fixture: Value = serde_json::from_str(FIXTURE).unwrap();
    // A later program may write more; what the fixture has it writes as it stands there.
    assert_has(&written, &fixture);
}

fn assert_has(written: &Value, fixture: &Value) {
    match (written, fixture) {
        (Value::Object(written), Value::Object(fixture)) => {
            for (key, value) in fixture {
                assert_has(written.get(key).unwrap_or_else(|| panic!("{key}")), value);
            }
        }
        (Value::Array(written), Value::Array(fixture)) => {
            assert_eq!(written.len(), fixture.len());
            written.iter().zip(fixture).for_each(|(written, fixture)| assert_has(written, fixture));
        }
        _ => assert_eq!(written, fixture),
    }
}

#[test]
fn fields_that_are_not_known_are_ignored_and_those_that_are_missing_have_their_default() {
    let newer = FIXTURE.replace("\"id\":", "\"a field of a later program\": [{}], \"id\":");
    assert_ne!(newer, FIXTURE);
    assert_eq!(State::parse(newer.as_bytes()).unwrap(), whole());
    let older = State::parse(br#"{"format": 1, "vms": [{"id": "a"}]}"#).unwrap();
    assert_eq!(older.vms, [VmState { id: "a".into(), ..VmState::default() }]);
}

#[test]
fn a_socket_for_counters_is_handed_over_and_one_that_is_another_thing_too_is_refused() {
    let scraping =
        ScrapingState { descriptor: 20, asked_for: "[::1]:0".parse().unwrap(), per_vm: true };
    let mut state = State { scraping: Some(scraping), ..sound() };
    let read = State::parse(&state.encode().unwrap()).unwrap();
    assert_eq!(read.scraping, Some(scraping));
    assert!(read.descriptors().contains(&20) && state.clone().checked().is_ok());
    state.scraping = Some(ScrapingState { descriptor: 13, ..scraping });
    let error = state.checked().unwrap_err().to_string();
    assert_eq!(error, "state: descriptor 13 is named twice");
}

#[test]
fn another_format_is_refused_by_its_number() {
    let error = State::parse(br#"{"format": 2, "vms": "of another kind"}"#).unwrap_err();
    assert_eq!(error.to_string(), "state: is of format 2; this program knows format 1");
    assert!(State::parse(b"{}").is_err() && State::parse(b"[1").is_err());
}

/// A state that can be gone on with: of the fixture's two VMs the first.
fn sound() -> State {
    let mut state = whole();
    state.vms.truncate(1);
    state
}

#[test]
fn a_state_that_can_be_gone_on_with_passes() {
    assert_eq!(sound().checked().unwrap(), sound());
}

#[test]
fn what_a_successor_could_not_go_on_with_is_refused_by_name() {
    let gap = |before, bytes| {
        let time = Duration::ZERO;
        let cause = crate::log::record::Cause::Crash;
        let loss = crate::log::record::Loss { bytes, cause, from: time, until: time, merged: 0 };
        crate::log::Gap { before, loss }
    };
    let refused = |change: &dyn Fn(&mut VmState)| {
        let mut state = sound();
        change(&mut state.vms[0]);
        state.checked().unwrap_err().to_string()
    };
    let many = vec![gap(0, 1); crate::limits::HELD_GAPS_MAX + 1];
    type Change<'a> = &'a dyn Fn(&mut VmState);
    let changes: [(Change<'_>, &str); 16] = [
        (&|vm| vm.log.max_bytes = 0, "log.max_bytes 0 is not within"),
        (&|vm| vm.log.max_age = Some(Duration::MAX), "log.max_age_s 18446744073709551615 is above"),
        (&|vm| vm.log.path = "/".into(), "log.path"),
        (&|vm| vm.id = "../a".into(), "id must match"),
        (&|vm| vm.machine.until = Duration::MAX, "a moment that no clock reaches"),
        (&|vm| vm.log.age_due = Some(Duration::MAX), "a moment that no clock reaches"),
        (&|vm| vm.log.held_since = Some(Duration::MAX), "a moment that no clock reaches"),
        (
            &|vm| vm.machine.after = After::Gone { shut_down_at: Some(Duration::MAX) },
            "a moment that no clock reaches",
        ),
        (&|vm| vm.log.base = Some(u64::MAX), "a size or an offset that no log has"),
        (&|vm| vm.log.rotation = Rotation::Copied { bytes: u64::MAX }, "that no log has"),
        (&|vm| vm.log.counters.rotations = u64::MAX, "counts more than there can be"),
        (&|vm| vm.counters = counters("read_bytes", u64::MAX), "counts more than there can be"),
        (&|vm| vm.log.gaps = vec![gap(13, 1)], "are not in order"),
        (&|vm| vm.log.gaps = vec![gap(2, 1), gap(1, 1)], "are not in order"),
        (&|vm| vm.log.gaps = vec![gap(1, u64::MAX), gap(1, 1)], "are not in order"),
        (&|vm| vm.log.gaps = many.clone(), "are not in order"),
    ];
    for (change, expected) in changes {
        let error = refused(change);
        assert!(error.starts_with("state: VM \"") && error.contains(expected), "{error}");
    }
    let nested = [("ends".to_owned(), serde_json::json!({"boots": [1, u64::MAX]}))];
    for stats in [counters("turns", u64::MAX), nested.into_iter().collect()] {
        let error = State { stats, ..sound() }.checked().unwrap_err().to_string();
        assert_eq!(error, "state: counts more than there can be");
    }
    let twice = refused(&|vm| vm.log.copy = Some(vm.log.file));
    assert_eq!(twice, "state: descriptor 11 is named twice");
}

#[test]
fn a_state_may_be_nested_deeper_than_a_stack_and_is_refused() {
    let deep = "[".repeat(1_000_000) + &"]".repeat(1_000_000);
    for state in [
        format!("{{\"format\":1,\"x\":{deep}}}"),
        format!("{{\"format\":1,\"stats\":{{\"x\":{deep}}}}}"),
        format!("{{\"format\":1,\"vms\":{deep}}}"),
        deep,
    ] {
        // Whether a field that is not known is nested that deep is nobody's concern.
        let is_unknown = state.starts_with("{\"format\":1,\"x\"");
        assert_eq!(State::parse(state.as_bytes()).is_ok(), is_unknown);
    }
}

/// A log of which nothing is as it is by default.
fn odd_log() -> SavedLog {
    let path = PathBuf::from("/l/a.log");
    SavedLog {
        max_total_bytes: Some(1 << 30),
        max_backup_age: Some(Duration::from_secs(60)),
        owner: Some("root".into()),
        root: Some("/l".into()),
        hold_bytes: Some(9),
        drops_newest: true,
        rate_bytes: Some(1024),
        burst_bytes: Some(2048),
        keep_boot_head: 512,
        after_rotate: Some((vec!["zstd".into()], ".zst".into())),
        syncs: true,
        held_since: Some(Duration::from_secs(3)),
        gaps: vec![crate::log::Gap {
            before: 1,
            loss: crate::log::record::Loss {
                bytes: 7,
                cause: crate::log::record::Cause::Closed,
                from: Duration::from_secs(1),
                until: Duration::from_secs(2),
                merged: 2,
            },
        }],
        base: Some(77),
        generation: 3,
        start: 70,
        events: "{}\n".into(),
        events_broken: true,
        path,
        ..whole().vms[0].log.clone()
    }
}

#[test]
fn every_field_of_a_log_is_written_and_read() {
    let written = |log: &SavedLog| serde_json::to_value(log).unwrap();
    let (odd, default) = (written(&odd_log()), written(&SavedLog::default()));
    for (field, value) in odd.as_object().unwrap() {
        assert_ne!(Some(value), default.get(field), "{field} says nothing");
    }
    assert_eq!(serde_json::from_value::<SavedLog>(odd).unwrap(), odd_log());
}

fn corpus() -> Vec<Vec<u8>> {
    let now = sound().encode().unwrap();
    let dialing = State { vms: whole().vms[1..].to_vec(), ..whole() }.encode().unwrap();
    let odd = VmState { log: odd_log(), ..sound().vms.remove(0) };
    let odd = State { vms: vec![odd], ..sound() }.checked().unwrap().encode().unwrap();
    vec![FIXTURE.into(), odd, now, dialing, b"{\"format\":1}".to_vec()]
}

proptest::proptest! {
    /// Whatever is damaged: it is refused in words, or means the same once it is written again.
    #[test]
    fn a_damaged_state_is_refused_or_read_and_written(bytes in fuzz::damaged(corpus())) {
        match State::parse(&bytes) {
            Ok(state) => {
                // Once written, for its losses' times then have milliseconds and no more.
                let written = state.encode().unwrap();
                let again = State::parse(&written).unwrap();
                proptest::prop_assert_eq!(again.encode().unwrap(), written);
                proptest::prop_assert_eq!(again.descriptors(), state.descriptors());
                if let Ok(sound) = state.checked() {
                    for vm in &sound.vms {
                        proptest::prop_assert_eq!(vm.spec().validate(), Ok(()));
                    }
                }
            }
            Err(error) => proptest::prop_assert!(error.to_string().starts_with("state: ")),
        }
    }

    #[test]
    fn a_state_that_is_cut_anywhere_is_refused(at in 0..FIXTURE.trim_end().len()) {
        proptest::prop_assert!(State::parse(&FIXTURE.as_bytes()[..at]).is_err());
    }
}
