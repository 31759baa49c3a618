//! The faults of the store in memory, and what they can and can't do to a log.
//!
//! Never: a rule of the engine; here a few lines stand for it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails where it stands")]

use std::sync::Arc;

use cloudsync_engine::log::Commit;
use cloudsync_protocol::{Seq, UserId};
use cloudsync_storage::conformance::accounts::{account, first};
use cloudsync_storage::conformance::data::{Write, Writer, acquire, device, key, log, timeline};
use cloudsync_storage::memory::{Fault, Faults, Rates, Reach, Target};
use cloudsync_storage::store::{AcquireError, CommitError, CreateAccountError, Pull, ReadError, WriteError};
use cloudsync_storage::{MemoryStore, Store};

fn puts(name: &str) -> [(cloudsync_protocol::RecordKey, Write); 1] {
    [(key("notes", name), Write::Live(100))]
}

#[tokio::test]
async fn a_lost_commit_is_unknown_and_never_there() {
    let store = MemoryStore::new();
    let mut writer = Writer::acquire(&store, log(1)).await;
    store.faults().script(Target::Commit, Fault::Lost);
    assert!(matches!(writer.clone().push(&store, device(1), &puts("a")).await, Err(CommitError::Unknown(_))));
    store.unpark_all();
    assert_eq!(store.read_head(log(1)).await, Ok(Some(writer.head.clone())));
    writer.push(&store, device(1), &puts("a")).await.expect("the next one goes through");
}

#[tokio::test]
async fn an_unknown_commit_may_be_there() {
    let store = MemoryStore::new();
    let mut writer = Writer::acquire(&store, log(1)).await;
    store.faults().script(Target::Commit, Fault::Applied);
    assert!(matches!(writer.push(&store, device(1), &puts("a")).await, Err(CommitError::Unknown(_))));
    assert_eq!(store.read_head(log(1)).await, Ok(Some(writer.head)));
}

#[tokio::test]
async fn a_late_commit_applies_after_reads_that_did_not_see_it() {
    let store = MemoryStore::new();
    let mut writer = Writer::acquire(&store, log(1)).await;
    let before = writer.head.clone();
    store.faults().script(Target::Commit, Fault::Late);
    assert!(matches!(writer.push(&store, device(1), &puts("a")).await, Err(CommitError::Unknown(_))));
    for _ in 0..3 {
        assert_eq!(store.read_head(log(1)).await, Ok(Some(before.clone())), "a read resolves nothing");
    }
    assert_eq!(store.parked(), 1);
    store.unpark_one();
    assert_eq!(store.read_head(log(1)).await, Ok(Some(writer.head)));
}

#[tokio::test]
async fn resolving_by_a_read_alone_mixes_one_attempts_head_with_anothers_rows() {
    let store = MemoryStore::new();
    let origin = Writer::acquire(&store, log(1)).await;
    let (mut first, mut second) = (origin.clone(), origin.clone());
    store.faults().script(Target::Commit, Fault::Late);
    assert!(first.push(&store, device(1), &puts("first")).await.is_err());
    assert_eq!(store.read_head(log(1)).await, Ok(Some(origin.head)), "so it was not applied, thinks the careless owner");
    // It writes other bytes under the same epoch; the parked head arrives between its rows and its own.
    store.faults().script(Target::Commit, Fault::Lost);
    assert!(second.push(&store, device(2), &puts("second")).await.is_err());
    store.unpark_all();
    let head = store.read_head(log(1)).await.unwrap().unwrap();
    let pull = Pull { timeline: head.timeline, from: Seq::ZERO, to: head.seq, bytes_max: usize::MAX };
    let entries = store.pull(log(1), pull).await.unwrap().entries;
    assert!(head.dedup.contains_key(&device(1)));
    assert_eq!(entries, second.entries, "the first's head with the second's rows: what acquiring again prevents");
}

