//! Who writes: the process that holds SQLite's write lock notes its id in a small file, so that whoever waits in vain
//! can name it.
//!
//! Never: a decision by that file; it only says whom to look at.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use super::process::Process;

const PID_DIGITS: usize = 10;

/// The file with the last writer's process id.
#[derive(Debug)]
pub(super) struct WriterNote(Option<File>);

impl WriterNote {
    /// Beside the replica. Without it the writer just stays unnamed.
    pub(super) fn beside(replica: &Path) -> Self {
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false).mode(0o600);
        Self(options.open(replica.with_extension("writer")).ok())
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
    pub(super) fn holder(&self) -> String {
        let mut bytes = [0; PID_DIGITS];
        let read = self.0.as_ref().and_then(|file| file.read_exact_at(&mut bytes, 0).ok());
        let pid = read.and_then(|()| std::str::from_utf8(&bytes).ok()?.trim().parse().ok());
        pid.map_or_else(|| "another process".to_owned(), |pid| Process::look_up(pid).to_string())
    }
}
