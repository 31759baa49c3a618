//! Devices that nobody of the account enrolled.
//!
//! Never: the identity's signature by anybody who was not a device once.

use cloudsync_client::keys::{DeviceKeys, Identity, KeyFile};
use cloudsync_protocol::{DeviceSeq, Entry, Frame, Hash, Seq, Version};
use cloudsync_tests::Wire;
use cloudsync_tests::command_line::PASSWORD;
use cloudsync_tests::dishonest::forge;

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

/// Adds entries behind the last one of each page.
fn more(frame: &mut Frame, entries: impl Fn(Seq) -> anyhow::Result<Vec<Entry>>) {
    let Frame::Page(page) = frame else { return };
    let next = page.entries.last().map_or(page.from, Entry::last).next();
    page.entries.extend(entries(next).expect("what has keys can be made"));
    page.to = page.entries.last().map_or(page.to, Entry::last);
}

/// A version of a record that is new, pushed as the first of a device.
fn first_push(keys: &KeyFile, seq: Seq) -> anyhow::Result<Entry> {
    let key = cloudsync_tests::device::key("goal", "ghost")?;
    let number = DeviceSeq(1);
    let forged = forge::Forged { key: &key, version: Version(1), parent: Hash::default(), value: "\"a ghost's\"" };
    forge::batch(keys, seq, (number, Hash::default()), vec![forge::version(keys, number, forged)?])
}

/// `c` was a device of the account, and is revoked.
async fn with_a_revoked_device() -> anyhow::Result<(World, KeyFile)> {
    let world = World::start(Wire::Ws).await?;
    world.log_in("c")?;
    let revoked = world.keys("c")?;
    world.honest.revoke("a", ("c", PASSWORD))?.ended(0)?;
    Ok((world, revoked))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_revoked_device_signs_is_caught() -> anyhow::Result<()> {
    let (world, revoked) = with_a_revoked_device().await?;
    world.server.tells(move |frame| more(frame, |next| Ok(vec![first_push(&revoked, next)?])));
    world.catches("log_untrusted", "was not enrolled")?;
    world.goes_on()
}