#[tokio::test]
async fn acquiring_again_settles_a_late_commit_for_good() {
    let store = MemoryStore::new();
    let mut writer = Writer::acquire(&store, log(1)).await;
    let before = writer.clone();
    store.faults().script(Target::Commit, Fault::Late);
    assert!(writer.push(&store, device(1), &puts("a")).await.is_err());
    let head = store.acquire(acquire(log(1), 1, 2)).await.unwrap();
    assert_eq!(head.seq, Seq::ZERO);
    store.unpark_all();
    assert_eq!(store.read_head(log(1)).await, Ok(Some(head.clone())), "its epoch has passed");
    let mut again = before;
    again.head = head;
    again.push(&store, device(1), &puts("a")).await.expect("written again under the new epoch");
    assert_eq!(store.row_hash(log(1), Seq(1)).await, Ok(Some(again.head.row)));
}

#[tokio::test]
async fn a_late_acquire_arrives_in_a_later_activation_only_below_its_epoch() {
    let store = MemoryStore::new();
    let writer = Writer::acquire(&store, log(1)).await;
    store.faults().script(Target::Acquire, Fault::Late);
    assert_eq!(store.acquire(acquire(log(1), 1, 2)).await, Err(AcquireError::InDoubt));
    assert_eq!(store.read_head(log(1)).await, Ok(Some(writer.head.clone())));
    let winner = store.acquire(acquire(log(1), 1, 3)).await.unwrap();
    store.unpark_all();
    assert_eq!(store.read_head(log(1)).await, Ok(Some(winner)), "that epoch was won by another");
    store.faults().script(Target::Acquire, Fault::Late);
    assert!(store.acquire(acquire(log(1), 2, 4)).await.is_err());
    let mut owner = Writer::for_log(log(1), &writer);
    owner.head = store.acquire(acquire(log(1), 1, 5)).await.unwrap();
    store.unpark_all();
    assert_eq!(owner.push(&store, device(1), &puts("a")).await, Err(CommitError::Fenced), "a later view's acquire arrived late");
}

#[tokio::test]
async fn full_and_unavailable_write_nothing() {
    let store = MemoryStore::new();
    let writer = Writer::acquire(&store, log(1)).await;
    let faults = store.faults();
    faults.script(Target::Commit, Fault::Full);
    assert!(matches!(writer.clone().push(&store, device(1), &puts("a")).await, Err(CommitError::Full { .. })));
    faults.script(Target::Commit, Fault::Unavailable);
    assert!(matches!(writer.clone().push(&store, device(1), &puts("a")).await, Err(CommitError::Unavailable(_))));
    faults.script(Target::Acquire, Fault::Full);
    assert_eq!(store.acquire(acquire(log(2), 1, 1)).await, Err(AcquireError::Full));
    faults.script(Target::Write, Fault::Full);
    let ada = account("ada@example.com", UserId([1; 16]));
    assert_eq!(store.create_account(ada.clone(), first("one")).await, Err(CreateAccountError::Write(WriteError::Full)));
    faults.set_reach(Reach::Down);
    assert_eq!(store.ping().await, Err(ReadError::Unavailable("a fault".into())));
    faults.set_reach(Reach::Up);
    assert_eq!(store.read_head(log(1)).await, Ok(Some(writer.head)));
    assert_eq!((store.read_head(log(2)).await, store.account(ada.user).await), (Ok(None), Ok(None)));
}

#[tokio::test]
async fn a_late_write_of_an_account_arrives_if_its_condition_still_holds() {
    let store = MemoryStore::new();
    let ada = account("ada@example.com", UserId([1; 16]));
    store.faults().script(Target::Write, Fault::Late);
    assert!(matches!(store.create_account(ada.clone(), first("late")).await, Err(CreateAccountError::Write(WriteError::Unknown(_)))));
    store.create_account(ada.clone(), first("two")).await.unwrap();
    store.unpark_all();
    assert_eq!(store.credentials(ada.user).await, Ok(Some(first("two"))));
}

