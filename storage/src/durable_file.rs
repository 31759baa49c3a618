//! Small files of a data folder that must be there whole or not at all: format, secrets, certificate.
//!
//! Never: a moment in which others than the owner may read one, or a name that stands before its bytes are durable.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Writes `bytes` to `folder/name` with mode 0600, also for after a power cut. A file of that name is replaced; what a crash
/// left half-made (`name.tmp`) as well.
///
/// # Errors
/// As the file system has them; the file is then as it was, or already whole.
pub fn write(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let half_made = folder.join(format!("{name}.tmp"));
    match fs::remove_file(&half_made) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&half_made)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&half_made, folder.join(name))?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_is_its_owners_alone_whatever_a_crash_left_behind() {
        let folder = tempfile::tempdir().unwrap();
        let (path, half_made) = (folder.path().join("secret"), folder.path().join("secret.tmp"));
        fs::write(&half_made, "a longer text of before").unwrap();
        fs::set_permissions(&half_made, fs::Permissions::from_mode(0o666)).unwrap();
        write(folder.path(), "secret", b"text").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"text");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing half-made is left");
    }
}
