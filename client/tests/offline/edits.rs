//! Edits, listings, log-out, usage.

use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::Home;

#[test]
fn an_edit_made_offline_is_queued_and_shown_as_pending() {
    let home = Home::signed_in();
    let put = home.run(&["put", "timer_session", "s1", "{ \"minutes\": 25.50 }", "--offline", "--json"]).done();
    let record =
        json!({"collection": "timer_session", "id": "s1", "version": 0, "deleted": false, "value": {"minutes": 25.50}, "pending": true});
    let mut object = record.clone();
    object["acknowledged"] = json!(false);
    assert_eq!(put.json(), [object]);
    assert!(put.stdout.contains(r#""value":{"minutes":25.50}"#), "numbers keep their digits: {}", put.stdout);
    assert_eq!(home.run(&["get", "timer_session", "s1", "--offline", "--json"]).done().json(), std::slice::from_ref(&record));
    assert_eq!(home.run(&["list", "timer_session", "--offline", "--json"]).done().json(), [record]);
    assert_eq!(home.run(&["list", "other", "--offline", "--json"]).done().stdout, "");
    let status = home.status();
    assert_eq!((&status["pending"], &status["conflicts"], &status["online"]), (&json!(1), &json!(0), &json!(null)));
    assert_eq!(home.run(&["conflicts", "--json"]).done().stdout, "");
}

#[test]
fn without_json_and_a_terminal_fields_have_tabs_between_them_and_talk_is_apart() {
    let home = Home::signed_in();
    let put = home.run(&["put", "goal", "g\t1", "[1, \"a b\"]", "--offline"]).done();
    assert_eq!(put.stdout, "");
    assert!(put.stderr.contains("queued"));
    assert_eq!(home.run(&["list", "--offline"]).done().stdout, "goal\tg\\t1\t0\tpending\t[1,\"a b\"]\n");
    assert_eq!(home.run(&["get", "goal", "g\t1", "--offline"]).done().stdout, "[1,\"a b\"]\n");
}

#[test]
fn a_record_deleted_offline_leaves_the_list_once_that_is_committed_and_is_marked_until_then() {
    let home = Home::signed_in();
    home.run(&["put", "goal", "g1", "1", "--offline"]).done();
    let deleted = home.run(&["delete", "goal", "g1", "--offline", "--json"]).done().json();
    assert_eq!((&deleted[0]["deleted"], &deleted[0]["value"]), (&json!(true), &json!(null)));
    let listed = home.run(&["list", "--offline", "--json"]).done().json();
    assert_eq!((&listed[0]["deleted"], &listed[0]["pending"]), (&json!(true), &json!(true)));
    assert_eq!(home.status()["pending"], json!(1), "two edits of one record that were not sent are one");
}

#[test]
fn a_server_that_does_not_answer_is_noticed_within_two_seconds_and_the_edit_is_kept() {
    let home = Home::signed_in();
    let begun = Instant::now();
    // Packets to that address (RFC 5737) go nowhere: nobody says no.
    let put = home.run(&["--server", "quic://192.0.2.1:4433", "put", "goal", "g1", "1", "--json"]).done();
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
    assert_eq!(put.json()[0]["acknowledged"], json!(false));
    assert!(put.stderr.contains("offline"), "{}", put.stderr);
    home.run(&["list"]).done();
    let sync = home.run(&["sync", "--json"]);
    assert_eq!((sync.code, &sync.error()["code"], &sync.error()["exit_code"]), (Some(3), &json!("unreachable"), &json!(3)));
    assert_eq!(home.run(&["devices", "revoke", "phone"]).code, Some(3));
    assert_eq!(home.run(&["logout", "--discard"]).code, Some(3));
    assert_eq!(home.status()["pending"], json!(1));
}

#[test]
fn what_is_there_and_what_is_not_have_their_exit_codes() {
    let home = Home::signed_in();
    assert_eq!(home.run(&["get", "goal", "g1", "--offline"]).code, Some(4));
    assert_eq!(home.run(&["conflicts", "drop", "goal", "g1"]).code, Some(4));
    for wrong in [
        vec!["put", "goal", "g1", "{not json", "--offline"],
        vec!["put", "goal", "", "1", "--offline"],
        vec!["put", "goal", "g1", "1", "--onto", "nothing"],
        vec!["--server", "ws://example.com:80", "list"],
        vec!["--server", "example.com", "list"],
        vec!["--pin", "sha256:12", "list"],
        vec!["sync", "--offline"],
        vec!["import", "--format", "pomodoro", "/nowhere.csv", "--offline"],
        vec!["frobnicate"],
        vec![],
    ] {
        assert_eq!(home.run(&wrong).code, Some(2), "{wrong:?}");
    }
    for fine in [vec!["--version"], vec!["--help"], vec!["put", "--help"]] {
        let ran = home.run(&fine).done();
        assert!(!ran.stdout.is_empty());
    }
}

#[test]
fn deleting_what_is_not_there_queues_nothing_and_what_is_deleted_is_not_got() {
    let home = Home::signed_in();
    let nothing = home.run(&["delete", "goal", "g1", "--offline", "--json"]).done();
    let record = json!({"collection": "goal", "id": "g1", "version": 0, "deleted": true, "value": null, "acknowledged": true});
    assert_eq!(nothing.json(), [record]);
    assert!(nothing.stderr.contains("nothing to delete"), "{}", nothing.stderr);
    assert_eq!(home.status()["pending"], json!(0));
    home.run(&["put", "goal", "g1", "-5", "--offline"]).done();
    home.run(&["delete", "goal", "g1", "--offline"]).done();
    assert_eq!(home.run(&["get", "goal", "g1", "--offline"]).code, Some(4));
    assert_eq!(home.run(&["get", "goal", "g1", "--offline", "--json"]).done().json()[0]["deleted"], json!(true));
}

#[test]
fn a_command_line_that_is_wrong_is_said_in_json_where_json_is_asked_for() {
    let wrong = Home::empty().run(&["put", "goal", "--json"]);
    assert_eq!((wrong.code, &wrong.error()["code"], &wrong.error()["exit_code"]), (Some(2), &json!("usage"), &json!(2)));
}

#[test]
fn without_anybody_signed_in_every_command_says_so() {
    let home = Home::empty();
    for command in [
        vec!["put", "goal", "g1", "1"],
        vec!["delete", "goal", "g1"],
        vec!["get", "goal", "g1"],
        vec!["list"],
        vec!["watch"],
        vec!["status"],
        vec!["sync"],
        vec!["conflicts"],
        vec!["conflicts", "drop", "goal", "g1"],
        vec!["devices", "list"],
        vec!["logout"],
    ] {
        let ran = home.run(&command);
        assert_eq!(ran.code, Some(7), "{command:?}: {}", ran.stderr);
        assert!(ran.stderr.contains("login"), "{}", ran.stderr);
    }
    let put = home.run(&["put", "goal", "g1", "1", "--json"]);
    assert_eq!((&put.json()[0]["acknowledged"], &put.json()[0]["error"]["code"]), (&json!(false), &json!("not_signed_in")));
    assert!(!home.profile().exists(), "asking makes no profile");
}

#[test]
fn logging_out_keeps_what_was_not_sent_unless_it_may_go() {
    let home = Home::signed_in();
    home.run(&["put", "goal", "g1", "1", "--offline"]).done();
    let refused = home.run(&["logout", "--offline", "--json"]);
    assert_eq!((refused.code, &refused.error()["code"]), (Some(4), &json!("edits_queued")));
    assert_eq!(home.status()["pending"], json!(1));
    home.run(&["logout", "--offline", "--discard"]).done();
    assert!(!home.profile().exists(), "keys and replica are gone, and nothing is left");
    assert_eq!(home.run(&["list", "--offline"]).code, Some(7));
}

#[test]
fn everything_in_a_profile_is_its_owners_alone() {
    let home = Home::signed_in();
    home.run(&["put", "goal", "g1", "1", "--offline"]).done();
    assert_eq!(home.profile().metadata().unwrap().permissions().mode() & 0o777, 0o700);
    for entry in std::fs::read_dir(home.profile()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.file_name());
    }
}

#[test]
fn a_profile_may_be_a_path() {
    let home = Home::signed_in();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_cloudsync"));
    command.env_clear().arg("--profile").arg(home.profile()).args(["status", "--offline", "--json"]);
    let ran = crate::support::Ran::from(command.output().unwrap()).done();
    assert_eq!(ran.json()[0]["device"], json!("laptop"));
}
