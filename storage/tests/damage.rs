//! Damage to database, WAL and side file: what was acknowledged is there, or its loss is named, at the start or when it is read.
//!
//! Never: damage that a test chose because it is found; the places are drawn, and a failure names the seed that repeats them.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails where it stands")]
#![allow(clippy::print_stdout, reason = "a proof says what it proved, and under which seed")]

mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use cloudsync_protocol::Seq;
use cloudsync_storage::Store as _;
use cloudsync_storage::conformance::data::{Write, Writer, acquire, device, key, log};
use cloudsync_storage::embedded::{Loss, OpenError};
use support::world::{Fate, World, copy};
use support::{copy_as_killed, open, try_open, try_open_with};
use tempfile::TempDir;
use tokio::task::JoinSet;

const PLACES: u64 = 540;
const FIRST_SEED: u64 = 20_260_101;
/// At a time.
const TASKS: u64 = 4;
const SEED: &str = "CLOUDSYNC_TEST_SEED";
const PAGE_BYTES: usize = 4096;

/// SplitMix64 (Steele, Lea and Flood, 2014): draws that a seed repeats.
struct Draws(u64);

impl Draws {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end.max(1) as u64).unwrap()
    }
}

/// Damages one place of one file; says what it did.
fn damage(folder: &Path, draws: &mut Draws) -> String {
    let names = ["cloudsync.db", "cloudsync.db", "cloudsync.db", "cloudsync.db-wal", "cloudsync.db-wal", "groups"];
    let name = Some(names[draws.below(names.len())]).filter(|name| folder.join(name).exists()).unwrap_or("cloudsync.db");
    let path = folder.join(name);
    let mut bytes = std::fs::read(&path).unwrap();
    let page = draws.below(bytes.len().div_ceil(PAGE_BYTES)) * PAGE_BYTES;
    // Where a page says what it is, and where it says where its cells are, or anywhere.
    let at = match draws.below(4) {
        0 => page + draws.below(16),
        1 => page + draws.below(160),
        _ => draws.below(bytes.len()),
    };
    let at = at.min(bytes.len() - 1);
    let end = (page + PAGE_BYTES).min(bytes.len());
    let what = match draws.below(12) {
        0..=5 => {
            let bit = draws.below(8);
            bytes[at] ^= 1 << bit;
            format!("bit {bit} of byte {at} flipped")
        }
        6 | 7 => {
            let until = (at + 1 + draws.below(64)).min(bytes.len());
            bytes[at..until].iter_mut().for_each(|byte| *byte = draws.next().to_le_bytes()[0]);
            format!("bytes {at} to {until} are garbage")
        }
        8 => {
            bytes[page..end].fill(0);
            format!("page at {page} zeroed")
        }
        9 => {
            bytes[page..end].iter_mut().for_each(|byte| *byte = draws.next().to_le_bytes()[0]);
            format!("page at {page} is garbage")
        }
        10 => {
            let from = draws.below(bytes.len().div_ceil(PAGE_BYTES)) * PAGE_BYTES;
            let until = (from + end - page).min(bytes.len());
            bytes.copy_within(from..until, page);
            format!("page at {page} has what is at {from}")
        }
        _ => {
            bytes.truncate(at);
            format!("cut to {at} bytes")
        }
    };
    std::fs::write(&path, bytes).unwrap();
    format!("{name}: {what}")
}

/// What is in the folder, without what SQLite makes anew and the lock's pid.
fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| !path.to_string_lossy().ends_with("-shm") && !path.ends_with("lock"))
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .collect();
    files.sort();
    files
}

/// How it was found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    AtTheStart,
    WhenRead,
    NothingMissing,
}

