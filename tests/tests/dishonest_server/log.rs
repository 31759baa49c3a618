//! What stands in a page of the log is not what its devices signed, or not all of it.
//!
//! Never: a key of the account's.

use cloudsync_protocol::entry::Batch;
use cloudsync_protocol::envelope::SUITE_AES_256_GCM;
use cloudsync_protocol::statement::BatchStatement;
use cloudsync_protocol::{CollectionName, DeviceSeq, Entry, Envelope, Frame, Hash, Header, Operation, RecordId, Seq, Version, codec};
use cloudsync_tests::dishonest::{Way, batches, forge, pages};
use cloudsync_tests::{Person, Wire};

use serde_json::json;

use crate::world::{World, shown};

/// The versions that a batch writes.
fn envelopes(batch: &mut Batch) -> Vec<&mut Envelope> {
    let puts = batch.operations.iter_mut().filter_map(|operation| match operation {
        Operation::Put(put) => Some(&mut put.envelope),
        _ => None,
    });
    puts.collect()
}

/// `a` wrote two records by one push that `b` has still to read.
async fn with_a_batch(wire: Wire) -> anyhow::Result<World> {
    let world = World::start(wire).await?;
    world.put_together(&[("g3", "3"), ("g4", "4")])?;
    Ok(world)
}

