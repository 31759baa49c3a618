//! Accounts with their first credentials, refresh families.
//!
//! Never: who may ask; that is decided above.

use bytes::Bytes;
use cloudsync_protocol::statement::PublicKey;
use cloudsync_protocol::{DeviceId, FamilyId, UserId};

use super::Factory;
use super::data::device;
use crate::store::{Account, CreateAccountError, Credentials, Family};

/// An account of that address.
#[must_use]
pub fn account(email: &str, user: UserId) -> Account {
    Account { email: email.into(), user, created_ts: 1_700_000_000_000 }
}

/// What a fresh account is opened by, with that keyring.
#[must_use]
pub fn first(keyring: &str) -> Credentials {
    let opaque_record = Bytes::from(vec![9; 192]);
    Credentials { version: 1, opaque_record, recovery: PublicKey([8; 32]), keyring: keyring.to_owned().into() }
}

/// A fresh family.
#[must_use]
pub fn family(number: u8, user: UserId, device: DeviceId) -> Family {
    Family { id: FamilyId([number; 16]), user, device, signing: PublicKey([7; 32]), number: 1, expires_ts: 5_000, revoked: false }
}

const ADA: UserId = UserId([1; 16]);
const BOB: UserId = UserId([2; 16]);

pub async fn address_and_user_are_both_unique(factory: &mut dyn Factory) {
    let store = factory.fresh().await;
    let ada = account("ada@example.com", ADA);
    store.create_account(ada.clone(), first("one")).await.expect("free");
    store.create_account(ada.clone(), first("two")).await.expect("the very same again is no error");
    assert_eq!(store.credentials(ADA).await, Ok(Some(first("one"))), "and changes nothing");
    let same_email = account("ada@example.com", BOB);
    assert_eq!(store.create_account(same_email, first("one")).await, Err(CreateAccountError::EmailTaken));
    assert_eq!((store.account(BOB).await, store.credentials(BOB).await), (Ok(None), Ok(None)), "all or nothing");
    let same_user = account("bob@example.com", ADA);
    assert_eq!(store.create_account(same_user, first("one")).await, Err(CreateAccountError::UserTaken));
    let other_record = Credentials { opaque_record: Bytes::from_static(b"other"), ..first("one") };
    assert_eq!(store.create_account(ada.clone(), other_record).await, Err(CreateAccountError::EmailTaken));
    let other_code = Credentials { recovery: PublicKey([9; 32]), ..first("one") };
    assert_eq!(store.create_account(ada.clone(), other_code).await, Err(CreateAccountError::EmailTaken));
    let store = factory.reopen(store).await;
    assert_eq!(store.account_by_email("ada@example.com").await, Ok(Some(ada)));
    let tasks: Vec<_> = (10..20)
        .map(|number| {
            let store = store.clone();
            tokio::spawn(async move { store.create_account(account("eve@example.com", UserId([number; 16])), first("one")).await })
        })
        .collect();
    let mut created = 0;
    for task in tasks {
        match task.await.expect("no panic") {
            Ok(()) => created += 1,
            Err(error) => assert_eq!(error, CreateAccountError::EmailTaken),
        }
    }
    assert_eq!(created, 1);
}

pub async fn an_account_is_found_by_address_and_by_user(factory: &mut dyn Factory) {
    let store = factory.fresh().await;
    let (ada, bob) = (account("ada@example.com", ADA), account("bob@example.com", BOB));
    store.create_account(ada.clone(), first("one")).await.expect("free");
    store.create_account(bob.clone(), first("two")).await.expect("free");
    let store = factory.reopen(store).await;
    assert_eq!(store.account_by_email("bob@example.com").await, Ok(Some(bob)));
    assert_eq!(store.account(ADA).await, Ok(Some(ada)));
    assert_eq!((store.credentials(ADA).await, store.credentials(BOB).await), (Ok(Some(first("one"))), Ok(Some(first("two")))));
    assert_eq!(store.account_by_email("bob@example.co").await, Ok(None));
    assert_eq!(store.account(UserId([3; 16])).await, Ok(None));
}

pub async fn a_family_advances_past_a_number_that_it_did_not_pass_until_it_is_revoked(factory: &mut dyn Factory) {
    let store = factory.fresh().await;
    let id = FamilyId([1; 16]);
    assert_eq!(store.family(id).await, Ok(None));
    assert_eq!(store.advance_family(id, 1, 9_000).await, Ok(false));
    let new = family(1, ADA, device(1));
    store.create_family(new.clone()).await.expect("new");
    assert_eq!(store.advance_family(id, 1, 8_000).await, Ok(true));
    assert_eq!(store.advance_family(id, 1, 9_500).await, Ok(false));
    assert_eq!(store.advance_family(id, 6, 9_000).await, Ok(true), "given before the store went back");
    assert_eq!(store.advance_family(id, 6, 9_500).await, Ok(false));
    store.create_family(new.clone()).await.expect("a repeated creation");
    let store = factory.reopen(store).await;
    let advanced = Family { number: 7, expires_ts: 9_000, ..new };
    assert_eq!(store.family(id).await, Ok(Some(advanced.clone())), "a repeated creation turns nothing back");
    store.revoke_family(id).await.expect("revoked");
    store.revoke_family(id).await.expect("repeatable");
    store.revoke_family(FamilyId([99; 16])).await.expect("also what never was");
    let store = factory.reopen(store).await;
    for number in [7, 20] {
        assert_eq!(store.advance_family(id, number, 10_000).await, Ok(false));
    }
    assert_eq!(store.family(id).await, Ok(Some(Family { revoked: true, ..advanced })));
}

pub async fn revoking_a_devices_families_spares_the_others(factory: &mut dyn Factory) {
    let store = factory.fresh().await;
    for (number, user, of) in [(1, ADA, device(1)), (2, ADA, device(1)), (3, ADA, device(2)), (4, BOB, device(1))] {
        store.create_family(family(number, user, of)).await.expect("new");
    }
    store.revoke_families(ADA, device(1)).await.expect("revoked");
    store.revoke_families(ADA, device(1)).await.expect("repeatable");
    let store = factory.reopen(store).await;
    for (number, revoked) in [(1, true), (2, true), (3, false), (4, false)] {
        let family = store.family(FamilyId([number; 16])).await.expect("readable").expect("created");
        assert_eq!(family.revoked, revoked, "family {number}");
    }
}
