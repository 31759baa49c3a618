//! A store that gave up acknowledged history: new timelines, once a log.
//!
//! Never: what is lost; a rewound store of the suite still holds everything.

use cloudsync_protocol::entry::Origin;
use cloudsync_protocol::{Epoch, Generation, Seq, UserId, View};

use super::Factory;
use super::accounts::{account, family, first};
use super::commits::pull_all;
use super::data::{Write, Writer, acquire, device, key, log, owner, timeline};
use crate::store::{AcquireError, CommitError, History, Pull, PullError, view_after};

pub async fn the_first_acquire_after_a_rewind_opens_a_new_timeline_and_a_second_one_does_not(factory: &mut dyn Factory) {
    let store = factory.fresh().await;
    assert_eq!(store.rewinds(), 0);
    let mut writer = Writer::acquire(&*store, log(1)).await;
    let puts = [(key("notes", "a"), Write::Live(100))];
    writer.push(&*store, device(1), &puts).await.expect("the owner");
    let store = factory.rewound(store).await;
    assert_eq!(store.rewinds(), 1);
    let first = store.acquire(acquire(log(1), 1, 2)).await.expect("there");
    assert_eq!((first.timeline, first.generation, first.seq), (timeline(2), Generation(1), Seq(1)));
    assert_eq!(first.lineage, vec![(timeline(1), Seq(1)), (timeline(2), Seq(2))]);
    assert_eq!((first.owner, first.epoch, first.figures), (owner(2), writer.head.epoch.next(), writer.head.figures));
    let pull = Pull { timeline: timeline(1), from: Seq::ZERO, to: Seq(1), bytes_max: 1000 };
    let page = store.pull(log(1), pull).await.expect("what was read by the old one goes on");
    assert_eq!((page.entries, page.lineage), (writer.entries.clone(), first.lineage.clone()));
    let elsewhere = Pull { timeline: timeline(7), ..pull };
    assert_eq!(store.pull(log(1), elsewhere).await, Err(PullError::Timeline(timeline(2))), "whoever reads by a lost one is told");
    let second = store.acquire(acquire(log(1), 1, 3)).await.expect("there");
    assert_eq!((second.timeline, second.generation, &second.lineage), (timeline(2), Generation(1), &first.lineage));
    writer.head = second;
    writer.push(&*store, device(1), &puts).await.expect("the owner");
    let store = factory.reopen(store).await;
    assert_eq!(store.rewinds(), 1, "a restart is none");
    assert_eq!(store.read_head(log(1)).await, Ok(Some(writer.head.clone())));
    let third = store.acquire(acquire(log(1), 1, 4)).await.expect("there");
    assert_eq!((third.timeline, third.generation), (timeline(2), Generation(1)));
    assert_eq!(pull_all(&*store, &writer, 1).await, writer.entries);
}

pub async fn several_rewinds_open_one_timeline_and_count_all(factory: &mut dyn Factory) {
    let store = factory.fresh().await;
    Writer::acquire(&*store, log(1)).await;
    let store = factory.rewound(store).await;
    let store = factory.rewound(store).await;
    assert_eq!(store.rewinds(), 2);
    let head = store.acquire(acquire(log(1), 1, 2)).await.expect("there");
    assert_eq!(head.generation, Generation(2));
    assert_eq!(head.lineage, vec![(timeline(1), Seq(1)), (timeline(2), Seq(1))], "an empty segment is one too");
}

pub async fn a_log_that_is_new_after_a_rewind_has_one_timeline(factory: &mut dyn Factory) {
    let store = factory.fresh().await;
    let store = factory.rewound(store).await;
    let first = store.acquire(acquire(log(1), 1, 1)).await.expect("free");
    assert_eq!((first.generation, first.lineage), (Generation(0), vec![(timeline(1), Seq(1))]));
    let second = store.acquire(acquire(log(1), 1, 2)).await.expect("there");
    assert_eq!((second.timeline, second.generation), (timeline(1), Generation(0)));
}

pub async fn a_rewind_leaves_accounts_and_erased_logs_as_they_are(factory: &mut dyn Factory) {
    let store = factory.fresh().await;
    let ada = account("ada@example.com", UserId(log(1).0));
    store.create_account(ada.clone(), first("keyring")).await.expect("free");
    store.create_family(family(1, ada.user, device(1))).await.expect("new");
    store.erase(log(2)).await.expect("erased");
    let store = factory.rewound(store).await;
    assert_eq!(store.account(ada.user).await, Ok(Some(ada.clone())));
    assert_eq!(store.family(family(1, ada.user, device(1)).id).await, Ok(Some(family(1, ada.user, device(1)))));
    assert_eq!(store.acquire(acquire(log(2), 9, 1)).await, Err(AcquireError::Erased));
}

pub async fn the_view_after_a_rewind_fences_every_owner_before_it(factory: &mut dyn Factory) {
    let store = factory.fresh().await;
    let mut old = Writer::acquire(&*store, log(1)).await;
    let store = factory.rewound(store).await;
    let view = view_after(store.rewinds());
    assert_eq!((view_after(0), view), (View(1), View(1 + (1 << 20))));
    let head = store.acquire(acquire(log(1), view.0, 2)).await.expect("of a later view");
    assert_eq!(head.epoch, Epoch(view.0 << 24));
    assert_eq!(store.acquire(acquire(log(1), 1, 3)).await, Err(AcquireError::LaterView(view)), "a node that did not notice");
    let late = old.push(&*store, device(1), &[(key("notes", "a"), Write::Live(100))]).await;
    assert_eq!(late, Err(CommitError::Fenced));
}

pub async fn what_is_brought_back_says_where_it_was_first_committed_in_every_read(factory: &mut dyn Factory) {
    let store = factory.fresh().await;
    let mut writer = Writer::acquire(&*store, log(1)).await;
    let record = key("notes", "a");
    writer.push(&*store, device(1), &[(record.clone(), Write::Live(100))]).await.expect("the owner");
    let store = factory.rewound(store).await;
    writer.head = store.acquire(acquire(log(1), 1, 2)).await.expect("there");
    let origin = Origin { timeline: timeline(9), seq: Seq(5) };
    let entry = writer.adopting(device(1), (record.clone(), Write::Live(200)), origin);
    let commit = writer.commit(vec![entry]);
    store.commit(commit).await.expect("the owner");
    let store = factory.reopen(store).await;
    let found = store.look_up(log(1), vec![record.clone()]).await.expect("readable");
    assert_eq!(found, vec![Some(writer.current[&record])]);
    assert!(found[0].is_some_and(|current| current.adopted));
    let snapshot = store.snapshot(log(1), None, usize::MAX).await.expect("readable");
    assert_eq!(snapshot.rows.iter().map(|row| row.origin).collect::<Vec<_>>(), vec![Some(origin)]);
    let history = History { record, before: None, count: 10, bytes_max: usize::MAX };
    let (rows, _) = store.history(log(1), history).await.expect("readable");
    assert_eq!(rows.iter().map(|row| row.origin).collect::<Vec<_>>(), vec![Some(origin), None]);
    assert_eq!(pull_all(&*store, &writer, 1).await, writer.entries);
    assert_eq!(store.read_head(log(1)).await, Ok(Some(writer.head)));
}
