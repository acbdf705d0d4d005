//! Format 1 is frozen, and lenient.

use super::*;
use crate::config::RotateMode;
use crate::env::{Exit, FileId};
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
fn another_format_is_refused_by_its_number() {
    let error = State::parse(br#"{"format": 2, "vms": "of another kind"}"#).unwrap_err();
    assert_eq!(error.to_string(), "state: is of format 2; this program knows format 1");
    assert!(State::parse(b"{}").is_err() && State::parse(b"[1").is_err());
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes: [u8; 64], len in 0usize..=64) {
        let bytes = &bytes[..len];
        let _ = State::parse(bytes);
    }

    #[test]
    fn a_state_that_is_cut_anywhere_is_refused(at in 0..FIXTURE.trim_end().len()) {
        proptest::prop_assert!(State::parse(&FIXTURE.as_bytes()[..at]).is_err());
    }
}
