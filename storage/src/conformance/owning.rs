//! Acquiring: epochs, views, nonces.
//!
//! Never: a commit's own rules; those are in `commits`.

use cloudsync_protocol::{Epoch, Seq, View};

use super::Factory;
use super::data::{Write, Writer, acquire, device, key, log, owner, timeline};
use crate::store::{AcquireError, CommitError};

pub async fn acquiring_creates_the_head_and_wins_a_higher_epoch_each_time(factory: &mut dyn Factory) {
    let store = factory.fresh().await;
    assert_eq!(store.read_head(log(1)).await, Ok(None));
    let first = store.acquire(acquire(log(1), 1, 1)).await.expect("free");
    assert_eq!((first.epoch, first.owner, first.seq), (Epoch(1 << 24), owner(1), Seq::ZERO));
    assert_eq!((first.timeline, first.lineage.clone()), (timeline(1), vec![(timeline(1), Seq(1))]));
    assert_eq!(store.read_head(log(1)).await, Ok(Some(first.clone())));
    let second = store.acquire(acquire(log(1), 1, 2)).await.expect("of the same view");
    assert_eq!((second.epoch, second.owner, second.timeline), (Epoch((1 << 24) + 1), owner(2), timeline(1)));
    let store = factory.reopen(store).await;
    assert_eq!(store.read_head(log(1)).await, Ok(Some(second.clone())));
    let third = store.acquire(acquire(log(1), 1, 3)).await.expect("of the same view");
    assert_eq!(third.epoch, second.epoch.next(), "an epoch is won once, also across a restart");
}

pub async fn a_later_view_is_not_taken_from_and_views_lift_the_epoch(factory: &mut dyn Factory) {
    let store = factory.fresh().await;
    let seven = store.acquire(acquire(log(1), 7, 1)).await.expect("free");
    assert_eq!(seven.epoch, Epoch(7 << 24));
    assert_eq!(store.acquire(acquire(log(1), 6, 2)).await, Err(AcquireError::LaterView(View(7))));
    assert_eq!(store.read_head(log(1)).await, Ok(Some(seven)), "a refused acquire changes nothing");
    let nine = store.acquire(acquire(log(1), 9, 3)).await.expect("of a later view");
    assert_eq!(nine.epoch, Epoch(9 << 24));
}

pub async fn acquires_at_once_win_different_epochs(factory: &mut dyn Factory) {
    let store = factory.fresh().await;
    let tasks: Vec<_> = (1..=20)
        .map(|number| {
            let store = store.clone();
            tokio::spawn(async move { store.acquire(acquire(log(1), 1, number)).await })
        })
        .collect();
    let mut epochs = Vec::new();
    for task in tasks {
        match task.await.expect("no panic") {
            Ok(head) => epochs.push(head.epoch),
            Err(error) => assert_eq!(error, AcquireError::InDoubt, "the only other answer to a race"),
        }
    }
    let newest = store.read_head(log(1)).await.expect("readable").expect("acquired").epoch;
    epochs.sort_unstable();
    assert_eq!(epochs.last(), Some(&newest));
    epochs.windows(2).for_each(|pair| assert!(pair[0] < pair[1], "won twice: {}", pair[0]));
}

pub async fn an_acquire_fences_the_owner_before(factory: &mut dyn Factory) {
    let store = factory.fresh().await;
    let mut old = Writer::acquire(&*store, log(1)).await;
    let puts = [(key("notes", "a"), Write::Live(100))];
    old.push(&*store, device(1), &puts).await.expect("the owner");
    let taken = store.acquire(acquire(log(1), 1, 2)).await.expect("free");
    assert_eq!((taken.seq, taken.commit), (Seq(1), old.head.commit), "the head comes with what the owner before did");
    assert_eq!(old.push(&*store, device(1), &puts).await, Err(CommitError::Fenced));
    assert_eq!(store.read_head(log(1)).await, Ok(Some(taken)), "a fenced commit leaves nothing");
}
