//! Running other programs: shown before they run, an error with their name when they fail.
//!
//! Never: a shell that interprets arguments.

use std::ffi::OsStr;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

/// `cargo` as it called us, in the workspace's root.
pub(crate) fn cargo<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(crate::workspace::root());
    command
}

/// As one would type it.
pub(crate) fn shown(command: &Command) -> String {
    let name = std::path::Path::new(command.get_program()).file_name().unwrap_or_default();
    let words = std::iter::once(name).chain(command.get_args()).map(|word| word.to_string_lossy());
    let settings =
        command.get_envs().filter_map(|(name, value)| Some(format!("{}={} ", name.display(), quoted(&value?.to_string_lossy()))));
    settings.chain(std::iter::once(words.map(|word| quoted(&word)).collect::<Vec<_>>().join(" "))).collect()
}

fn quoted(word: &str) -> String {
    if word.contains([' ', '"', '{']) { format!("'{word}'") } else { word.to_owned() }
}

/// Runs it with our own input and output.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let shown = shown(command);
    println!("$ {shown}");
    let status = command.status().with_context(|| format!("can't run {shown}"))?;
    if !status.success() {
        bail!("{shown}: {status}");
    }
    Ok(())
}

/// Runs it and gives what it wrote to its standard output.
pub(crate) fn output(command: &mut Command) -> anyhow::Result<String> {
    let shown = shown(command);
    let output = command.stderr(Stdio::inherit()).output().with_context(|| format!("can't run {shown}"))?;
    if !output.status.success() {
        bail!("{shown}: {}", output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("{shown} wrote no UTF-8"))
}

/// Asks a process to end.
pub(crate) fn terminate(process: u32) -> anyhow::Result<()> {
    let status = Command::new("/bin/sh").args(["-c", "kill -TERM \"$1\"", "sh", &process.to_string()]).status()?;
    if status.success() { Ok(()) } else { bail!("can't send SIGTERM to {process}") }
}
