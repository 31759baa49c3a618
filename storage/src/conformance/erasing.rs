//! Erasing: for ever, all of it, nothing else.
//!
//! Never: an erased log that comes back.

use cloudsync_protocol::{FamilyId, Seq, TimelineId, UserId};

use super::Factory;
use super::accounts::{account, family, first};
use super::commits::pull_all;
use super::data::{Write, Writer, acquire, device, key, log};
use crate::store::{AcquireError, CommitError, CreateAccountError, History, Pull, PullError};

pub async fn an_erased_log_is_gone_for_ever_with_its_user(factory: &mut dyn Factory) {
    let mut store = factory.fresh().await;
    let user = UserId(log(1).0);
    let ada = account("ada@example.com", user);
    store.create_account(ada.clone(), first("keyring")).await.expect("free");
    store.create_family(family(1, user, device(1))).await.expect("new");
    let mut writer = Writer::acquire(&*store, log(1)).await;
    let enrol = writer.enrol(device(1));
    let batch = writer.batch(device(1), &[(key("notes", "a"), Write::Live(92))]);
    store.commit(writer.commit(vec![enrol, batch])).await.expect("the owner");
    for round in 0..3 {
        store.erase(log(1)).await.expect("repeatable");
        assert_eq!(store.read_head(log(1)).await, Ok(None), "round {round}");
        assert_eq!(store.acquire(acquire(log(1), 9, 5)).await, Err(AcquireError::Erased));
        assert_eq!(writer.clone().push(&*store, device(1), &[(key("notes", "b"), Write::Live(92))]).await, Err(CommitError::Fenced));
        assert_eq!(store.roster(log(1)).await, Ok(Vec::new()));
        assert_eq!(store.look_up(log(1), vec![key("notes", "a")]).await, Ok(vec![None]));
        assert_eq!(store.row_hash(log(1), Seq(2)).await, Ok(None));
        let history = History { record: key("notes", "a"), before: None, count: 5, bytes_max: 1000 };
        assert_eq!(store.history(log(1), history).await, Ok((Vec::new(), false)));
        let pull = Pull { timeline: writer.head.timeline, from: Seq::ZERO, to: Seq(2), bytes_max: 1000 };
        assert_eq!(store.pull(log(1), pull).await, Err(PullError::Timeline(TimelineId::default())));
        assert_eq!(store.snapshot(log(1), None, 1000).await.map(|page| page.rows.len() + page.roster.len()), Ok(0));
        assert_eq!(store.account_by_email("ada@example.com").await, Ok(None));
        assert_eq!(store.account(user).await, Ok(None));
        assert_eq!(store.credentials(user).await, Ok(None));
        assert_eq!(store.family(FamilyId([1; 16])).await, Ok(None));
        if round == 1 {
            store = factory.reopen(store).await;
        }
    }
    assert_eq!(store.create_account(ada, first("keyring")).await, Err(CreateAccountError::UserTaken), "ids are never reused");
    store.create_family(family(2, user, device(1))).await.expect("taken, and dropped");
    assert_eq!(store.family(FamilyId([2; 16])).await, Ok(None));
    let again = account("ada@example.com", UserId(log(2).0));
    store.create_account(again, first("keyring")).await.expect("the address is free again");
    store.erase(log(3)).await.expect("also what never was");
    assert_eq!(store.acquire(acquire(log(3), 1, 1)).await, Err(AcquireError::Erased));
}

pub async fn an_erase_takes_all_of_a_large_log_and_leaves_the_others(factory: &mut dyn Factory) {
    let store = factory.fresh().await;
    let mut others = [Writer::acquire(&*store, log(1)).await, Writer::acquire(&*store, log(3)).await];
    let mut large = Writer::acquire(&*store, log(2)).await;
    for other in &mut others {
        other.push(&*store, device(1), &[(key("notes", "a"), Write::Live(92))]).await.expect("the owner");
    }
    for round in 0..3 {
        let puts: Vec<_> = (0..1000).map(|number| (key("notes", &format!("{}", round * 700 + number)), Write::Live(92))).collect();
        large.push(&*store, device(1), &puts).await.expect("the owner");
    }
    let erase = {
        let store = store.clone();
        tokio::spawn(async move { store.erase(log(2)).await })
    };
    for other in &mut others {
        other.push(&*store, device(1), &[(key("notes", "b"), Write::Live(92))]).await.expect("meanwhile, others write");
    }
    erase.await.expect("no panic").expect("erased");
    assert_eq!(store.read_head(log(2)).await, Ok(None));
    assert_eq!(store.row_hash(log(2), Seq(2999)).await, Ok(None));
    let store = factory.reopen(store).await;
    for other in &others {
        assert_eq!(store.read_head(other.log()).await, Ok(Some(other.head.clone())));
        assert_eq!(pull_all(&*store, other, 1).await, other.entries);
    }
}
