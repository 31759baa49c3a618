//! Profiles that are half-written, of a newer release, or of another account.

use std::fs::Permissions;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use cloudsync_client::keys::{AccountSecrets, DeviceKeys, KeyFile, KeyringPin};
use cloudsync_client::profile::{Card, Pending, Profile};
use cloudsync_protocol::UserId;
use serde_json::json;

use crate::support::{Home, Ran, SERVER};

#[track_caller]
fn is_damage(home: &Home, file: &str) {
    for command in [vec!["list", "--offline", "--json"], vec!["put", "goal", "g1", "1", "--offline", "--json"], vec!["status", "--json"]] {
        let ran = home.run(&command);
        assert_eq!(ran.code, Some(6), "{command:?}: {}", ran.stderr);
        let error = ran.error();
        assert_eq!(error["exit_code"], json!(6));
        assert!(error["message"].as_str().unwrap().contains(file), "{error}");
        assert!(error["help"].as_str().is_some_and(|help| !help.is_empty()), "it says what to do: {error}");
    }
}

#[test]
fn half_written_files_are_damage_and_named() {
    for file in ["profile.json", "keys.json"] {
        let home = Home::signed_in();
        let path = home.profile().join(file);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        is_damage(&home, file);
        std::fs::write(&path, b"").unwrap();
        is_damage(&home, file);
        let mut newer: serde_json::Value = serde_json::from_slice(&whole).unwrap();
        newer["format"] = json!(7);
        std::fs::write(&path, newer.to_string()).unwrap();
        is_damage(&home, "format 7");
        is_of_a_newer_release(&home, "profile_format");
    }
}

/// It is not damage: nothing is to be thrown away.
#[track_caller]
fn is_of_a_newer_release(home: &Home, code: &str) {
    let error = home.run(&["list", "--offline", "--json"]).error();
    assert_eq!(error["code"], json!(code));
    let help = error["help"].as_str().unwrap();
    assert!(help.contains("update cloudsync") && !help.contains("discard"), "{help}");
}

#[test]
fn a_file_in_the_profiles_place_is_damage_and_left_alone() {
    let home = Home::empty();
    std::fs::create_dir(home.path().join("profiles")).unwrap();
    std::fs::write(home.profile(), b"mine").unwrap();
    is_damage(&home, "profiles/a");
    assert_eq!(std::fs::read(home.profile()).unwrap(), b"mine");
}

#[test]
fn a_replica_of_another_account_is_damage() {
    let home = Home::signed_in();
    let profile = Profile::at(home.profile());
    let user = UserId([8; 16]);
    profile
        .write_keys(&KeyFile { secrets: AccountSecrets::first(user), device: DeviceKeys::random(), keyring: KeyringPin::default() })
        .unwrap();
    let (server, email) = ("ws://127.0.0.1:1".to_owned(), "bob@example.com".to_owned());
    profile.write_card(&Card { server, pin: None, email, user, device: "laptop".into() }).unwrap();
    is_damage(&home, "replica");
}