#[tokio::test]
async fn credentials_of_a_commit_of_unknown_outcome_are_there_with_its_head_or_not_at_all() {
    for (fault, arrives) in [(Fault::Lost, false), (Fault::Applied, true), (Fault::Late, false)] {
        let store = MemoryStore::new();
        let ada = account("ada@example.com", UserId(log(1).0));
        store.create_account(ada.clone(), first("one")).await.unwrap();
        let mut writer = Writer::acquire(&store, log(1)).await;
        let before = writer.head.clone();
        let (entry, new) = writer.rotate(&[]);
        let commit = Commit { credentials: Some(new.clone()), ..writer.commit(vec![entry]) };
        store.faults().script(Target::Commit, fault);
        assert!(matches!(store.commit(commit).await, Err(CommitError::Unknown(_))));
        let seen = async || (store.read_head(log(1)).await.unwrap().unwrap(), store.credentials(ada.user).await.unwrap().unwrap());
        let (old, replaced) = ((before, first("one")), (writer.head.clone(), first("one").replaced_by(&new)));
        assert_eq!(seen().await, if arrives { replaced.clone() } else { old.clone() }, "{fault:?}");
        store.unpark_all();
        assert_eq!(seen().await, if arrives || fault == Fault::Late { replaced } else { old }, "{fault:?}, what was parked has arrived");
    }
}

/// An owner as the design has it: acquire, commit, and after *unknown* acquire again before looking.
async fn drive(seed: u64) -> (Vec<Seq>, usize) {
    let rates = Rates { lost: 100, late: 150, applied: 100, full: 20, unavailable: 30, unpark: 200 };
    let store: Arc<MemoryStore> = Arc::new(MemoryStore::with_faults(Faults::seeded(seed, rates)));
    let mut nonce = 0;
    let mut acquired = async |store: &MemoryStore| loop {
        nonce += 1;
        if let Ok(head) = store.acquire(acquire(log(1), 1, nonce)).await {
            return head;
        }
    };
    let mut settled = Writer::for_log(log(1), &Writer::acquire(&MemoryStore::new(), log(1)).await);
    settled.head = acquired(&store).await;
    let mut trace = Vec::new();
    for round in 0..60 {
        let mut attempt = settled.clone();
        let entry = attempt.batch(device(round % 3), &puts(&format!("{}", round % 7)));
        loop {
            match store.commit(attempt.commit(vec![entry.clone()])).await {
                Ok(()) => break,
                Err(CommitError::Full { .. } | CommitError::Unavailable(_)) => {}
                Err(CommitError::Unknown(_) | CommitError::Fenced) => {
                    let head = acquired(&store).await;
                    (attempt.head.epoch, attempt.head.owner) = (head.epoch, head.owner);
                    if head.commit == attempt.head.commit {
                        break;
                    }
                    assert_eq!(head.seq, settled.head.seq, "not applied, or ours");
                }
            }
        }
        settled = attempt;
        trace.push(settled.head.seq);
    }
    let parked = store.parked();
    store.faults().set_rates(Rates::default());
    store.unpark_all();
    settled.head = store.acquire(acquire(log(1), 1, u64::MAX)).await.unwrap();
    let pull = Pull { timeline: settled.head.timeline, from: Seq::ZERO, to: settled.head.seq, bytes_max: usize::MAX };
    assert_eq!(store.pull(log(1), pull).await.unwrap().entries, settled.entries, "every acknowledged entry, once, in order");
    (trace, parked)
}

#[tokio::test]
async fn the_designs_owner_loses_nothing_under_seeded_faults_and_a_seed_repeats_itself() {
    for seed in 0..60 {
        let once = drive(seed).await;
        assert_eq!(once, drive(seed).await, "seed {seed}");
    }
}

#[tokio::test]
async fn a_rewind_gives_what_was_saved_under_a_number_above_both() {
    let store = MemoryStore::new();
    let mut writer = Writer::acquire(&store, log(1)).await;
    let puts = [(key("notes", "a"), Write::Live(100))];
    writer.push(&store, device(1), &puts).await.unwrap();
    let saved = store.save();
    let head = writer.head.clone();
    writer.push(&store, device(1), &puts).await.unwrap();
    store.rewind(saved.clone());
    assert_eq!((store.rewinds(), store.read_head(log(1)).await), (1, Ok(Some(head))));
    assert_eq!(store.acquire(acquire(log(1), 1, 2)).await.unwrap().lineage, vec![(timeline(1), Seq(1)), (timeline(2), Seq(2))]);
    store.rewind(saved);
    assert_eq!(store.rewinds(), 2, "an older state does not take the number back");
    let again = store.acquire(acquire(log(1), 1, 3)).await.unwrap();
    assert_eq!((again.timeline, again.generation.0), (timeline(3), 2));
}
