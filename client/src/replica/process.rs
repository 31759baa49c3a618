//! What the system says of another process of this machine.
//!
//! Never: a signal sent to it.

use std::fmt;

/// A process, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: u32,
    pub(super) command: String,
    pub(super) state: State,
}

/// What it is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Running, or waiting for something.
    Alive,
    /// Stopped by a signal: Ctrl-Z, or a debugger.
    Stopped,
    /// Not there any more.
    Gone,
    /// The system does not say.
    Unknown,
}

impl Process {
    /// Looks at `/proc`.
    pub(super) fn look_up(pid: u32) -> Self {
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let command = command.split(|byte| *byte == 0).filter(|part| !part.is_empty());
        let command: Vec<_> = command.map(|part| String::from_utf8_lossy(part).into_owned()).collect();
        Self { pid, command: command.join(" "), state: state(pid) }
    }
}

/// The letter after the command in `/proc/PID/stat` (proc(5)).
fn state(pid: u32) -> State {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => match stat.rsplit_once(')').and_then(|(_, rest)| rest.trim_start().chars().next()) {
            Some('T' | 't') => State::Stopped,
            Some('Z' | 'X' | 'x') => State::Gone,
            Some(_) => State::Alive,
            None => State::Unknown,
        },
        Err(_) if std::path::Path::new("/proc/self/stat").exists() => State::Gone,
        Err(_) => State::Unknown,
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pid, command, state } = self;
        write!(f, "process {pid}")?;
        if !command.is_empty() {
            write!(f, " ({command})")?;
        }
        match state {
            State::Stopped => write!(f, ", which is stopped: continue it with `fg` in its terminal or `kill -CONT {pid}`"),
            State::Alive => f.write_str(", which is still running"),
            State::Gone => f.write_str(", which is gone: try again"),
            State::Unknown => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive_and_one_that_ended_is_gone() {
        let me = Process::look_up(std::process::id());
        assert_eq!(me.state, State::Alive);
        assert!(me.to_string().contains(&std::process::id().to_string()));
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        assert_eq!(Process::look_up(child.id()).state, State::Gone);
    }
}
