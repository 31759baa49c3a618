//! The side file: the number of the newest group that anybody was told about. SQLite drops whatever lies behind a bad
//! frame of its WAL without a word; a database that is behind this number has lost acknowledged groups.
//!
//! Never: synced after it was made. A power cut may leave an older number, which promises less, never more.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use cloudsync_protocol::Hash;

use super::folder::private;

/// Two slots, written in turn, in sectors of their own: one write torn leaves the other.
const SLOTS: [u64; 2] = [0, 512];
const SLOT_BYTES: usize = 16;
const FILE_BYTES: u64 = 1024;

#[derive(Debug)]
pub(super) struct SideFile(File);

/// What the side file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Promised {
    /// Groups up to this number were acknowledged.
    UpTo(u64),
    /// Not there.
    Missing,
    /// There, with nothing in it: a first start was cut short, or somebody emptied it.
    Blank,
    /// Neither slot is whole.
    Damaged,
}

impl SideFile {
    /// What it promises, without changing anything.
    pub(super) fn read(path: &Path) -> io::Result<Promised> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) if bytes.iter().all(|byte| *byte == 0) => return Ok(Promised::Blank),
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Promised::Missing),
            Err(error) => return Err(error),
        };
        let slots = SLOTS.iter().filter_map(|at| bytes.get(usize::try_from(*at).ok()?..)?.get(..SLOT_BYTES).and_then(number));
        Ok(slots.max().map_or(Promised::Damaged, Promised::UpTo))
    }

    /// Opens it for writing, made with `number` if nothing was promised yet.
    pub(super) fn open(path: &Path, number: u64) -> io::Result<Self> {
        match Self::read(path)? {
            Promised::UpTo(_) => Ok(Self(private(path)?)),
            Promised::Missing | Promised::Blank | Promised::Damaged => Self::make(path, number),
        }
    }

    /// Makes it whole and durable with `number` in both slots, whatever was there.
    pub(super) fn make(path: &Path, number: u64) -> io::Result<Self> {
        let side = Self(private(path)?);
        side.0.set_len(FILE_BYTES)?;
        SLOTS.iter().try_for_each(|at| side.0.write_all_at(&slot(number), *at))?;
        side.0.sync_all()?;
        Ok(side)
    }

    /// Promises everything up to `number`.
    pub(super) fn promise(&self, number: u64) -> io::Result<()> {
        let [even, odd] = SLOTS;
        self.0.write_all_at(&slot(number), if number.is_multiple_of(2) { even } else { odd })
    }
}

fn slot(number: u64) -> [u8; SLOT_BYTES] {
    let mut slot = [0; SLOT_BYTES];
    let (left, right) = slot.split_at_mut(8);
    left.copy_from_slice(&number.to_be_bytes());
    right.copy_from_slice(&Hash::of(&[b"cs1/groups", &number.to_be_bytes()]).short().0);
    slot
}

fn number(bytes: &[u8]) -> Option<u64> {
    let number = u64::from_be_bytes(bytes.get(..8)?.try_into().ok()?);
    (slot(number) == bytes).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn side_file_keeps_the_newest_number_and_survives_a_torn_slot() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("groups");
        assert_eq!(SideFile::read(&path).unwrap(), Promised::Missing);
        let side = SideFile::open(&path, 0).unwrap();
        for number in 1..=7 {
            side.promise(number).unwrap();
            assert_eq!(SideFile::read(&path).unwrap(), Promised::UpTo(number));
        }
        side.0.write_all_at(&[0xff; 9], 512).unwrap();
        assert_eq!(SideFile::read(&path).unwrap(), Promised::UpTo(6));
        side.0.write_all_at(&[0xff; 9], 0).unwrap();
        assert_eq!(SideFile::read(&path).unwrap(), Promised::Damaged);
    }
}
