//! The serial path: when it appears, what is left of it.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;

use serde_json::json;

use crate::support::*;

const IN_USE: &str = "Error from API: The VM could not be created: Error creating console \
    devices: Error creating console device: Address already in use (os error 98)";

#[test]
fn the_path_appears_in_vm_create_with_mode_srwx() {
    for program in Program::all() {
        let vmm = Vmm::start(program);
        assert!(!vmm.has("serial"));
        vmm.create("lines=1 echo=1");
        let mode = fs::metadata(vmm.path("serial"))
            .expect("a path")
            .permissions()
            .mode();
        assert_eq!(mode, 0o140_700, "{program:?}");
    }
}

#[test]
fn a_client_from_before_the_boot_gets_everything_from_the_first_byte() {
    for program in Program::all() {
        let mut vmm = Vmm::start(program);
        let mut serial = vmm.boot("lines=4");
        // So short that it fits into the socket: v53 drops the tail of a reader that lags.
        assert_eq!(read_to_end(&mut serial), whole("lines=4"), "{program:?}");
        assert!(vmm.exit().success());
    }
}

#[test]
fn power_off_removes_both_paths_and_exits_0() {
    for program in Program::all() {
        let mut vmm = Vmm::start(program);
        let mut serial = vmm.boot("lines=1");
        read_to_end(&mut serial);
        assert!(vmm.exit().success());
        assert!(!vmm.has("serial") && !vmm.has("api"), "{program:?}");
        assert_eq!(vmm.has("api.lock"), program != Program::V52);
    }
}

#[test]
fn sigterm_and_vmm_shutdown_remove_the_path_of_a_vm_that_booted() {
    for program in Program::all() {
        let mut vmm = Vmm::start(program);
        let mut serial = vmm.boot("lines=1 echo=1");
        read_until(&mut serial, "DONE\n");
        vmm.signal("TERM");
        assert!(vmm.exit().success());
        assert_eq!(read_to_end(&mut serial), b"");
        assert!(!vmm.has("serial") && !vmm.has("api"));

        let mut vmm = Vmm::start(program);
        let mut serial = vmm.boot("lines=1 echo=1");
        read_until(&mut serial, "DONE\n");
        let answer = vmm.put("vmm.shutdown");
        assert_eq!(answer.status(), 200);
        assert!(answer.head.contains("Content-Length: 0\r\n"));
        assert!(vmm.exit().success());
        assert!(!vmm.has("serial") && !vmm.has("api"));
    }
}

