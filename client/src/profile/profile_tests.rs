//! What a profile is after each step, and after a crash in between.

use std::os::unix::fs::PermissionsExt as _;

use cloudsync_protocol::UserId;

use super::*;
use crate::keys::{AccountSecrets, DeviceKeys, KeyringPin};

const USER: UserId = UserId([5; 16]);

fn keys() -> KeyFile {
    KeyFile { secrets: AccountSecrets::first(USER), device: DeviceKeys::random(), keyring: KeyringPin::default() }
}

fn card() -> Card {
    let server = "quic://127.0.0.1:4433".to_owned();
    Card { server, pin: Some("sha256:00".into()), email: "ada@example.com".into(), user: USER, device: "laptop".into() }
}

fn pending() -> Pending {
    Pending { email: "ada@example.com".into(), user: USER, device: "laptop".into(), recovery_code: "ABCD".into() }
}

fn profile(home: &tempfile::TempDir) -> Profile {
    Profile::at(home.path().join("profiles/a"))
}

#[test]
fn a_profile_that_is_not_there_has_nobody_signed_in() {
    let home = tempfile::tempdir().unwrap();
    let profile = profile(&home);
    assert!(matches!(profile.state(), Ok(State::Fresh)));
    assert!(matches!(profile.signed_in(), Err(Error::NotSignedIn { .. })));
    assert!(!profile.folder().exists(), "looking makes nothing");
}

#[test]
fn every_file_is_the_owners_alone() {
    let home = tempfile::tempdir().unwrap();
    let profile = profile(&home);
    let _lock = profile.lock().unwrap();
    profile.write_pending(&pending(), &keys()).unwrap();
    profile.write_card(&card()).unwrap();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(profile.folder()), 0o700);
    for entry in std::fs::read_dir(profile.folder()).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

#[test]
fn a_registration_is_pending_until_somebody_is_signed_in() {
    let home = tempfile::tempdir().unwrap();
    let profile = profile(&home);
    let lock = profile.lock().unwrap();
    profile.write_keys(&keys()).unwrap();
    assert!(matches!(profile.state(), Ok(State::Unfinished(_))));
    profile.write_pending(&pending(), &keys()).unwrap();
    assert!(matches!(profile.state(), Ok(State::Pending(..))));
    assert!(matches!(profile.signed_in(), Err(Error::Pending { .. })));
    profile.write_card(&card()).unwrap();
    assert_eq!(profile.signed_in().unwrap().0, card());
    assert_eq!(profile.pending().unwrap(), Some(pending()), "its code is still to be shown");
    profile.remove_pending().unwrap();
    assert_eq!(profile.pending().unwrap(), None);
    profile.clear(&lock).unwrap();
    assert!(matches!(profile.state(), Ok(State::Fresh)));
}

#[test]
fn half_written_and_missing_files_are_damage_with_their_name_and_newer_ones_are_not() {
    let home = tempfile::tempdir().unwrap();
    let profile = profile(&home);
    let _lock = profile.lock().unwrap();
    let damaged = |name: &str| match profile.state() {
        Err(Error::Damaged { file, why }) => {
            assert_eq!(file, profile.folder().join(name));
            why
        }
        other => panic!("{other:?}"),
    };
    profile.write_card(&card()).unwrap();
    assert!(damaged(KEYS).contains("missing"));
    profile.write_keys(&keys()).unwrap();
    let whole = std::fs::read(profile.folder().join(CARD)).unwrap();
    for length in [0, 1, whole.len() / 2, whole.len() - 2] {
        std::fs::write(profile.folder().join(CARD), &whole[..length]).unwrap();
        damaged(CARD);
    }
    let newer = String::from_utf8(whole.clone()).unwrap().replacen("\"format\": 1", "\"format\": 9", 1);
    std::fs::write(profile.folder().join(CARD), newer).unwrap();
    assert!(matches!(profile.state(), Err(Error::FormatUnknown { found: 9, known: 1, .. })));
    std::fs::write(profile.folder().join(CARD), &whole).unwrap();
    std::fs::write(profile.folder().join(KEYS), b"{\"format\": 1, \"user\"").unwrap();
    damaged(KEYS);
    let other = KeyFile { secrets: AccountSecrets::first(UserId([6; 16])), device: DeviceKeys::random(), keyring: KeyringPin::default() };
    profile.write_keys(&other).unwrap();
    assert!(damaged(KEYS).contains("account"));
}

#[test]
fn files_that_others_may_read_are_closed_to_them() {
    let home = tempfile::tempdir().unwrap();
    let profile = profile(&home);
    let _lock = profile.lock().unwrap();
    profile.write_keys(&keys()).unwrap();
    profile.write_card(&card()).unwrap();
    assert_eq!(profile.make_private(), Vec::<&str>::new());
    let path = profile.folder().join(KEYS);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(profile.make_private(), [KEYS]);
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_file_in_its_place_is_no_profile() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("file");
    std::fs::write(&file, b"mine").unwrap();
    let profile = Profile::at(file.clone());
    assert_eq!(profile.state().unwrap_err(), Error::NotAFolder { folder: file.clone() });
    assert_eq!(profile.lock().unwrap_err(), Error::NotAFolder { folder: file });
    assert_eq!(profile.make_private(), Vec::<&str>::new());
}

#[test]
fn a_second_log_in_is_told_who_holds_the_profile() {
    let home = tempfile::tempdir().unwrap();
    let profile = profile(&home);
    let held = profile.lock().unwrap();
    assert!(matches!(profile.lock(), Err(Error::Locked { pid: Some(pid), .. }) if pid == std::process::id()));
    drop(held);
    profile.lock().unwrap();
}
