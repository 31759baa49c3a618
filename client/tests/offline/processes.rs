//! Several processes on one profile; one that is stopped, one whose reader is gone.

use std::fmt::Write as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use cloudsync_client::replica::{Access, Store, StoreError};
use serde_json::json;

use crate::support::{Home, Ran, signal, state};

#[track_caller]
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn many_processes_queue_at_once_and_nothing_is_lost() {
    let home = Home::signed_in();
    let children: Vec<_> = (0..12).map(|n| home.start(&["put", "goal", &format!("g{n}"), "1", "--offline"])).collect();
    for child in children {
        Ran::from(child.wait_with_output().unwrap()).done();
    }
    assert_eq!(home.status()["pending"], json!(12));
}

#[test]
fn a_process_that_holds_the_profile_for_long_is_named_to_those_who_wait() {
    let home = Home::signed_in();
    let store = Store::open(&home.profile().join("replica.db")).unwrap();
    let put = store.transact(Access::Write, |_| Ok::<_, StoreError>(home.run(&["put", "goal", "g1", "1", "--offline", "--json"])));
    let put = put.unwrap();
    assert_eq!((put.code, &put.error()["code"]), (Some(4), &json!("profile_busy")));
    let message = put.error()["message"].as_str().unwrap().to_owned();
    assert!(message.contains(&format!("process {}", std::process::id())), "{message}");
    let read = store.transact(Access::Write, |_| Ok::<_, StoreError>(home.run(&["list", "--offline"])));
    read.unwrap().done();
}

#[test]
fn ctrl_z_stops_a_process_between_transactions_so_that_others_go_on() {
    let home = Home::signed_in();
    let file = home.path().join("sessions.csv");
    let mut rows = String::from("\"X.words\",\"word_cnt\",\"description\",\"DONE\",\"date\",\"estimate\",\"actual\"\n");
    for n in 0..12_000 {
        writeln!(rows, "\"@a\",\"1\",{n},1,2009-04-09,NA,NA").unwrap();
    }
    std::fs::write(&file, rows).unwrap();
    let import = home.start(&["import", "--format", "pomodoro", file.to_str().unwrap(), "--offline", "--json"]);
    until("the import queues", || home.status()["pending"] != json!(0));
    signal(&import, "TSTP");
    until("it is stopped", || state(&import) == Some('T'));
    let before = home.status()["pending"].as_u64().unwrap();
    assert!(before < 12_000, "it was stopped in the middle");
    home.run(&["put", "goal", "g1", "1", "--offline"]).done();
    assert_eq!(home.status()["pending"].as_u64().unwrap(), before + 1);
    signal(&import, "CONT");
    let imported = Ran::from(import.wait_with_output().unwrap()).done();
    assert_eq!(imported.json()[0]["imported"], json!(12_000));
}

#[test]
fn a_process_stopped_inside_a_transaction_is_named_with_how_to_continue_it() {
    let home = Home::signed_in();
    // SQLite's shell in place of a process that was stopped (by SIGSTOP) at the worst moment would not be noted as the
    // writer: a helper that holds the lock and notes itself as this program does is this very program, under SIGSTOP.
    let file = home.path().join("sessions.csv");
    let mut rows = String::from("\"X.words\",\"word_cnt\",\"description\",\"DONE\",\"date\",\"estimate\",\"actual\"\n");
    for n in 0..17_000 {
        writeln!(rows, "\"@a\",\"1\",{n},1,2009-04-09,NA,NA").unwrap();
    }
    std::fs::write(&file, rows).unwrap();
    let mut import = home.start(&["import", "--format", "pomodoro", file.to_str().unwrap(), "--offline", "--json"]);
    until("the import queues", || home.status()["pending"] != json!(0));
    let probe = rusqlite::Connection::open(home.profile().join("replica.db")).unwrap();
    probe.busy_timeout(Duration::ZERO).unwrap();
    // Stops it again and again until that is inside a transaction, which most of its time is.
    until("it is stopped inside a transaction", || {
        signal(&import, "STOP");
        until("it is stopped", || matches!(state(&import), Some('T' | 'Z')));
        let free = probe.execute_batch("BEGIN IMMEDIATE; ROLLBACK").is_ok();
        if free {
            signal(&import, "CONT");
        }
        assert_eq!(import.try_wait().unwrap(), None, "it ended before it was stopped inside a transaction");
        !free
    });
    let put = home.run(&["put", "goal", "g1", "1", "--offline", "--json"]);
    assert_eq!(put.code, Some(4), "{put:?}");
    let message = put.error()["message"].as_str().unwrap().to_owned();
    for part in [import.id().to_string(), "import --format".to_owned(), "stopped".to_owned(), format!("kill -CONT {}", import.id())] {
        assert!(message.contains(&part), "{part} in {message}");
    }
    signal(&import, "CONT");
    Ran::from(import.wait_with_output().unwrap()).done();
    home.run(&["put", "goal", "g1", "1", "--offline"]).done();
}

#[test]
fn a_reader_that_goes_away_ends_a_listing_quietly() {
    let home = Home::signed_in();
    let long = format!("\"{}\"", "x".repeat(30_000));
    for n in 0..8 {
        home.run(&["put", "goal", &format!("g{n}"), &long, "--offline"]).done();
    }
    let mut child = home.command(&["list", "--offline"]).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
}

#[test]
fn a_log_out_shuts_out_a_process_that_had_the_profile_open() {
    let home = Home::signed_in();
    let store = Store::open(&home.profile().join("replica.db")).unwrap();
    home.run(&["logout", "--offline"]).done();
    let late: Result<(), StoreError> = store.transact(Access::Write, |_| Ok(()));
    assert_eq!(late, Err(StoreError::Closed), "an edit put there would be lost");
}
