//! A log of what a command does, in a file, where one is asked for.
//!
//! Never: a value, a password, a key or a token in it, or a line of other crates: those might tell one.

use std::fs::{OpenOptions, Permissions};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Mutex;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::failure::Failure;

const MODE: u32 = 0o600;
/// The command line's and the library's lines.
const OURS: &str = "cloudsync";

/// Appends to the file from now on; others can read it no longer.
pub(crate) fn start(path: &Path) -> Result<(), Failure> {
    let unfit = |error: std::io::Error| Failure::usage(format!("can't write the log file {}: {error}", path.display()));
    let file = OpenOptions::new().append(true).create(true).mode(MODE).open(path).map_err(unfit)?;
    let is_file = file.metadata().map_err(unfit)?.is_file();
    if is_file {
        file.set_permissions(Permissions::from_mode(MODE)).map_err(unfit)?;
    }
    let lines = tracing_subscriber::fmt::layer().with_writer(Mutex::new(file)).with_ansi(false);
    let ours = Targets::new().with_target(OURS, LevelFilter::DEBUG);
    // Where something logs already, that goes on.
    drop(tracing_subscriber::registry().with(ours).with(lines).try_init());
    Ok(())
}
