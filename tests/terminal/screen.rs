//! A terminal with a shell in it, that can be typed into and looked at.
//!
//! **Invariant:** a tmux server of the test's own, gone with the test.

use crate::family::output;
use crate::program::{DEADLINE, wait_until};
use crate::skip;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// Shows how a terminal is set, but for its size.
pub const LOOK: &str = "stty -a | sed 's/rows.*columns [0-9]*;//'";

/// A terminal.
pub struct Screen {
    dir: TempDir,
    tmux: PathBuf,
}

impl Screen {
    /// With bash in it, if there is tmux.
    pub fn bash() -> Option<Screen> {
        let bash = skip::program("bash")?;
        let command = format!("PS1='$ ' exec {} --norc --noprofile", bash.display());
        Screen::start(&command)
    }

    /// With this command in it.
    pub fn start(command: &str) -> Option<Screen> {
        let tmux = skip::program("tmux")?;
        let screen = Screen { dir: tempfile::tempdir().expect("a directory"), tmux };
        let bin = Path::new(env!("CARGO_BIN_EXE_seriald")).parent().expect("a directory");
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
        let mut new = screen.command(&["new-session", "-d", "-x", "100", "-y", "30", command]);
        new.env("PATH", path).env("HOME", screen.dir.path()).current_dir(screen.dir.path());
        new.env("LC_ALL", "C.UTF-8").env_remove("TMUX");
        let started = output(&mut new, DEADLINE);
        assert!(started.status.success(), "{started:?}");
        Some(screen)
    }

    /// The shell's directory.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.tmux);
        // tmux itself has to speak UTF-8, whatever the tests' own locale is.
        command.args(["-u", "-f", "/dev/null", "-S"]).arg(self.dir.path().join("tmux")).args(args);
        command
    }

    fn tell(&self, args: &[&str]) -> Output {
        let told = output(&mut self.command(args), DEADLINE);
        assert!(told.status.success(), "{args:?}: {told:?}");
        told
    }

    /// Types this text.
    pub fn type_text(&self, text: &str) {
        self.tell(&["send-keys", "-l", "--", text]);
    }

    /// Presses a key by its name, `Enter` or `C-c`.
    pub fn press(&self, key: &str) {
        self.tell(&["send-keys", "--", key]);
    }

    /// Types a command line.
    pub fn run(&self, line: &str) {
        self.type_text(line);
        self.press("Enter");
    }

    /// What stands on the screen.
    pub fn text(&self) -> String {
        String::from_utf8(self.tell(&["capture-pane", "-p"]).stdout).expect("UTF-8")
    }

    /// One of tmux's variables.
    pub fn variable(&self, name: &str) -> String {
        let told = self.tell(&["display-message", "-p", &format!("#{{{name}}}")]);
        String::from_utf8(told.stdout).expect("UTF-8").trim_end().to_owned()
    }

    /// Makes it as large as this.
    pub fn resize(&self, columns: usize, lines: usize) {
        let (columns, lines) = (columns.to_string(), lines.to_string());
        self.tell(&["resize-window", "-x", &columns, "-y", &lines]);
    }

    /// Waits until it looks so.
    #[track_caller]
    pub fn wait_for(&self, what: &str, looks: impl Fn(&str) -> bool) {
        let mut seen = String::new();
        let all = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait_until(what, || {
                seen = self.text();
                looks(&seen)
            });
        }));
        assert!(all.is_ok(), "not on the screen: {what}\n{seen}");
    }

    /// Waits until this text stands on it.
    #[track_caller]
    pub fn wait_for_text(&self, text: &str) {
        self.wait_for(text, |seen| seen.contains(text));
    }

    /// Runs a command line between two looks at how the terminal is set, and with its exit code
    /// shown at the end as `code=0.`.
    pub fn run_between_looks(&self, line: &str) {
        self.run(&format!("{LOOK} >before; {line}; echo code=$?.; {LOOK} >after"));
    }

    /// Waits for the end of that, with this code; the terminal is set as it was.
    #[track_caller]
    pub fn assert_ended(&self, code: i32) {
        self.wait_for_text(&format!("code={code}."));
        let read = |name: &str| fs::read_to_string(self.path().join(name)).unwrap_or_default();
        wait_until("the shell is back", || read("after").contains("echo"));
        assert_eq!(read("after"), read("before"));
        for (variable, value) in
            [("cursor_flag", "1"), ("alternate_on", "0"), ("mouse_any_flag", "0")]
        {
            assert_eq!(self.variable(variable), value, "{variable}\n{}", self.text());
        }
        // What is typed goes to the shell, and is seen.
        self.run("echo $((6 * 7))th");
        self.wait_for_text("42th");
    }

    /// The pid of a process that runs in it, by its command's name.
    pub fn pid_of(&self, name: &str) -> u32 {
        let shell = self.variable("pane_pid");
        let mut pid = None;
        wait_until("the process", || {
            let path = format!("/proc/{shell}/task/{shell}/children");
            let children = fs::read_to_string(path).unwrap_or_default();
            pid = children.split_whitespace().filter_map(|pid| pid.parse().ok()).find(|pid| {
                let comm = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
                comm.trim_end() == name
            });
            pid.is_some()
        });
        pid.expect("a process")
    }

    /// Sends a signal to seriald.
    pub fn signal(&self, name: &str) {
        let pid = self.pid_of("seriald").to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status().expect("kill runs");
        assert!(sent.success());
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.command(&["kill-server"]).output();
    }
}
