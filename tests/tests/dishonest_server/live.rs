//! What is told while a `watch` is live: events that are not what was signed, out of order, repeated, late or never.
//!
//! Never: a page of the log changed; a gap is filled by an honest one.

use anyhow::{Context as _, ensure};
use cloudsync_protocol::frame::Event;
use cloudsync_protocol::{Entry, Frame, Operation, Seq};
use cloudsync_tests::dishonest::{Way, batches, pages};
use cloudsync_tests::{Watching, Wire};

use crate::world::{World, shown};

/// A live watch of `b`.
async fn watched() -> anyhow::Result<(World, Watching)> {
    let world = World::without_edit(Wire::Ws).await?;
    let watch = world.cheated.watch("b")?;
    Ok((world, watch))
}

/// The watch ends so, and nothing that `b` had is gone; a new one tells what came meanwhile.
fn is_caught(world: &World, watch: Watching, (code, exit, words): (&str, i32, &str)) -> anyhow::Result<()> {
    let ran = watch.ended()?;
    ensure!(ran.error_code()? == code && ran.stderr.contains(words), "`{code}`, `{words}`: {ran:?}");
    ran.ended(exit)?;
    let kept = shown(&world.cheated, "b")?;
    ensure!(kept.iter().filter(|(id, _)| id == "g1" || id == "g2").count() == 2, "{kept:?}");
    world.goes_on()
}

/// The ids of what is told next.
fn told(watch: &Watching, count: usize) -> anyhow::Result<Vec<String>> {
    (0..count).map(|_| Ok(watch.change()?["id"].as_str().context("an id")?.to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_another_body_is_caught_while_watching() -> anyhow::Result<()> {
    let (world, watch) = watched().await?;
    world.server.tells(|frame| {
        batches(frame, |batch| {
            if let Some(Operation::Put(put)) = batch.operations.first_mut() {
                put.envelope.body = put.envelope.body.iter().rev().copied().collect::<Vec<u8>>().into();
            }
        });
    });
    world.put("g3", "3")?;
    is_caught(&world, watch, ("log_untrusted", 4, "hashes are not those of the operations"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_comes_again_as_the_newest_is_caught() -> anyhow::Result<()> {
    let (world, watch) = watched().await?;
    world.put("g1", "\"new\"")?;
    ensure!(told(&watch, 1)? == ["g1"]);
    let event = world.server.heard().into_iter().find_map(|(_, frame)| if let Frame::Event(event) = frame { Some(event) } else { None });
    let event = event.context("an event")?;
    // As it was it says nothing new.
    ensure!(world.server.says(event.clone()) > 0);
    let mut again = Event { from: event.to, to: event.to.next(), ..event };
    if let [Entry::Batch(batch)] = again.entries.as_mut_slice() {
        batch.first = again.to;
    }
    world.server.says(again);
    is_caught(&world, watch, ("log_untrusted", 4, "does not follow the device's batch"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_whose_rows_are_not_what_it_covers_is_caught() -> anyhow::Result<()> {
    let (world, watch) = watched().await?;
    world.server.tells(|frame| pages(frame, Vec::clear));
    world.put("g3", "3")?;
    is_caught(&world, watch, ("protocol", 1, "was announced"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_withheld_is_read_when_a_later_one_comes() -> anyhow::Result<()> {
    let (world, watch) = watched().await?;
    world.server.withholds(|frame| matches!(frame, Frame::Event(_) | Frame::HeadAt(_)));
    world.server.forget();
    world.put("g3", "3")?;
    world.server.hears(|frame| matches!(frame, Frame::Event(_))).await?;
    world.server.behave();
    world.put("g4", "4")?;
    ensure!(told(&watch, 2)? == ["g3", "g4"]);
    watch.end("INT")?;
    world.goes_on()
}

#[tokio::test(flavor = "multi_thread")]
async fn events_in_another_order_and_more_than_once_are_told_once_and_in_order() -> anyhow::Result<()> {
    let (world, watch) = watched().await?;
    let mut held: Option<Frame> = None;
    world.server.does(move |way, frame| match (way, frame) {
        (Way::ToClient, frame @ Frame::Event(_)) if held.is_none() => {
            held = Some(frame);
            Vec::new()
        }
        (Way::ToClient, frame @ Frame::Event(_)) => {
            let late = held.take().into_iter();
            [frame.clone(), frame].into_iter().chain(late).map(|frame| (Way::ToClient, frame)).collect()
        }
        other => vec![other],
    });
    for id in ["g3", "g4", "g5", "g6"] {
        world.put(id, "1")?;
    }
    ensure!(told(&watch, 4)? == ["g3", "g4", "g5", "g6"]);
    world.server.behave();
    world.put("g7", "1")?;
    ensure!(told(&watch, 1)? == ["g7"], "nothing was told twice");
    watch.end("INT")?;
    world.goes_on()
}

/// Not claimed: a server that says nothing at all is believed that there is nothing.
#[tokio::test(flavor = "multi_thread")]
async fn not_claimed_what_is_withheld_altogether_is_not_missed_and_comes_once_the_server_is_honest() -> anyhow::Result<()> {
    let (world, watch) = watched().await?;
    let head = world.read_to()?;
    world.server.tells(move |frame| {
        if let Frame::Attached(attached) = frame {
            attached.head = head;
        }
    });
    world.put("g3", "3")?;
    ensure!(told(&watch, 1)? == ["g3"], "the open session is not the one that is lied to");
    watch.end("INT")?;
    let read = world.read_to()?;
    world.server.tells(move |frame| {
        if let Frame::Attached(attached) = frame {
            attached.head = read;
        }
    });
    world.put("g4", "4")?;
    world.sync()?.ended(0)?;
    ensure!(!shown(&world.cheated, "b")?.iter().any(|(id, _)| id == "g4") && world.read_to()? == read);
    ensure!(read > Seq::ZERO);
    world.goes_on()
}
