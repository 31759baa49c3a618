//! How much of a log one page gives: the real bound, at it and past it.

use cloudsync_protocol::frame::{OWN_LOG, Page, Pull};
use cloudsync_protocol::limits::PAGE_BYTES;
use cloudsync_protocol::{Cursor, Entry, Frame, Seq};

use super::client::Client;
use super::world::World;
use crate::Options;

const BODY_BYTES: usize = 60_000;

async fn page(client: &mut Client, from: Cursor) -> Page {
    let request = client.request();
    client.send(Pull { request, log: OWN_LOG, from, to: Seq(u64::MAX) });
    match client.answer(request).await {
        Frame::Page(page) => page,
        other => panic!("no page: {other:?}"),
    }
}

/// One batch of these records.
async fn push(client: &mut Client, records: &[&str], body_bytes: usize) -> Seq {
    let push = client.batch_of(records, body_bytes);
    let request = push.request;
    client.send(push);
    let frame = client.answer(request).await;
    client.pushed(&frame)
}

fn bytes(page: &Page) -> usize {
    page.entries.iter().map(Entry::bytes).sum()
}

/// A log whose entries up to the returned position hold `PAGE_BYTES` less `short` bytes, and another batch after it.
async fn filled(short: usize) -> (Client, Seq) {
    let world = World::start(Options::default()).await;
    let phone = world.enrol(1).await;
    let mut client = world.pusher(&phone).await;
    for record in ["a", "b", "c", "d"] {
        push(&mut client, &[record], BODY_BYTES).await;
    }
    let page = page(&mut client, Cursor::default()).await;
    let beside_the_body = page.entries.last().unwrap().bytes() - BODY_BYTES;
    let to = push(&mut client, &["e"], PAGE_BYTES - bytes(&page) - beside_the_body - short).await;
    push(&mut client, &["f", "g", "h"], BODY_BYTES).await;
    (client, to)
}

#[tokio::test(start_paused = true)]
async fn a_page_ends_with_the_batch_that_fills_it_to_the_byte() {
    let (mut client, to) = filled(0).await;
    let first = page(&mut client, Cursor::default()).await;
    assert_eq!((first.to, bytes(&first)), (to, PAGE_BYTES));
    let row = first.entries.last().unwrap().last_hash().short();
    let next = page(&mut client, Cursor { timeline: first.timeline, seq: to, row }).await;
    assert_eq!((next.from, next.to, next.entries.len()), (to, first.head, 1), "the next page goes on from there");
}

#[tokio::test(start_paused = true)]
async fn a_page_that_lacks_one_byte_takes_the_next_batch_whole() {
    let (mut client, to) = filled(1).await;
    let first = page(&mut client, Cursor::default()).await;
    assert_eq!((first.to, first.to), (Seq(to.0 + 3), first.head), "all three operations of the batch that passes the bound");
    assert!(bytes(&first) > PAGE_BYTES + 3 * BODY_BYTES);
}
