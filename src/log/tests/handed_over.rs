//! What a predecessor has written of its log, damaged: a successor goes on, or refuses.

use super::*;
use crate::fuzz;
use crate::handover::state::VmState;
use proptest::prelude::*;

/// Of a log that holds bytes, has lost some, and copies itself.
const SAVED: [&str; 2] = [
    r#"{"path":"/x/app.log","max_bytes":1024,"max_age":{"secs":86400,"nanos":0},"keep":4,
        "copies":true,
        "check_interval":{"secs":5,"nanos":0},"file_mode":416,"size":700,
        "age_due":{"secs":90000,"nanos":0},"rotation":{"copied":{"bytes":600}},"begun_at":690,
        "held":"00ff00ff0a","gaps":[{"before":2,"loss":{"bytes":7,"cause":"write_failed",
        "from":"2026-11-24T12:34:56.789Z","until":"2026-11-24T12:34:56.789Z"}}],"base":300,
        "generation":3,"start":300,
        "events":"{\"time\":\"2026-11-24T12:34:56Z\",\"offset\":9,\"size\":9,\"event\":\"mark\"}\n",
        "events_broken":true,"hold_bytes":4096,"counters":{"written_bytes":9}}"#,
    r#"{"path":"/x/app.log","max_bytes":2048,"keep":0,"check_interval":{"secs":1,"nanos":5},
        "file_mode":384,"size":0,"rotation":{"away":{"by_us":true}},"held":"",
        "max_total_bytes":4096,"max_backup_age":{"secs":60,"nanos":0},"keep_boot_head":512,
        "drops_newest":true}"#,
];

proptest! {
    #[test]
    fn a_damaged_state_of_a_log_is_refused_or_gone_on_with(
        damaged in prop_oneof![
            fuzz::damaged_text(&SAVED),
            // One number alone is another: the text stays sound, as a rule.
            (prop::sample::select(SAVED.to_vec()), fuzz::number())
                .prop_map(|(text, number)| number.put_into(text)),
        ],
        there in 0..3000usize,
    ) {
        let Ok(saved) = serde_json::from_str::<SavedLog>(&damaged) else { return Ok(()) };
        let vm = VmState {
            id: "a".into(),
            serial: "/x/serial.sock".into(),
            log: saved,
            ..VmState::default()
        };
        if vm.check().is_err() {
            return Ok(());
        }
        let place = Place::in_memory(RotateMode::Rename);
        fs::write(&place.spec.path, vec![b'x'; there]).unwrap();
        let mut env = OsFiles::default();
        let log = place.open();
        let dir = env.open_dir(place.top.path(), None, 0o750).unwrap();
        let open = OpenLog { dir, file: log.file, copy: None };
        let Ok(mut log) = Log::take_over(&mut env, vm.log, open, 7, secs(9)) else { return Ok(()) };
        let before = log.offset();
        for bytes in [&b"line\n"[..], &[b'y'; 5000], b"\n"] {
            log.append(&mut env, bytes, usize::MAX, secs(9));
            let steps = (0..10_000).take_while(|_| log.step(&mut env, secs(9))).count();
            prop_assert!(steps < 10_000, "it never comes to an end");
        }
        log.lose(&mut env, 3, record::Cause::RateLimit, secs(9));
        prop_assert!(log.offset() >= before);
        if let Some(due) = log.deadline() {
            log.on_timer(&mut env, due.max(secs(9)));
        }
        log.close(&mut env, secs(10));
    }
}
