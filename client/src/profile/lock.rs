//! One register, log-in or log-out at a time on a profile.
//!
//! Never: waiting for those; who comes second is told who is first. The system gives a lock back when its holder dies.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::{Duration, Instant};

use super::{Error, files};

pub(super) const LOCK: &str = "lock";
/// A process that is stopped while it writes holds others up no longer than this.
const PATIENCE: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(5);

/// Waits a while for whoever holds that file; nothing when it is held all the while, or is none.
pub(super) fn wait(path: &Path) -> Option<File> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(false).mode(files::FILE_MODE).open(path).ok()?;
    let until = Instant::now() + PATIENCE;
    while file.try_lock().is_err() {
        if Instant::now() >= until {
            return None;
        }
        std::thread::sleep(POLL);
    }
    Some(file)
}

/// Held until dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    pub(super) fn take(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(LOCK);
        let unusable = |error: std::io::Error| Error::Unusable { doing: "lock", path: path.clone(), why: error.to_string() };
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false).mode(files::FILE_MODE);
        let mut file = options.open(&path).map_err(unusable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                let pid = file.read_to_string(&mut pid).ok().and_then(|_| pid.trim().parse().ok());
                return Err(Error::Locked { folder: folder.to_owned(), pid });
            }
            Err(TryLockError::Error(error)) => return Err(unusable(error)),
        }
        // Whoever held it before may have removed it with the folder: then it is a lock on nothing.
        let same = std::fs::metadata(&path).ok().zip(file.metadata().ok()).is_some_and(|(there, held)| there.ino() == held.ino());
        if !same {
            return Err(Error::Locked { folder: folder.to_owned(), pid: None });
        }
        file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(unusable)?;
        Ok(Self { _file: file })
    }
}