/// The server does that to the batch, and `b` refuses it.
fn is_no_batch(world: &World, trick: impl Fn(&mut Batch) + Send + 'static, words: &str) -> anyhow::Result<()> {
    world.server.tells(move |frame| batches(frame, &trick));
    world.catches("log_untrusted", words)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_under_another_record_is_caught_on_every_wire() -> anyhow::Result<()> {
    for wire in [Wire::Ws, Wire::Wss] {
        let world = with_a_batch(wire).await?;
        let swap = |batch: &mut Batch| {
            if let [one, other] = envelopes(batch).as_mut_slice() {
                std::mem::swap(&mut one.body, &mut other.body);
            }
        };
        is_no_batch(&world, swap, "hashes are not those of the operations")?;
        world.goes_on()?;
    }
    Ok(())
}

fn headers(change: impl Fn(&mut Header)) -> impl Fn(&mut Batch) {
    move |batch| {
        for envelope in envelopes(batch) {
            forge::with_header(envelope, &change).expect("a batch of the log has headers");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_under_another_id_or_collection_or_a_version_under_another_number_is_caught() -> anyhow::Result<()> {
    let world = with_a_batch(Wire::Ws).await?;
    let words = "hashes are not those of the operations";
    is_no_batch(&world, headers(|header| header.record = RecordId::new("another").expect("an id")), words)?;
    is_no_batch(&world, headers(|header| header.collection = CollectionName::new("note").expect("a name")), words)?;
    is_no_batch(&world, headers(|header| header.version = header.version.next()), words)?;
    world.goes_on()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_format_or_a_suite_that_is_lower_is_caught() -> anyhow::Result<()> {
    let world = with_a_batch(Wire::Ws).await?;
    let words = "hashes are not those of the operations";
    is_no_batch(&world, headers(|header| header.format = 0), words)?;
    is_no_batch(&world, headers(|header| header.suite = SUITE_AES_256_GCM - 1), words)?;
    let lower = |batch: &mut Batch| {
        let mut statement: BatchStatement = codec::decode(&batch.signed.statement).expect("a statement");
        statement.format = 0;
        batch.signed.statement = codec::encode(&statement).into();
    };
    is_no_batch(&world, lower, "format 0")?;
    world.goes_on()
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_in_another_order_or_one_that_is_left_out_are_caught() -> anyhow::Result<()> {
    let world = with_a_batch(Wire::Ws).await?;
    is_no_batch(&world, |batch| batch.operations.reverse(), "hashes are not those of the operations")?;
    world.server.tells(|frame| {
        if let Frame::Page(page) = frame {
            page.to = Seq(page.to.0 - 1);
        }
        batches(frame, |batch| drop(batch.operations.pop()));
    });
    world.catches("log_untrusted", "batch ")?;
    world.goes_on()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_with_the_statement_of_another_device_is_caught() -> anyhow::Result<()> {
    let world = World::start(Wire::Ws).await?;
    world.honest.sign_in("c", ("login", crate::world::ADA, cloudsync_tests::command_line::PASSWORD), &[])?.ended(0)?;
    world.put("g3", "3")?;
    world.honest.run("c", &["put", "goal", "g4", "4"])?.ended(0)?;
    world.server.tells(|frame| {
        pages(frame, |entries| {
            let mut signed = entries.iter_mut().filter_map(|entry| match entry {
                Entry::Batch(batch) => Some(&mut batch.signed),
                Entry::Roster(_) => None,
            });
            if let (Some(one), Some(other)) = (signed.next(), signed.next()) {
                std::mem::swap(one, other);
            }
        });
    });
    world.catches("log_untrusted", "batch ")?;
    world.goes_on()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_batch_given_as_the_newest_is_caught() -> anyhow::Result<()> {
    let world = World::start(Wire::Ws).await?;
    world.put("g1", "\"old\"")?;
    world.sync()?.ended(0)?;
    world.cheated.run("b", &["put", "goal", "mine", "\"b's\"", "--offline"])?.ended(0)?;
    let heard = world.server.heard();
    let old = heard.into_iter().rev().find_map(|(way, frame)| match (way, frame) {
        (Way::ToClient, Frame::Page(page)) => page.entries.into_iter().find(|entry| matches!(entry, Entry::Batch(_))),
        _ => None,
    });
    let Some(Entry::Batch(old)) = old else { anyhow::bail!("no batch was read") };
    world.put("g1", "\"new\"")?;
    world.sync()?.ended(0)?;
    world.cheated.run("b", &["put", "goal", "mine", "\"b's\"", "--offline"])?.ended(0)?;
    world.put("g3", "3")?;
    world.server.tells(move |frame| {
        if let Frame::Page(page) = frame {
            page.to = page.to.next();
        }
        pages(frame, |entries| {
            let next = entries.last().map_or(Seq::ZERO, Entry::last).next();
            entries.push(Entry::Batch(Batch { first: next, ..old.clone() }));
        });
    });
    world.catches("log_untrusted", "does not follow the device's batch")?;
    world.goes_on()
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_another_account_are_caught() -> anyhow::Result<()> {
    let world = World::start(Wire::Ws).await?;
    world.put("g3", "3")?;
    let bob = Person::register(&world.node, Wire::Ws, "bob@example.com").await?;
    let key = cloudsync_tests::device::key("goal", "g9")?;
    let forged = forge::Forged { key: &key, version: Version(1), parent: Hash::default(), value: "9" };
    let number = DeviceSeq(1);
    let version = forge::version(&bob.keys, number, forged)?;
    let Entry::Batch(of_bob) = forge::batch(&bob.keys, Seq(1), (number, Hash::default()), vec![version])? else { anyhow::bail!("a batch") };
    world.server.tells(move |frame| batches(frame, |batch| *batch = Batch { first: batch.first, ..of_bob.clone() }));
    world.catches("log_untrusted", "log")?;
    world.goes_on()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrap_of_another_account_key_is_caught() -> anyhow::Result<()> {
    let world = with_a_batch(Wire::Ws).await?;
    for epoch in [0, 2] {
        let with_epoch = move |batch: &mut Batch| {
            for envelope in envelopes(batch) {
                envelope.wrap = [&u64::to_be_bytes(epoch), envelope.wrap.get(8..).unwrap_or_default()].concat().into();
            }
        };
        is_no_batch(&world, with_epoch, &format!("account key {epoch}"))?;
    }
    world.goes_on()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_is_cut_off_or_has_a_hole_or_repeats_or_mixes_its_numbers_is_caught() -> anyhow::Result<()> {
    let tricks: [fn(&mut Vec<Entry>); 6] = [
        |entries| drop(entries.pop()),
        |entries| entries.clear(),
        |entries| drop(entries.remove(0)),
        |entries| drop(entries.remove(1)),
        |entries| entries.extend(entries.first().cloned()),
        |entries| entries.reverse(),
    ];
    let world = World::start(Wire::Ws).await?;
    for id in ["g3", "g4", "g5"] {
        world.put(id, "1")?;
    }
    for trick in tricks {
        world.server.tells(move |frame| pages(frame, trick));
        world.catches("protocol", "not whole")?;
        assert!(!shown(&world.cheated, "b")?.iter().any(|(id, _)| id == "g3"), "nothing of such a page is taken");
    }
    world.goes_on()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_says_less_than_was_asked_for_is_asked_on_from_there() -> anyhow::Result<()> {
    let world = World::start(Wire::Ws).await?;
    for id in ["g3", "g4", "g5"] {
        world.put(id, "1")?;
    }
    world.server.tells(|frame| {
        if let Frame::Page(page) = frame {
            page.entries.truncate(1);
            (page.to, page.head) = page.entries.last().map_or((page.from, page.from), |entry| (entry.last(), entry.last()));
        }
    });
    world.sync()?.ended(0)?;
    let asked = world.server.heard().into_iter().filter(|(_, frame)| matches!(frame, Frame::Pull(_))).count();
    assert!(asked >= 3, "{asked}");
    world.goes_on()
}

/// A wrap is not in what a device signs, since a rotation renews it: its device might have spoiled it, and stops nobody by that.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrap_of_another_record_shows_the_record_as_damaged_and_a_snapshot_heals_it() -> anyhow::Result<()> {
    let world = World::without_edit(Wire::Ws).await?;
    world.put_together(&[("g1", "2"), ("g3", "3")])?;
    world.server.tells(|frame| {
        batches(frame, |batch| {
            if let [one, other] = envelopes(batch).as_mut_slice() {
                std::mem::swap(&mut one.wrap, &mut other.wrap);
            }
        });
    });
    world.sync()?.ended(0)?;
    assert_eq!(world.cheated.status("b")?["damaged"], json!(2));
    let ran = world.cheated.run("b", &["get", "goal", "g1", "--json"])?;
    assert_eq!(ran.last()?["damaged"], json!(true), "{ran:?}");
    world.goes_on_by(&["sync", "--from-snapshot"])
}
