//! Data folders that a node can't go on with: each is refused with what to do, and left as it was; damage that it can go on with is
//! named to whoever reads it.
//!
//! Never: a refusal that changes a file, but the lock's.

#![allow(clippy::indexing_slicing, reason = "a test that finds something else fails there")]
#![allow(clippy::print_stdout, reason = "a proof says what it proved, and under which seed")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use cloudsync_engine::log::view_of;
use cloudsync_node::config::StoreSource;
use cloudsync_protocol::Seq;
use cloudsync_storage::store::view_after;
use cloudsync_storage::{MemoryStore, Store as _};
use cloudsync_tests::command_line::PASSWORD;
use cloudsync_tests::process::{EndedNode, refused};
use cloudsync_tests::{CommandLine, Namespace, NodeProcess, Person, TestNode, Wire};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::Value;

const PLACES: u64 = 20;
const RECORDS: usize = 12;
const SEED: &str = "CLOUDSYNC_TEST_SEED";

/// What is in a folder, without the lock and what SQLite makes anew.
fn files(folder: &Path) -> anyhow::Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if !path.ends_with("lock") && !path.to_string_lossy().ends_with("-shm") {
            files.insert(path.clone(), std::fs::read(path)?);
        }
    }
    Ok(files)
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    if to.exists() {
        std::fs::remove_dir_all(to)?;
    }
    std::fs::create_dir(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        std::fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

/// A node that was killed with an account and some records, and its data put aside.
async fn killed(folder: &Path) -> anyhow::Result<(EndedNode, CommandLine, PathBuf)> {
    let node = NodeProcess::start(folder).await?;
    let cli = CommandLine::new(&node, Wire::Wss)?;
    cli.account("ada@example.com", &["a"])?;
    for number in 0..RECORDS {
        cli.run("a", &["put", "goal", &format!("g{number:02}"), &number.to_string()])?.ended(0)?;
    }
    let ended = node.kill().await?;
    let kept = folder.join("kept");
    copy(&ended.data(), &kept)?;
    Ok((ended, cli, kept))
}

fn is_refused(data: &Path, words: &[&str]) -> anyhow::Result<()> {
    let before = files(data)?;
    let (code, message) = refused(data, (&[], &[]))?;
    ensure!(code == Some(1), "{code:?}: {message}");
    for word in words.iter().copied().chain(data.to_str()) {
        ensure!(message.contains(word), "no {word:?} in {message}");
    }
    ensure!(!message.contains("panicked"), "{message}");
    ensure!(files(data)? == before, "a refusal changed something: {message}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_data_folder_is_refused_with_what_to_do() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let (ended, _cli, kept) = killed(folder.path()).await?;
    let data = ended.data();
    let remove = |name: &'static str| move |data: &Path| std::fs::remove_file(data.join(name));
    let empty = |name: &'static str| move |data: &Path| std::fs::write(data.join(name), b"");
    type Spoil = Box<dyn Fn(&Path) -> std::io::Result<()>>;
    let cases: [(Spoil, &[&str]); 10] = [
        (Box::new(remove("format")), &["not a store", "nothing was changed"]),
        (Box::new(empty("format")), &["format", "backup"]),
        (Box::new(|data| std::fs::write(data.join("format"), "cloudsync store 7\n")), &["newer release", "run the release that wrote it"]),
        (Box::new(remove("secrets.json")), &["secrets.json", "backup"]),
        (Box::new(empty("secrets.json")), &["secrets.json", "backup"]),
        (Box::new(remove("groups")), &["side file is missing", "--accept-loss"]),
        (Box::new(empty("groups")), &["side file is empty", "--accept-loss"]),
        (Box::new(remove("cloudsync.db-wal")), &["acknowledged groups are missing", "--accept-loss"]),
        (Box::new(remove("cloudsync.db")), &["acknowledged groups are missing"]),
        (Box::new(empty("cloudsync.db")), &["database is damaged", "backup"]),
    ];
    for (spoil, words) in cases {
        copy(&kept, &data)?;
        spoil(&data)?;
        is_refused(&data, words)?;
    }
    copy(&kept, &data)?;
    NodeProcess::start_again(&ended).await?.terminate().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_that_was_cut_short_is_completed() -> anyhow::Result<()> {
    let format: (&str, &[u8]) = ("format", b"cloudsync store 1\n");
    let steps: [&[(&str, &[u8])]; 4] = [
        &[("lock", b"12\n"), ("format.tmp", b"cloudsy")],
        &[format],
        &[format, ("cloudsync.db.tmp", b"SQLite for")],
        &[format, ("groups", b"")],
    ];
    for step in steps {
        let folder = tempfile::tempdir()?;
        let data = folder.path().join("data");
        std::fs::create_dir(&data)?;
        for (name, bytes) in step {
            std::fs::write(data.join(name), bytes)?;
        }
        NodeProcess::start(folder.path()).await?.terminate().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_on_one_folder_and_a_read_only_one_are_refused() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let node = NodeProcess::start(folder.path()).await?;
    let data = folder.path().join("data");
    let (code, message) = refused(&data, (&[], &[]))?;
    ensure!(code == Some(1) && message.contains("another node runs") && message.contains(&node.pid().to_string()), "{message}");
    ensure!(message.contains("end that node first"), "{message}");
    node.terminate().await?;
    let Some(namespace) = Namespace::read_only(&data, "two_nodes_on_one_folder_and_a_read_only_one_are_refused")? else { return Ok(()) };
    let before = files(&data)?;
    let (code, message) = refused(&data, (&namespace.enter(), &[]))?;
    ensure!(code == Some(1) && message.contains("read-only") && message.contains("mount it for writing"), "{message}");
    ensure!(files(&data)? == before, "it can't have changed");
    Ok(())
}

/// Signs a fresh device in and lists: what was acknowledged, or the code of a refusal that names damage.
fn read_anew(cli: &CommandLine, profile: &str) -> anyhow::Result<Result<Vec<Value>, String>> {
    let signed_in = cli.sign_in(profile, ("login", "ada@example.com", PASSWORD), &[])?;
    if signed_in.code != Some(0) {
        return Ok(Err(signed_in.error_code()?));
    }
    let synced = cli.run(profile, &["sync", "--json"])?;
    if synced.code != Some(0) {
        return Ok(Err(synced.error_code()?));
    }
    let mut listed = cli.run(profile, &["list", "goal", "--json"])?.ended(0)?.json()?;
    listed.sort_by_key(|record| record["id"].as_str().map(str::to_owned));
    Ok(Ok(listed.into_iter().map(|record| record["value"].clone()).collect()))
}

fn damage(data: &Path, random: &mut StdRng) -> anyhow::Result<String> {
    let drawn = ["cloudsync.db", "cloudsync.db-wal", "cloudsync.db-wal", "groups"][random.random_range(0..4)];
    let name = if data.join(drawn).exists() { drawn } else { "cloudsync.db" };
    let path = data.join(name);
    let mut bytes = std::fs::read(&path)?;
    let at = random.random_range(0..bytes.len());
    // After a clean stop the rows are in the database's file.
    let page = at / 4096 * 4096;
    let end = (page + 4096).min(bytes.len());
    let what = match random.random_range(0..4) {
        0 => {
            bytes[at] ^= 1 << random.random_range(0..8);
            format!("a bit of byte {at} flipped")
        }
        1 => {
            bytes[page..end].fill(0);
            format!("page at {page} zeroed")
        }
        2 => {
            bytes[page..end].iter_mut().for_each(|byte| *byte = random.random());
            format!("page at {page} is garbage")
        }
        _ => {
            bytes.truncate(at);
            format!("cut to {at} bytes")
        }
    };
    std::fs::write(&path, bytes)?;
    Ok(format!("{name}: {what}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_named_by_the_start_or_to_whoever_reads_or_harms_nothing() -> anyhow::Result<()> {
    let seed = std::env::var(SEED).ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let folder = tempfile::tempdir()?;
    let (ended, cli, kept) = killed(folder.path()).await?;
    let expected: Vec<Value> = (0..RECORDS).map(Value::from).collect();
    let (mut at_start, mut when_read, mut harmless) = (0, 0, 0);
    let clean = folder.path().join("clean");
    NodeProcess::start_again(&ended).await?.terminate().await?;
    copy(&ended.data(), &clean)?;
    for seed in seed..seed + PLACES {
        let kept = if seed.is_multiple_of(2) { &kept } else { &clean };
        copy(kept, &ended.data())?;
        let what = damage(&ended.data(), &mut StdRng::seed_from_u64(seed))?;
        let context = || format!("seed {seed} ({SEED} repeats it): {what}");
        let Ok(node) = NodeProcess::start_again(&ended).await else {
            copy(kept, &ended.data())?;
            damage(&ended.data(), &mut StdRng::seed_from_u64(seed))?;
            is_refused(&ended.data(), &[]).with_context(context)?;
            at_start += 1;
            continue;
        };
        match read_anew(&cli, &format!("reader{seed}")).with_context(context)? {
            Ok(values) => {
                ensure!(values == expected, "{}: {values:?}", context());
                harmless += 1;
            }
            Err(code) => {
                ensure!(code == "store_damaged", "{}: {code}", context());
                when_read += 1;
            }
        }
        ensure!(node.terminate().await?.status().success(), "{}", context());
    }
    println!("{PLACES} places from seed {seed}: {at_start} found at the start, {when_read} when read, {harmless} harmless");
    ensure!(at_start > 0 && harmless > 0, "{at_start} {when_read} {harmless}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_accepted_loss_goes_on_under_a_new_timeline_and_devices_bring_back_what_is_missing() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let (ended, cli, _) = killed(folder.path()).await?;
    let wal = ended.data().join("cloudsync.db-wal");
    let bytes = std::fs::metadata(&wal)?.len();
    std::fs::File::options().write(true).open(&wal)?.set_len(bytes - 3 * 4096)?;
    is_refused(&ended.data(), &["acknowledged groups are missing", "--accept-loss"])?;
    let node = NodeProcess::start_again_with(&ended, &["--accept-loss"]).await?;
    assert_eq!(cli.run("a", &["list", "goal", "--json", "--offline"])?.ended(0)?.json()?.len(), RECORDS, "it keeps everything");
    let left = read_anew(&cli, "fresh")?.map_err(anyhow::Error::msg)?;
    ensure!(!left.is_empty() && left.len() < RECORDS, "{left:?}");
    cli.run("fresh", &["put", "goal", "anew", "1"])?.ended(0)?;
    let node = NodeProcess::start_again(&node.kill().await?).await?;
    assert_eq!(read_anew(&cli, "fresh2")?.map_err(anyhow::Error::msg)?.len(), left.len() + 1, "a plain start goes on");
    cli.run("a", &["sync", "--json"])?.ended(0)?;
    assert_eq!(read_anew(&cli, "fresh3")?.map_err(anyhow::Error::msg)?.len(), RECORDS + 1, "with what was lost, and what was done since");
    node.terminate().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_serves_by_a_later_view_than_what_was_lost_and_opens_new_timelines() -> anyhow::Result<()> {
    let (store, folder) = (MemoryStore::new(), tempfile::tempdir()?);
    // One folder, for the secrets that passwords need.
    let start =
        || TestNode::start_with(|config| (config.store, config.data) = (StoreSource::Given(Arc::new(store.clone())), folder.path().into()));
    let node = start().await?;
    let ada = Person::register(&node, Wire::Quic, "ada@example.com").await?;
    let log = ada.keys.log();
    node.shutdown().await;
    let before = store.read_head(log).await?.context("a log")?;
    store.rewind(store.save());
    let node = start().await?;
    // Its device's enrolment is a commit to the log.
    ada.log_in_again(&node, Wire::Quic).await?;
    let after = store.read_head(log).await?.context("a log")?;
    assert_eq!(view_of(after.epoch), view_after(1), "every owner of before is fenced");
    assert_eq!(after.lineage, [(before.timeline, Seq(1)), (after.timeline, before.seq.next())]);
    node.shutdown().await;
    Ok(())
}
