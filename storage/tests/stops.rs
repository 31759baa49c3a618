//! A process that ends at each step of a group: what it was told of is there, and what it was not told of is whole or not there.
//!
//! Never: a stop that unwinds or closes anything; the process aborts.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails where it stands")]
#![allow(clippy::print_stdout, reason = "the process that is stopped tells what it was told of")]

mod support;

use std::path::Path;
use std::process::Command;

use cloudsync_protocol::{Seq, UserId};
use cloudsync_storage::Store as _;
use cloudsync_storage::conformance::accounts::{account, first};
use cloudsync_storage::conformance::data::{Write, Writer, acquire, device, key, log};
use cloudsync_storage::embedded::probe::{Probe, Step};
use cloudsync_storage::embedded::{EmbeddedStore, Folder, Options};
use support::{in_memory, open};

const FOLDER: &str = "CLOUDSYNC_TEST_STOP_FOLDER";
const STEP: &str = "CLOUDSYNC_TEST_STOP_STEP";
const NUMBER: &str = "CLOUDSYNC_TEST_STOP_NUMBER";
const STEPS: [(&str, Step); 4] =
    [("written", Step::Written), ("committed", Step::Committed), ("promised", Step::Promised), ("answered", Step::Answered)];
/// The same on every run, so that whoever looks at the folder knows what the process did.
const GROUPS: u64 = 12;

/// What the process does: an account, a log, and a commit a group. It says what it is told of.
async fn work(store: &EmbeddedStore) -> Writer {
    store.create_account(account("ada@example.com", UserId(log(1).0)), first("keyring")).await.unwrap();
    println!("told 1");
    let mut writer = Writer::acquire(store, log(1)).await;
    println!("told 2");
    for number in 3..=GROUPS {
        writer.push(store, device(1), &[(key("notes", &format!("{}", number % 4)), Write::Live(3_000))]).await.unwrap();
        println!("told {number}");
    }
    writer
}

/// Not a test of its own: what the others start as a process. It aborts where the environment says, if it does.
#[tokio::test]
async fn the_process_that_is_stopped() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let (step, number) = (std::env::var(STEP).unwrap(), std::env::var(NUMBER).unwrap().parse::<u64>().unwrap());
    let step = STEPS.iter().find(|(name, _)| *name == step).unwrap().1;
    let probe = Probe::new(move |at, group| {
        if (at, group) == (step, number) {
            std::process::abort();
        }
    });
    let options = Options { probe, ..Options::default() };
    work(&EmbeddedStore::open(Folder::hold(folder).unwrap(), &options).unwrap()).await;
    unreachable!("it was to be stopped at group {number}");
}

/// Runs it until it stops; the newest group that it was told of.
fn told_until(folder: &Path, step: &str, number: u64) -> u64 {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "the_process_that_is_stopped", "--nocapture"]);
    command.env(FOLDER, folder).env(STEP, step).env(NUMBER, number.to_string());
    let ended = command.output().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&ended.status), Some(6), "{}", String::from_utf8_lossy(&ended.stderr));
    let stdout = String::from_utf8(ended.stdout).unwrap();
    stdout.lines().filter_map(|line| line.strip_prefix("told ")?.parse().ok()).max().unwrap_or(0)
}

#[tokio::test]
async fn a_stop_at_any_step_of_any_group_loses_nothing_that_was_told_and_leaves_no_half() {
    let whole = {
        let folder = in_memory();
        let store = open(folder.path());
        let writer = work(&store).await;
        store.close().await;
        writer
    };
    for (name, step) in STEPS {
        for number in 1..=GROUPS {
            let folder = in_memory();
            let told = told_until(folder.path(), name, number);
            let durable = if step == Step::Written { number - 1 } else { number };
            assert!(told <= durable, "told of group {told} before it was durable: {name} {number}");
            assert!(step == Step::Answered || told == number - 1, "{told} of {number} were told at {name}");
            let store = open(folder.path());
            assert_eq!(store.account(UserId(log(1).0)).await.unwrap().is_some(), durable >= 1, "{name} {number}");
            let seq = Seq(durable.saturating_sub(2));
            let head = store.read_head(log(1)).await.unwrap();
            assert_eq!(head.as_ref().map(|head| head.seq), (durable >= 2).then_some(seq), "{name} {number}");
            // It goes on from there.
            let mut writer = Writer::with_head(log(1), store.acquire(acquire(log(1), 1, 2)).await.unwrap());
            let kept = usize::try_from(seq.0).unwrap();
            if seq > Seq::ZERO {
                let pull =
                    cloudsync_storage::store::Pull { timeline: writer.head.timeline, from: Seq::ZERO, to: seq, bytes_max: usize::MAX };
                assert_eq!(store.pull(log(1), pull).await.unwrap().entries, whole.entries[..kept], "{name} {number}");
            }
            writer.push(&store, device(2), &[(key("after", "a"), Write::Live(92))]).await.unwrap();
            store.close().await;
            open(folder.path()).close().await;
        }
    }
}
