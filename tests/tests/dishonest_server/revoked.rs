//! A device that was revoked, and what it and its server make together.
//!
//! Never: a claim.

use cloudsync_client::keys::KeyFile;
use cloudsync_protocol::{DeviceSeq, Entry, Frame, Hash, Seq, Version};
use cloudsync_tests::Wire;
use cloudsync_tests::command_line::PASSWORD;
use cloudsync_tests::dishonest::forge;

use crate::world::World;

/// `c` was a device of the account, with these keys, and is revoked; `b` has not read of it, and has an edit that waits.
pub(crate) async fn with_a_revoked_device() -> anyhow::Result<(World, KeyFile)> {
    let world = World::start(Wire::Ws).await?;
    world.log_in("c")?;
    let revoked = world.keys("c")?;
    world.honest.revoke("a", ("c", PASSWORD))?.ended(0)?;
    Ok((world, revoked))
}

/// Adds entries behind the last one of each page.
pub(crate) fn more(frame: &mut Frame, entries: impl Fn(Seq) -> anyhow::Result<Vec<Entry>>) {
    let Frame::Page(page) = frame else { return };
    let next = page.entries.last().map_or(page.from, Entry::last).next();
    page.entries.extend(entries(next).expect("what has keys can be made"));
    page.to = page.entries.last().map_or(page.to, Entry::last);
}

/// A version of a new record, pushed as the first of a device.
pub(crate) fn first_push(keys: &KeyFile, seq: Seq) -> anyhow::Result<Entry> {
    let key = cloudsync_tests::device::key("goal", "ghost")?;
    let forged = forge::Forged { key: &key, version: Version(1), parent: Hash::default(), value: "\"a ghost's\"" };
    forge::batch(keys, seq, (DeviceSeq(1), Hash::default()), vec![forge::version(keys, DeviceSeq(1), forged)?])
}
