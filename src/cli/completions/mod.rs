//! `seriald completions`: the command line, completed by a shell.
//!
//! Owns what the scripts that clap makes don't know: the names of VMs.
//! **Invariant:** whatever takes a VM's name on the command line calls it `ID`, and is completed by
//! what `seriald ls --ids` says at that moment. Where no seriald answers, nothing is completed and
//! nothing is said.

use crate::cli::{Cli, Failure, say};
use clap::{Arg, Command, CommandFactory, ValueEnum};
use clap_complete::{Shell, generate};

/// Print a script that completes seriald's command line in a shell.
///
/// Names of VMs are those that a running seriald has in charge: it is asked by `seriald ls`, at
/// --control where that stands on the line, else at $SERIALD_CONTROL or /run/seriald/control.sock.
///
/// Examples:
///   seriald completions bash >/etc/bash_completion.d/seriald
///   seriald completions zsh >/usr/local/share/zsh/site-functions/_seriald
///   seriald completions fish >/etc/fish/completions/seriald.fish
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Which shell.
    #[arg(value_name = "SHELL")]
    shell: For,
}

/// A shell that there is a script for.
#[derive(Clone, Copy, ValueEnum)]
enum For {
    Bash,
    Zsh,
    Fish,
}

/// Names of VMs, for each shell.
const BASH: &str = include_str!("vms.bash");
const ZSH: &str = include_str!("vms.zsh");
const FISH: &str = include_str!("vms.fish");

/// Runs the subcommand.
pub fn completions(args: &Args) -> Result<(), Failure> {
    let mut command = Cli::command();
    let shell = match args.shell {
        For::Bash => Shell::Bash,
        For::Zsh => Shell::Zsh,
        For::Fish => Shell::Fish,
    };
    let mut script = Vec::new();
    generate(shell, &mut command, "seriald", &mut script);
    let script = String::from_utf8_lossy(&script);
    let takers = takers(&command);
    say(match args.shell {
        For::Bash => format!("{script}\n{}", filled(BASH, &takers.join("|"))),
        // Its first line has to stay the first: it says what the file is for.
        For::Zsh => with_zsh_names(&script),
        For::Fish => format!("{script}\n{}", filled(FISH, &takers.join(" "))),
    }
    .trim_end());
    Ok(())
}

/// The subcommands that take names of VMs.
fn takers(command: &Command) -> Vec<String> {
    let takes = |command: &&Command| command.get_positionals().any(is_vm);
    command.get_subcommands().filter(takes).map(|taker| taker.get_name().to_owned()).collect()
}

fn is_vm(arg: &Arg) -> bool {
    arg.get_value_names().is_some_and(|names| names.iter().any(|name| *name == "ID"))
}

fn filled(script: &str, takers: &str) -> String {
    script.replace("@TAKERS@", takers)
}

/// clap completes a name as it does any word that it knows nothing of: by the names of files.
fn with_zsh_names(script: &str) -> String {
    let is_name = |line: &str| {
        let arg = line.trim_start().trim_start_matches(['\'', '*', ':']);
        arg.starts_with("id -- ") || arg.starts_with("ids -- ") || line.contains(":ID:")
    };
    let named = script.lines().map(|line| match is_name(line) {
        true => line.replace(":_default'", ":_seriald_vms'"),
        false => line.to_owned(),
    });
    let mut lines: Vec<String> = named.collect();
    // Behind the line that says what the file is for.
    lines.insert(1.min(lines.len()), ZSH.to_owned());
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_takes_a_vms_name_is_known() {
        let takers = takers(&Cli::command());
        for taker in ["attach", "logs", "rotate", "release"] {
            assert!(takers.iter().any(|known| known == taker), "{taker} is not in {takers:?}");
        }
        // In zsh each argument has a line of its own.
        let mut script = Vec::new();
        generate(Shell::Zsh, &mut Cli::command(), "seriald", &mut script);
        let script = with_zsh_names(&String::from_utf8_lossy(&script));
        let named = script.lines().filter(|line| line.contains(":_seriald_vms' "));
        assert!(named.count() >= takers.len(), "{script}");
        for other in ["run", "ls", "top", "completions"] {
            assert!(!takers.iter().any(|known| known == other), "{other}");
        }
    }
}
