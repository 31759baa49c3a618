//! Profiles that are half-written, of a newer release, or of another account.

use serde_json::json;

use crate::support::Home;

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
        let newer = String::from_utf8(whole).unwrap().replacen("\"format\": 1", "\"format\": 7", 1);
        std::fs::write(&path, newer).unwrap();
        is_damage(&home, "format 7");
    }
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
    rusqlite::Connection::open(home.profile().join("replica.db")).unwrap().pragma_update(None, "user_version", 8).unwrap();
    is_damage(&home, "format 8");
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
    let profile = cloudsync_client::profile::Profile::at(home.profile());
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
