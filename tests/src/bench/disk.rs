//! The floor under every durable write: this disk's own `fdatasync`.
//!
//! Never: a file elsewhere than where the node's data is.

use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use super::stats::Percentiles;

const BLOCK_BYTES: usize = 4096;

/// Appends 4 KiB and syncs, `samples` times.
pub fn fdatasync(folder: &Path, samples: u32) -> anyhow::Result<Percentiles> {
    let path = folder.join("fdatasync");
    let mut file = std::fs::File::options().create(true).append(true).open(&path)?;
    let block = [0x5a; BLOCK_BYTES];
    let mut took: Vec<Duration> = Vec::new();
    for _ in 0..samples {
        let began = Instant::now();
        file.write_all(&block)?;
        file.sync_data()?;
        took.push(began.elapsed());
    }
    std::fs::remove_file(&path)?;
    Percentiles::of(took).ok_or_else(|| anyhow::anyhow!("no samples"))
}
