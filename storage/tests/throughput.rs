//! A measured run, not a check: commits a second by how many wait at once, and bytes an operation. `docs/storage.md` has
//! the figures and the command.
//!
//! Never: part of the usual tests; it is ignored unless asked for.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a measured run prints and may fail where it stands"
)]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use cloudsync_storage::Store;
use cloudsync_storage::conformance::data::{Write, Writer, device, key, log};
use cloudsync_storage::embedded::EmbeddedStore;
use support::open;
use tempfile::TempDir;

const LOGS: usize = 20_000;
const RUN: Duration = Duration::from_secs(4);
const BODY_BYTES: usize = 220;

/// Seconds of CPU that the committer's thread, and all threads of this process, have had.
fn cpu_seconds() -> (f64, f64) {
    let (mut committer, mut all) = (0.0, 0.0);
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let task = task.unwrap().path();
        // A thread that ended meanwhile had little.
        let Ok(times) = std::fs::read_to_string(task.join("schedstat")) else { continue };
        let seconds = times.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9;
        all += seconds;
        if std::fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim() == "store-commit") {
            committer += seconds;
        }
    }
    (committer, all)
}

/// The number of the newest group.
fn groups(folder: &TempDir) -> f64 {
    let database = rusqlite::Connection::open(folder.path().join("cloudsync.db")).unwrap();
    database.query_row("SELECT number FROM groups", [], |row| row.get(0)).unwrap()
}

/// How many wait at once: what `CLOUDSYNC_BENCH_AT_ONCE` says, or each of these.
fn waiting() -> Vec<usize> {
    std::env::var("CLOUDSYNC_BENCH_AT_ONCE").ok().map_or_else(|| vec![1, 16, 64, 256], |one| vec![one.parse().unwrap()])
}

/// One of many writers at once, each with logs of its own.
async fn write(store: Arc<EmbeddedStore>, mut writers: Vec<Writer>, seed: u64) -> (Vec<Writer>, Vec<Duration>) {
    let (began, mut random, mut times) = (Instant::now(), seed, Vec::new());
    while began.elapsed() < RUN {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let index = usize::try_from(random >> 33).unwrap() % writers.len();
        let writer = &mut writers[index];
        let name = format!("0123456789abcdef{:016x}", writer.head.seq.0);
        let entry = writer.batch(device(1), &[(key("timer_session", &name), Write::Live(BODY_BYTES))]);
        let commit = writer.commit(vec![entry]);
        writer.entries.clear();
        let asked = Instant::now();
        store.commit(commit).await.unwrap();
        times.push(asked.elapsed());
    }
    (writers, times)
}

async fn acquire(store: &Arc<EmbeddedStore>) -> Vec<Writer> {
    let mut writers = Vec::new();
    for chunk in 0..LOGS / 500 {
        let tasks: Vec<_> = (0..500)
            .map(|index| {
                let (store, number) = (Arc::clone(store), u64::try_from(chunk * 500 + index).unwrap());
                tokio::spawn(async move { Writer::acquire(&*store, log(number)).await })
            })
            .collect();
        for task in tasks {
            writers.push(task.await.unwrap());
        }
    }
    writers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a tool: measures, for some 20 seconds"]
async fn commits_a_second_and_bytes_an_operation() {
    let folder = TempDir::new_in(std::env::var("CLOUDSYNC_BENCH_DIR").unwrap_or_else(|_| "/var/tmp".into())).unwrap();
    let store = Arc::new(open(folder.path()));
    let mut writers = acquire(&store).await;
    let mut operations = 0;
    for at_once in waiting() {
        let share = writers.len() / at_once;
        let (began, before, first_group) = (Instant::now(), cpu_seconds(), groups(&folder));
        let tasks: Vec<_> = (0..at_once)
            .map(|task| tokio::spawn(write(Arc::clone(&store), writers.split_off(writers.len() - share), u64::try_from(task).unwrap())))
            .collect();
        let mut times = Vec::new();
        for task in tasks {
            let (back, taken) = task.await.unwrap();
            writers.extend(back);
            times.extend(taken);
        }
        times.sort_unstable();
        operations += times.len();
        let commits = f64::from(u32::try_from(times.len()).unwrap());
        let (rate, after) = (commits / began.elapsed().as_secs_f64(), cpu_seconds());
        let micros = |after: f64, before: f64| (after - before) / commits * 1e6;
        let a_group = commits / (groups(&folder) - first_group);
        let (committer, all) = (micros(after.0, before.0), micros(after.1, before.1));
        let at = |share: usize| times[times.len() * share / 100];
        println!(
            "{at_once} at once: {rate:.0} commits/s, {a_group:.0} a group, p50 {:?}, p99 {:?}, worst {:?}; CPU a commit: committer {committer:.1} µs, all {all:.1} µs",
            at(50),
            at(99),
            times[times.len() - 1]
        );
    }
    store.close().await;
    let file = std::fs::metadata(folder.path().join("cloudsync.db")).unwrap().len();
    let database = rusqlite::Connection::open(folder.path().join("cloudsync.db")).unwrap();
    let sum = |sql: &str| database.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    let rows = sum("SELECT sum(length(row)) FROM log");
    let heads = sum("SELECT sum(length(head)) FROM logs");
    println!("{operations} operations of {BODY_BYTES} B bodies: {file} B of file, {rows} B of rows, {heads} B of heads in {LOGS} logs");
}
