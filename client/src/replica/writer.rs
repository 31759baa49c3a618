//! Who writes: the process that holds a lock notes its id in a small file, so that whoever waits in vain can name it.
//!
//! Never: a decision about data by that file; it only says whom to look at.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use super::process::Process;

const PID_DIGITS: usize = 10;

/// A file with a process id.
#[derive(Debug)]
pub(super) struct Note(Option<File>);

impl Note {
    /// In that file. Where it can't be opened, the holder just stays unnamed.
    pub(super) fn at(path: &Path) -> Self {
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false).mode(0o600);
        Self(options.open(path).ok())
    }

    /// The file, if it could be opened.
    pub(super) const fn file(&self) -> Option<&File> {
        self.0.as_ref()
    }

    /// This process holds the lock now.
    pub(super) fn sign(&self) {
        if let Some(file) = &self.0 {
            let pid = format!("{:>PID_DIGITS$}", std::process::id());
            // Not worth failing for.
            drop(file.write_all_at(pid.as_bytes(), 0));
        }
    }

    /// Who held it last.
    pub(super) fn holder(&self) -> Option<Process> {
        let mut bytes = [0; PID_DIGITS];
        self.0.as_ref()?.read_exact_at(&mut bytes, 0).ok()?;
        let pid = std::str::from_utf8(&bytes).ok()?.trim().parse().ok()?;
        Some(Process::look_up(pid))
    }
}