#[test]
fn a_vm_that_never_booted_leaves_its_path() {
    for program in Program::all() {
        let mut vmm = Vmm::start(program);
        vmm.create("lines=1");
        let mut waiting = vmm.serial();
        vmm.signal("TERM");
        assert!(vmm.exit().success());
        assert!(vmm.has("serial") && !vmm.has("api"), "{program:?}");
        // It was never accepted: no EOF, but ECONNRESET.
        let error = waiting.read(&mut [0]).expect_err("reset");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
}

#[test]
fn sigkill_leaves_both_paths() {
    for program in Program::all() {
        let mut vmm = Vmm::start(program);
        let mut serial = vmm.boot("lines=1 echo=1");
        read_until(&mut serial, "DONE\n");
        vmm.signal("KILL");
        vmm.exit();
        assert!(vmm.has("serial") && vmm.has("api"));
        assert_eq!(read_to_end(&mut serial), b"");
    }
}

#[test]
fn with_no_shutdown_the_vmm_stays_and_the_vm_is_created() {
    for program in Program::all() {
        let vmm = Vmm::start_with(program, &["--no-shutdown"]);
        let mut serial = vmm.boot("lines=1");
        read_to_end(&mut serial);
        wait_until("the path's end", || !vmm.has("serial"));
        assert_eq!(vmm.state(), "Created");
    }
}

#[test]
fn vm_shutdown_and_vm_delete_remove_the_path_and_boot_binds_anew() {
    for program in Program::all() {
        let vmm = Vmm::start(program);
        let mut serial = vmm.boot("lines=1 echo=1");
        read_until(&mut serial, "DONE\n");
        vmm.done("vm.shutdown");
        assert!(!vmm.has("serial"));
        assert_eq!(read_to_end(&mut serial), b"");
        assert_eq!(vmm.state(), "Created");
        vmm.done("vm.boot");
        assert!(vmm.has("serial"));
        assert_eq!(vmm.state(), "Running");
        vmm.done("vm.delete");
        assert!(!vmm.has("serial"));
    }
}

#[test]
fn create_and_delete_without_a_boot_leave_a_listener_that_nobody_serves() {
    for program in Program::all() {
        let vmm = Vmm::start(program);
        vmm.create("lines=1");
        vmm.done("vm.delete");
        assert!(vmm.has("serial"));
        let mut waiting = vmm.serial();
        assert_eq!(
            vmm.put_json("vm.create", &vmm.config("lines=1")).words(),
            IN_USE
        );
        vmm.done("vm.delete");
        fs::remove_file(vmm.path("serial")).expect("removed");
        vmm.create("lines=1 echo=1");
        let error = waiting.read(&mut [0]).expect_err("reset");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        let mut serial = vmm.serial();
        vmm.done("vm.boot");
        read_until(&mut serial, "DONE\n");
    }
}

#[test]
fn an_existing_path_is_refused_but_the_configuration_is_kept() {
    for program in Program::all() {
        let vmm = Vmm::start(program);
        drop(UnixListener::bind(vmm.path("serial")).expect("bound"));
        let config = vmm.config("lines=1 echo=1");
        let answer = vmm.put_json("vm.create", &config);
        assert_eq!((answer.status(), answer.words().as_str()), (500, IN_USE));
        assert!(
            vmm.put_json("vm.create", &config)
                .words()
                .ends_with("VM is already created")
        );
        assert_eq!(vmm.state(), "Created");
        assert!(vmm.has("serial"), "CH never unlinks a stale path");
        fs::remove_file(vmm.path("serial")).expect("removed");
        vmm.done("vm.boot");
        let mut serial = vmm.serial();
        serial.set_nonblocking(false).expect("set");
        // v52 drops what is printed without a client.
        if program != Program::V52 {
            read_until(&mut serial, "DONE\n");
        }
    }
}

#[test]
fn bad_paths_and_a_console_socket_are_refused_in_words() {
    for program in Program::all() {
        let vmm = Vmm::start(program);
        let refused = |key: &str, console: serde_json::Value| -> String {
            let mut config = vmm.config("lines=1");
            config[key] = console;
            let answer = vmm.put_json("vm.create", &config);
            assert_eq!(answer.status(), 500);
            vmm.done("vm.delete");
            answer.words()
        };
        let words = refused(
            "serial",
            json!({"mode": "Socket", "socket": vmm.path("no/p")}),
        );
        assert!(
            words.ends_with("No such file or directory (os error 2)"),
            "{words}"
        );
        let words = refused(
            "serial",
            json!({"mode": "Socket", "socket": vmm.path(&"p".repeat(120))}),
        );
        assert!(
            words.ends_with("path must be shorter than SUN_LEN"),
            "{words}"
        );
        let words = refused(
            "console",
            json!({"mode": "Socket", "socket": vmm.path("c")}),
        );
        assert!(
            words.ends_with("No socket option support for console device"),
            "{words}"
        );
    }
}

#[test]
fn mode_socket_without_a_socket_panics_the_vmm() {
    for program in Program::all() {
        let vmm = Vmm::start(program);
        let mut config = vmm.config("lines=1");
        config["serial"] = json!({"mode": "Socket"});
        let answer = vmm.put_json("vm.create", &config);
        assert_eq!(answer.status(), 500);
        assert!(answer.words().ends_with("receiving on a closed channel"));
        wait_until("the API's end", || {
            std::os::unix::net::UnixStream::connect(vmm.path("api")).is_err()
        });
    }
}

#[test]
fn removing_the_path_hurts_no_client_and_a_reboot_binds_it_again() {
    for program in Program::all() {
        let vmm = Vmm::start(program);
        let mut serial = vmm.boot("lines=1 echo=1");
        read_until(&mut serial, "DONE\n");
        fs::remove_file(vmm.path("serial")).expect("removed");
        std::io::Write::write_all(&mut serial, b"x").expect("written");
        assert_eq!(read_bytes(&mut serial, 1), b"x");
        vmm.done("vm.reboot");
        assert!(vmm.has("serial"));
        assert_eq!(read_to_end(&mut serial), b"");
    }
}

#[test]
fn a_stale_api_path_is_replaced_in_v53_only() {
    let mut vmm = Vmm::start(Program::V53);
    let second = sim("v53")
        .args(["--api-socket"])
        .arg(vmm.path("api"))
        .output()
        .expect("run");
    assert_eq!(second.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&second.stderr).contains("in use by another running instance"));
    vmm.signal("KILL");
    vmm.exit();
    let second = sim("v52")
        .args(["--api-socket"])
        .arg(vmm.path("api"))
        .output()
        .expect("run");
    assert_eq!(second.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&second.stderr).contains("Address already in use"));
    let mut third = sim("v53")
        .args(["--api-socket"])
        .arg(vmm.path("api"))
        .spawn()
        .expect("run");
    wait_until("the API", || {
        std::os::unix::net::UnixStream::connect(vmm.path("api")).is_ok()
    });
    third.kill().expect("killed");
    third.wait().expect("reaped");
}
