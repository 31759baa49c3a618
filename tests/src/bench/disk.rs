//! The floor under every durable write: this disk's own `fdatasync`.
//!
//! Never: a file elsewhere than where the node's data is.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;

const BLOCK_BYTES: usize = 4096;

/// A file that grows.
#[derive(Debug)]
pub struct Fdatasync {
    file: File,
}

impl Fdatasync {
    /// In that folder.
    pub fn new(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join("fdatasync");
        let file = File::options().create(true).append(true).open(&path).with_context(|| path.display().to_string())?;
        Ok(Self { file })
    }

    /// Appends 4 KiB and syncs, once.
    pub fn one(&mut self) -> anyhow::Result<Duration> {
        let began = Instant::now();
        self.file.write_all(&[0x5a; BLOCK_BYTES])?;
        self.file.sync_data()?;
        Ok(began.elapsed())
    }
}
