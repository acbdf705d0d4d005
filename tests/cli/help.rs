//! `--help`, `--version`, and what is not understood.

use crate::program::ended;

#[test]
fn help_says_what_each_subcommand_does_with_an_example() {
    let pages = [
        (&["run", "--help"][..], "Keep the serial logs", "seriald run --config"),
        (&["launch", "--help"], "Start VMs and keep their serial logs", "seriald launch a.json"),
        (&["snapshot", "--help"], "Cloud Hypervisor snapshot", "upgrade"),
        (&["snapshot", "show", "--help"], "serial section", "seriald snapshot show "),
        (&["snapshot", "upgrade", "--help"], "mode Socket", "seriald snapshot upgrade "),
        (&["snapshot", "fork", "--help"], "instance directory", "seriald snapshot fork "),
        (&["snapshot", "take", "--help"], "which runs on", "seriald snapshot take web-1"),
        (&["events", "--help"], "has happened to the VMs", "seriald events --vm web-1"),
        (&["shutdown", "--help"], "Shut down VMs", "seriald shutdown web-1"),
        (&["reboot", "--help"], "Reset the guests", "seriald reboot web-1"),
        (&["log", "--help"], "mode File left in logs", "repair"),
        (&["log", "check", "--help"], "runs of NUL bytes", "seriald log check "),
        (&["log", "repair", "--help"], "DO NOT repair a log that", "seriald log repair "),
        (&["ls", "--help"], "in charge", "seriald ls --control"),
        (&["top", "--help"], "Watch which VMs print", "seriald top --sort"),
        (&["logs", "--help"], "over all rotations", "seriald logs web-1 -f"),
        (&["attach", "--help"], "Type into a VM's console", "seriald attach web-1 --spy"),
        (&["completions", "--help"], "completes seriald's command line", "seriald completions zsh"),
        (&["rotate", "--help"], "Rotate the logs", "seriald rotate web-1"),
        (&["adopt", "--help"], "take charge of one more VM", "seriald adopt web-1 --dir"),
        (&["release", "--help"], "Let go of VMs", "seriald release web-1"),
        #[cfg(feature = "demo")]
        (&["demo", "--help"], "prove that no byte is missing", "seriald demo --vms"),
    ];
    for (args, purpose, example) in pages {
        let page = ended(args);
        assert_eq!((page.code, page.err.as_str()), (Some(0), ""), "{args:?}");
        assert!(page.out.contains(purpose) && page.out.contains(example), "{}", page.out);
        assert!(page.out.lines().all(|line| line.chars().count() <= 100), "{}", page.out);
    }
}

#[test]
fn the_first_page_lists_the_subcommands_but_not_the_simulator() {
    let page = ended(&["--help"]);
    for word in ["run", "launch", "snapshot", "Exit codes"] {
        assert!(page.out.contains(word), "{word}");
    }
    assert!(!page.out.contains("ch-sim"));
    let version = ended(&["--version"]);
    assert_eq!(version.out, format!("seriald {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn what_is_not_understood_is_exit_code_2_and_named() {
    ended(&["run", "--conifg", "x"]).has(2, "seriald: unexpected argument '--conifg'");
    ended(&["walk"]).has(2, "seriald: unrecognized subcommand 'walk'");
    ended(&["launch"]).has(2, "seriald: the following required arguments were not provided");
    ended(&["snapshot", "fork", "d", "--from", "/a"]).has(2, "--to <NEW>");
    ended(&["log", "check"]).has(2, "<FILE>...");
    ended(&["log", "repair", "a", "--min-run", "0"]).has(2, "'--min-run <N>': 0 is not in 1..");
    assert_eq!(ended(&[]).code, Some(2));
}

#[cfg(feature = "demo")]
#[test]
fn the_simulator_has_its_own_command_line() {
    let version = ended(&["ch-sim", "--version"]);
    assert_eq!(version.code, Some(0), "{version:?}");
    assert!(version.out.starts_with("cloud-hypervisor v"), "{version:?}");
}
