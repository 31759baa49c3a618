//! Devices that nobody of the account enrolled.
//!
//! Never: the identity's signature by anybody who was not a device once.

use cloudsync_client::keys::{DeviceKeys, Identity};
use cloudsync_protocol::Entry;
use cloudsync_tests::Wire;
use cloudsync_tests::dishonest::forge;

use crate::revoked::{first_push, more, with_a_revoked_device};
use crate::world::{World, shown};

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_another_identity_enrols_is_caught_in_the_log() -> anyhow::Result<()> {
    let world = World::start(Wire::Ws).await?;
    world.put("g3", "3")?;
    let change = forge::enrolment(&world.keys("b")?, &Identity::first(), &DeviceKeys::random())?;
    world.server.tells(move |frame| more(frame, |next| Ok(vec![Entry::Roster(forge::roster_row(next, change.clone()))])));
    world.catches("log_untrusted", "signature")?;
    // What came before it in the page was the log's.
    assert!(shown(&world.cheated, "b")?.iter().any(|(id, _)| id == "g3"));
    world.goes_on()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_revoked_device_signs_is_caught() -> anyhow::Result<()> {
    let (world, revoked) = with_a_revoked_device().await?;
    world.server.tells(move |frame| more(frame, |next| Ok(vec![first_push(&revoked, next)?])));
    world.catches("log_untrusted", "was not enrolled")?;
    world.goes_on()
}