#[test]
fn files_that_others_may_read_are_closed_to_them_and_that_is_said_once() {
    let home = Home::signed_in();
    for name in ["keys.json", "replica.db"] {
        std::fs::set_permissions(home.profile().join(name), Permissions::from_mode(0o644)).unwrap();
    }
    let said = home.run(&["list", "--offline"]).done().stderr;
    assert!(said.contains("keys.json") && said.contains("replica.db"), "{said}");
    for name in ["keys.json", "replica.db"] {
        assert_eq!(home.profile().join(name).metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
    assert!(!home.run(&["list", "--offline"]).done().stderr.contains("keys.json"));
}

#[test]
fn a_missing_key_file_or_replica_is_damage() {
    let home = Home::signed_in();
    std::fs::remove_file(home.profile().join("keys.json")).unwrap();
    is_damage(&home, "keys.json");
    let home = Home::signed_in();
    std::fs::remove_file(home.profile().join("replica.db")).unwrap();
    is_damage(&home, "replica.db");
    assert!(!home.profile().join("replica.db").exists(), "an empty one in its place would hide the loss");
}

#[test]
fn a_replica_that_is_none_and_one_of_a_newer_release_are_damage() {
    let home = Home::signed_in();
    let replica = home.profile().join("replica.db");
    for beside in ["replica.db-wal", "replica.db-shm"] {
        drop(std::fs::remove_file(home.profile().join(beside)));
    }
    std::fs::write(&replica, vec![9; 16 * 1024]).unwrap();
    is_damage(&home, "replica.db");
    let home = Home::signed_in();
    rusqlite::Connection::open(home.profile().join("replica.db")).unwrap().pragma_update(None, "user_version", 9).unwrap();
    is_damage(&home, "format 9");
    is_of_a_newer_release(&home, "replica_format");
}

#[test]
fn a_replica_of_an_older_release_is_refused_left_alone_and_given_up_only_when_that_is_said() {
    let home = Home::signed_in();
    rusqlite::Connection::open(home.profile().join("replica.db")).unwrap().pragma_update(None, "user_version", 1).unwrap();
    is_damage(&home, "format 1");
    let error = home.run(&["list", "--offline", "--json"]).error();
    assert_eq!(error["code"], json!("replica_outdated"));
    let help = error["help"].as_str().unwrap();
    assert!(help.contains("`cloudsync --profile a sync` of that release") && help.contains("--discard"), "{help}");
    assert_eq!(home.run(&["logout", "--offline", "--json"]).error()["code"], json!("replica_outdated"));
    home.run(&["logout", "--offline", "--discard"]).done();
    assert_eq!(home.run(&["list", "--offline"]).code, Some(7));
}

#[test]
fn a_put_on_a_damaged_replica_is_damage_and_no_conflict() {
    let home = Home::signed_in();
    home.run(&["put", "goal", "g1", "1", "--offline"]).done();
    rusqlite::Connection::open(home.profile().join("replica.db")).unwrap().execute("UPDATE edits SET content = 7", []).unwrap();
    for command in [["put", "goal", "g1", "2"].as_slice(), &["put", "goal", "g1", "2", "--onto", "current"], &["delete", "goal", "g1"]] {
        let ran = home.run(&[command, &["--offline", "--json"]].concat());
        let error = ran.error();
        assert_eq!((ran.code, &error["code"]), (Some(6), &json!("replica_damaged")), "{command:?}: {error}");
        assert_eq!(ran.json()[0]["conflict"], json!(null), "{command:?}");
        assert_eq!(ran.json()[0]["error"], error, "{command:?}: the same on both streams");
        let help = error["help"].as_str().unwrap();
        assert_eq!(help.matches("--profile").count(), help.matches("`cloudsync ").count(), "{help}");
    }
}

#[test]
fn keys_of_another_account_are_not_used() {
    let (home, other) = (Home::signed_in(), Home::signed_in());
    let keys = std::fs::read_to_string(other.profile().join("keys.json")).unwrap();
    // The same account by its id, another device by its keys: a log-in that did not end.
    std::fs::write(home.profile().join("keys.json"), keys).unwrap();
    let ran = home.run(&["list", "--offline", "--json"]);
    assert_eq!((ran.code, &ran.error()["code"]), (Some(7), &json!("login_unfinished")));
}

#[test]
fn damage_can_be_thrown_away_when_that_is_said() {
    let home = Home::signed_in();
    std::fs::write(home.profile().join("keys.json"), b"{").unwrap();
    assert_eq!(home.run(&["logout", "--offline"]).code, Some(6));
    home.run(&["logout", "--offline", "--discard"]).done();
    assert_eq!(home.run(&["list", "--offline"]).code, Some(7));
}

#[test]
fn a_profile_that_another_process_signs_in_on_is_refused() {
    let home = Home::signed_in();
    let profile = Profile::at(home.profile());
    // A child that another test is just starting may hold the lock that `signed_in` gave back, until it is started.
    let _held = loop {
        match profile.lock() {
            Err(cloudsync_client::profile::Error::Locked { .. }) => std::thread::yield_now(),
            held => break held.unwrap(),
        }
    };
    let ran = home.run(&["logout", "--offline", "--json"]);
    assert_eq!((ran.code, &ran.error()["code"]), (Some(4), &json!("profile_locked")));
    assert!(ran.error()["message"].as_str().unwrap().contains(&std::process::id().to_string()));
    home.run(&["list", "--offline"]).done();
}

#[test]
fn registering_beside_a_registration_of_another_address_that_did_not_end_names_that_one() {
    let home = Home::empty();
    let profile = Profile::at(home.profile());
    let keys = KeyFile { secrets: AccountSecrets::first(UserId([7; 16])), device: DeviceKeys::random(), keyring: KeyringPin::default() };
    {
        let _lock = profile.lock().unwrap();
        let (email, user) = ("ada@example.com".into(), keys.secrets.user);
        profile.write_pending(&Pending { email, user, device: "laptop".into(), recovery_code: "code".into() }, &keys).unwrap();
    }
    let asked = ["register", "--server", SERVER, "--email", "eve@example.com", "--device", "laptop", "--password-stdin", "--json"];
    let mut registering = home.command(&asked).stdin(Stdio::piped()).spawn().unwrap();
    // It may have refused before it reads.
    drop(registering.stdin.take().unwrap().write_all(b"correct horse battery staple\n"));
    let refused = Ran::from(registering.wait_with_output().unwrap());
    let error = refused.error();
    assert_eq!((refused.code, &error["code"]), (Some(7), &json!("registration_pending")), "{error}");
    let says = |field: &str, what: &str| error[field].as_str().is_some_and(|text| text.contains(what));
    assert!(says("message", "ada@example.com") && says("help", "login --email ada@example.com"), "{error}");
    assert!(says("help", "logout --discard"), "it says how to give that one up: {error}");
    assert_eq!(profile.pending().unwrap().unwrap().email, "ada@example.com", "it is kept");
}
