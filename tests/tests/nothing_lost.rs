//! A shorter `cargo xtask torture`: the node is killed 30 times under load, a client once at every step of a push.
//!
//! Never: another proof than the long one's.

#![allow(clippy::print_stdout, reason = "a proof says what it proved, and under which seed")]

use std::time::Duration;

use cloudsync_tests::process::last_words;
use cloudsync_tests::torture::{Torture, kill_client, kill_node};

/// Nothing takes so long, whatever else the machine does.
const TIMEOUT: Duration = Duration::from_secs(300);
const SEED: &str = "CLOUDSYNC_TEST_SEED";

fn short() -> Torture {
    let seed = std::env::var(SEED).ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random);
    println!("seed {seed}: {SEED}={seed} repeats the draws");
    Torture { kills: 30, rounds: 1, seed, progress: |_, _| {} }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thirty_kills_under_load_lose_no_acknowledged_write() {
    let (torture, folder) = (short(), tempfile::TempDir::new().unwrap());
    match tokio::time::timeout(TIMEOUT, Box::pin(kill_node(folder.path(), &torture))).await {
        Ok(Ok(proof)) => println!("{proof:?}"),
        Ok(Err(error)) => panic!("seed {}: {error:#}\nthe node's last words:\n{}", torture.seed, last_words(folder.path())),
        Err(_) => panic!("seed {}: not done after {TIMEOUT:?}\nthe node's last words:\n{}", torture.seed, last_words(folder.path())),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_killed_at_any_step_of_a_push_loses_nothing_and_sends_nothing_twice() {
    let (torture, folder) = (short(), tempfile::TempDir::new().unwrap());
    match kill_client(folder.path(), &torture).await {
        Ok(proof) => println!("{proof:?}"),
        Err(error) => panic!("seed {}: {error:#}\nthe node's last words:\n{}", torture.seed, last_words(folder.path())),
    }
}
