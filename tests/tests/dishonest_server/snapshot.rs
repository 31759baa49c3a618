//! Rows of a snapshot, which come without statements, over a replica that has read the log and under one that has not.
//!
//! Never: more claimed of a device that starts from nothing than it can know.

use anyhow::{Context as _, ensure};
use cloudsync_client::keys::{DeviceKeys, Identity};
use cloudsync_protocol::entry::Row;
use cloudsync_protocol::{DeviceSeq, Frame, Hash, Operation, RecordId, Seq, ShortHash, Version};
use cloudsync_tests::dishonest::{DishonestServer, batches, forge, rows};
use cloudsync_tests::{Person, Wire};
use serde_json::json;

use crate::world::{World, shown};

const FROM_SNAPSHOT: [&str; 2] = ["sync", "--from-snapshot"];

/// `g1` has a version that `b` has not read, `g3` is new.
async fn with_news() -> anyhow::Result<World> {
    let world = World::start(Wire::Ws).await?;
    world.put("g1", "2")?;
    world.put("g3", "3")?;
    Ok(world)
}

/// The row of that record as it was last given by the node.
fn given(server: &DishonestServer, id: &str) -> anyhow::Result<Row> {
    let is_of = |row: &Row| row.envelope.check().is_ok_and(|header| header.record.as_str() == id);
    let pages = server.heard().into_iter().filter_map(|(_, frame)| if let Frame::SnapshotPage(page) = frame { Some(page) } else { None });
    pages.flat_map(|page| page.rows).filter(is_of).last().with_context(|| format!("{id} was never given"))
}