async fn one_place(world: &World, seed: u64) -> Result<Found, String> {
    let mut draws = Draws(seed);
    let folder = copy(if draws.below(2) == 0 { world.clean.path() } else { world.killed.path() });
    let what = damage(folder.path(), &mut draws);
    let before = files(folder.path());
    let wrong = |error: String| format!("seed {seed}: {what}: {error}");
    let store = match try_open(folder.path()) {
        Ok(store) => store,
        Err(OpenError::Damaged { .. } | OpenError::GroupsMissing { .. } | OpenError::SideFile { .. }) => {
            return if files(folder.path()) == before { Ok(Found::AtTheStart) } else { Err(wrong("a refused start changed files".into())) };
        }
        Err(error) => return Err(wrong(format!("the start says {error}"))),
    };
    let fates = world.judge(&store).await.map_err(wrong)?;
    let later = world.write_on(&store).await.map_err(wrong)?;
    later.judge(&store).await.map_err(|error| wrong(format!("after more was written: {error}")))?;
    store.close().await;
    Ok(if fates.contains(&Fate::Named) { Found::WhenRead } else { Found::NothingMissing })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_is_there_or_named_whatever_place_is_damaged() {
    let one = std::env::var(SEED).ok().and_then(|seed| seed.parse().ok());
    let world = Arc::new(World::make().await);
    let (first, places) = one.map_or((FIRST_SEED, PLACES), |one| (one, 1));
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let world = Arc::clone(&world);
        tasks.spawn(async move {
            let mut found = Vec::new();
            for seed in (first..first + places).filter(|seed| seed % TASKS == task) {
                found.push(one_place(&world, seed).await);
            }
            found
        });
    }
    let (mut found, mut wrong) = (Vec::new(), Vec::new());
    for one in tasks.join_all().await.into_iter().flatten() {
        match one {
            Ok(one) => found.push(one),
            Err(error) => wrong.push(error),
        }
    }
    assert!(wrong.is_empty(), "{} of {places} places; {SEED} repeats one:\n{}", wrong.len(), wrong.join("\n"));
    let count = |kind| found.iter().filter(|found| **found == kind).count();
    let counts = [Found::AtTheStart, Found::WhenRead, Found::NothingMissing].map(count);
    println!("{places} places from seed {first}: {} found at the start, {} when read, {} harmless", counts[0], counts[1], counts[2]);
    assert!(places == 1 || counts.iter().all(|count| *count > 10), "every way was seen: {counts:?}");
}

#[tokio::test]
async fn an_undamaged_folder_is_whole() {
    let world = World::make().await;
    for folder in [world.clean.path(), world.killed.path()] {
        let store = open(copy(folder).path());
        assert!(world.judge(&store).await.unwrap().iter().all(|fate| *fate == Fate::There));
        store.close().await;
    }
}

/// A short run, killed: its folder, its writer, and how far each of its groups had come.
async fn short_run() -> (TempDir, Writer) {
    let folder = support::in_memory();
    let store = open(folder.path());
    let mut writer = Writer::acquire(&store, log(1)).await;
    for number in 0..12 {
        let puts: Vec<_> = (0..=number % 3).map(|of| (key("notes", &format!("{number}-{of}")), Write::Live(1_000))).collect();
        writer.push(&store, device(1), &puts).await.unwrap();
    }
    let killed = copy_as_killed(folder.path());
    store.close().await;
    (killed, writer)
}

/// After each frame of a WAL, whether it ends a transaction (SQLite's "WAL File Format": bytes 4..8 of a frame's header).
fn commits(wal: &[u8]) -> Vec<bool> {
    wal[32..].chunks_exact(24 + PAGE_BYTES).map(|frame| frame[4..8] != [0; 4]).collect()
}

#[tokio::test]
async fn a_wal_cut_at_any_frame_names_how_many_groups_are_missing_and_an_accepted_loss_goes_on_with_the_rest() {
    let (folder, writer) = short_run().await;
    let wal = std::fs::read(folder.path().join("cloudsync.db-wal")).unwrap();
    let commits = commits(&wal);
    let promised = commits.iter().filter(|commit| **commit).count() as u64;
    assert_eq!(promised, 13, "an acquire and twelve commits");
    for (frames, more) in (0..=commits.len()).flat_map(|frames| [(frames, 0), (frames, 1), (frames, 2_000)]) {
        let copy = copy(folder.path());
        let bytes = (32 + frames * (24 + PAGE_BYTES) + more).min(wal.len());
        std::fs::write(copy.path().join("cloudsync.db-wal"), &wal[..bytes]).unwrap();
        let missing = promised - commits[..frames].iter().filter(|commit| **commit).count() as u64;
        let before = files(copy.path());
        if missing > 0 {
            let OpenError::GroupsMissing { missing: named, .. } = try_open(copy.path()).unwrap_err() else { panic!("{frames}") };
            assert_eq!(named, missing, "{frames} frames and {more} bytes");
            assert_eq!(files(copy.path()), before, "left as it was");
        }
        let loss = if missing > 0 { Loss::Accept } else { Loss::Refuse };
        let store = try_open_with(copy.path(), loss).unwrap();
        assert_eq!(store.rewinds(), u64::from(missing > 0));
        let head = store.acquire(acquire(log(1), 1, 2)).await.unwrap();
        let left = writer.entries.iter().take_while(|entry| entry.last() <= head.seq);
        assert_eq!(left.last().map_or(Seq::ZERO, |entry| entry.last()), head.seq, "the end of an entry");
        let groups = writer.entries.iter().filter(|entry| entry.last() <= head.seq).count() as u64;
        assert_eq!(groups + u64::from(missing < promised), promised - missing);
        assert_eq!(head.timeline != writer.head.timeline, missing > 0, "a new timeline after a loss");
        store.close().await;
        // As after a stop between the database and the side file.
        std::fs::copy(folder.path().join("groups"), copy.path().join("groups")).unwrap();
        open(copy.path()).close().await;
    }
}