/// The row of that record.
fn row<'a>(rows: &'a mut [Row], id: &str) -> Option<&'a mut Row> {
    rows.iter_mut().find(|row| row.envelope.check().is_ok_and(|header| header.record.as_str() == id))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_version_in_a_snapshot_is_caught_by_a_replica_that_has_read_a_newer_one() -> anyhow::Result<()> {
    let world = World::start(Wire::Ws).await?;
    let old = given(&world.server, "g1")?;
    world.cheated.run("b", &["sync"])?.ended(0)?;
    world.put("g1", "2")?;
    world.sync()?.ended(0)?;
    world.cheated.run("b", &["put", "goal", "mine", "\"b's\"", "--offline"])?.ended(0)?;
    let read = world.read_to()?;
    for (seq, words) in [(old.seq, "does not follow version 2"), (read.next(), "does not follow version 2")] {
        let old = Row { seq, ..old.clone() };
        world.server.tells(move |frame| rows(frame, |rows| row(rows, "g1").into_iter().for_each(|row| *row = old.clone())));
        world.catches_by(&FROM_SNAPSHOT, "log_untrusted", words)?;
    }
    world.goes_on_by(&FROM_SNAPSHOT)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_was_read_and_is_left_out_of_a_snapshot_is_caught() -> anyhow::Result<()> {
    let world = with_news().await?;
    world
        .server
        .tells(|frame| rows(frame, |rows| rows.retain(|row| row.envelope.check().is_ok_and(|header| header.record.as_str() != "g2"))));
    world.catches_by(&FROM_SNAPSHOT, "log_untrusted", "is left out")?;
    // It says that it is complete, and is cut off.
    world.server.tells(|frame| rows(frame, |rows| rows.truncate(1)));
    world.catches_by(&FROM_SNAPSHOT, "log_untrusted", "is left out")?;
    world.server.tells(|frame| rows(frame, |rows| rows.reverse()));
    world.catches_by(&FROM_SNAPSHOT, "log_untrusted", "not in their order")?;
    world.goes_on_by(&FROM_SNAPSHOT)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_under_another_record_in_a_snapshot_takes_no_readable_ones_place() -> anyhow::Result<()> {
    let world = with_news().await?;
    world.server.tells(|frame| {
        rows(frame, |rows| {
            if let [one, _, other] = rows.as_mut_slice() {
                std::mem::swap(&mut one.envelope.body, &mut other.envelope.body);
            }
        });
    });
    world.catches_by(&FROM_SNAPSHOT, "log_untrusted", "does not open")?;
    world.goes_on_by(&FROM_SNAPSHOT)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrap_of_another_record_in_a_snapshot_takes_no_readable_ones_place() -> anyhow::Result<()> {
    let world = with_news().await?;
    world.server.tells(|frame| {
        rows(frame, |rows| {
            if let [one, _, other] = rows.as_mut_slice() {
                std::mem::swap(&mut one.envelope.wrap, &mut other.envelope.wrap);
            }
        });
    });
    world.catches_by(&FROM_SNAPSHOT, "log_untrusted", "does not open")?;
    world.goes_on_by(&FROM_SNAPSHOT)
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_another_account_or_of_a_lower_format_in_a_snapshot_are_caught() -> anyhow::Result<()> {
    let world = with_news().await?;
    let bob = Person::register(&world.node, Wire::Ws, "bob@example.com").await?;
    let key = cloudsync_tests::device::key("goal", "g3")?;
    let forged = forge::Forged { key: &key, version: Version(1), parent: Hash::default(), value: "9" };
    let of_bob = forge::version(&bob.keys, DeviceSeq(1), forged)?;
    world.server.tells(move |frame| rows(frame, |rows| row(rows, "g3").into_iter().for_each(|row| row.envelope = of_bob.clone())));
    world.catches_by(&FROM_SNAPSHOT, "log_untrusted", "of log")?;
    let lower = |row: &mut Row| forge::with_header(&mut row.envelope, |header| header.suite = 0).expect("a header");
    world.server.tells(move |frame| rows(frame, |rows| row(rows, "g3").into_iter().for_each(lower)));
    world.catches_by(&FROM_SNAPSHOT, "log_untrusted", "suite 0")?;
    world.goes_on_by(&FROM_SNAPSHOT)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_of_before_or_of_another_history_is_caught() -> anyhow::Result<()> {
    let world = World::start(Wire::Ws).await?;
    world.server.tells(|frame| {
        if let Frame::SnapshotPage(page) = frame {
            page.start.seq = Seq(page.start.seq.0 - 1);
        }
    });
    world.catches_by(&FROM_SNAPSHOT, "store_rewound", "the snapshot is of")?;
    world.server.tells(|frame| {
        if let Frame::SnapshotPage(page) = frame {
            page.start.row = ShortHash([7; 8]);
        }
    });
    world.catches_by(&FROM_SNAPSHOT, "store_rewound", "another row")?;
    world.goes_on_by(&FROM_SNAPSHOT)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_roster_with_a_foreign_device_or_without_one_that_was_read_is_caught_in_a_snapshot() -> anyhow::Result<()> {
    let world = with_news().await?;
    let ghost = forge::enrolment(&world.keys("b")?, &Identity::first(), &DeviceKeys::random())?;
    world.server.tells(move |frame| {
        if let Frame::SnapshotPage(page) = frame
            && !page.roster.is_empty()
        {
            page.roster.push(forge::roster_row(page.start.seq, ghost.clone()));
        }
    });
    world.catches_by(&FROM_SNAPSHOT, "log_untrusted", "signature")?;
    world.server.tells(|frame| {
        if let Frame::SnapshotPage(page) = frame {
            page.roster.pop();
        }
    });
    world.catches_by(&FROM_SNAPSHOT, "log_untrusted", "another row stands at")?;
    world.goes_on_by(&FROM_SNAPSHOT)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_starts_from_nothing_shows_what_does_not_open_as_damaged_and_takes_the_honest_row_later() -> anyhow::Result<()> {
    let tricks: [fn(&mut Row); 3] = [
        |row| row.envelope.body = row.envelope.body.iter().rev().copied().collect::<Vec<u8>>().into(),
        |row| row.envelope.wrap = [row.envelope.wrap.get(..8).unwrap_or_default(), &[7; 60]].concat().into(),
        |row| forge::with_header(&mut row.envelope, |header| header.record = RecordId::new("g1x").expect("an id")).expect("a header"),
    ];
    let world = World::start(Wire::Ws).await?;
    for (profile, trick) in ["c", "d", "e"].into_iter().zip(tricks) {
        world.log_in(profile)?;
        world.server.tells(move |frame| rows(frame, |rows| row(rows, "g1").into_iter().for_each(trick)));
        world.cheated.run(profile, &["sync"])?.ended(0)?;
        ensure!(world.cheated.status(profile)?["damaged"] == json!(1));
        world.server.behave();
        world.cheated.run(profile, &FROM_SNAPSHOT)?.ended(0)?;
        ensure!(world.cheated.status(profile)?["damaged"] == json!(0), "{profile}");
        ensure!(shown(&world.cheated, profile)? == shown(&world.honest, "a")?, "{profile}");
        let checked = world.cheated.run(profile, &["status", "--check", "--json"])?;
        ensure!(checked.code == Some(0), "{profile}: {checked:?}");
    }
    world.goes_on()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_shows_as_damaged_is_no_leave_to_go_back_to_an_older_version() -> anyhow::Result<()> {
    let world = World::without_edit(Wire::Ws).await?;
    let old = given(&world.server, "g1")?;
    world.put("g1", "2")?;
    world.server.tells(|frame| {
        batches(frame, |batch| {
            if let Some(Operation::Put(put)) = batch.operations.first_mut() {
                put.envelope.wrap = [put.envelope.wrap.get(..8).unwrap_or_default(), &[7; 60]].concat().into();
            }
        });
    });
    world.sync()?.ended(0)?;
    ensure!(world.cheated.status("b")?["damaged"] == json!(1));
    let at = world.read_to()?;
    for seq in [old.seq, at, at.next()] {
        let old = Row { seq, ..old.clone() };
        world.server.tells(move |frame| rows(frame, |rows| row(rows, "g1").into_iter().for_each(|row| *row = old.clone())));
        let ran = world.cheated.run("b", &["sync", "--from-snapshot", "--json"])?.ended(4)?;
        ensure!(ran.error_code()? == "log_untrusted", "{seq}: {ran:?}");
    }
    world.goes_on_by(&FROM_SNAPSHOT)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_hidden_or_old_is_found_by_a_check() -> anyhow::Result<()> {
    let world = World::start(Wire::Ws).await?;
    let old = given(&world.server, "g1")?;
    world.put("g1", "2")?;
    world.sync()?.ended(0)?;
    world.server.tells(move |frame| {
        rows(frame, |rows| {
            rows.retain(|row| row.envelope.check().is_ok_and(|header| header.record.as_str() != "g2"));
            row(rows, "g1").into_iter().for_each(|row| *row = old.clone());
        });
    });
    let ran = world.cheated.run("b", &["status", "--check", "--json"])?.ended(6)?;
    ensure!(ran.error_code()? == "replica_differs", "{ran:?}");
    let differences = ran.last()?["check"]["differences"].as_array().context("differences")?.clone();
    let found: Vec<_> = differences.iter().map(|found| (&found["id"], &found["difference"])).collect();
    ensure!(found == [(&json!("g1"), &json!("other")), (&json!("g2"), &json!("extra"))], "{found:?}");
    world.goes_on()
}

/// Not claimed: of what it has not seen, a device that starts from nothing can't know that it is old, or that there is more.
#[tokio::test(flavor = "multi_thread")]
async fn not_claimed_a_device_that_starts_from_nothing_believes_old_versions_until_the_next_one() -> anyhow::Result<()> {
    let world = World::start(Wire::Ws).await?;
    let old = given(&world.server, "g1")?;
    world.put("g1", "2")?;
    world.log_in("c")?;
    world.server.tells(move |frame| {
        rows(frame, |rows| {
            rows.retain(|row| row.envelope.check().is_ok_and(|header| header.record.as_str() != "g2"));
            row(rows, "g1").into_iter().for_each(|row| *row = old.clone());
        });
    });
    world.cheated.run("c", &["sync"])?.ended(0)?;
    ensure!(shown(&world.cheated, "c")? == [("g1".to_owned(), json!(1))], "what is withheld is not missed");
    world.server.behave();
    let ran = world.cheated.run("c", &["status", "--check", "--json"])?.ended(6)?;
    ensure!(ran.error_code()? == "replica_differs", "a check tells them apart: {ran:?}");
    // The next version does not follow the one that was shown.
    world.put("g1", "3")?;
    let ran = world.cheated.run("c", &["sync", "--json"])?.ended(4)?;
    ensure!(ran.error_code()? == "log_untrusted" && ran.stderr.contains("version 3 of goal/g1 does not follow version 1"), "{ran:?}");
    // Which of the two histories is the account's this device can't know: another profile starts anew.
    world.log_in("d")?;
    world.cheated.run("d", &["sync"])?.ended(0)?;
    ensure!(shown(&world.cheated, "d")? == shown(&world.honest, "a")?);
    world.goes_on()
}
