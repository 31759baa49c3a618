//! W9: bytes on the wire for a change of 120 B that is delivered to one other device.
//!
//! Never: the SDK's own, or several changes that share a frame; each is pushed and delivered alone.

use std::time::Duration;

use anyhow::{Context as _, bail};
use cloudsync_protocol::Frame;

use super::Effort;
use super::closed::push;
use super::cores::Cores;
use super::counted::Traffic;
use super::fixture::{Fixture, now_ms};
use super::pushes::{Lengths, Pusher};
use super::report::{Figure, Section, Table, Unit};
use super::seat::{Dialler, Seat};
use crate::node::Wire;

/// 120 B of content are padded to 128 B, with nonce and tag (`docs/crypto.md`).
const BODY_BYTES: usize = 12 + 128 + 16;
const CHANGES: u32 = 200;
/// For what is acknowledged late.
const SETTLE: Duration = Duration::from_millis(100);

async fn heard(seat: &mut Seat) -> anyhow::Result<()> {
    loop {
        match seat.frame().await? {
            Frame::Event(_) => return Ok(()),
            Frame::HeadAt(_) => {}
            other => bail!("an event was due, there came {other:?}"),
        }
    }
}

/// For each change: of the device that pushes, and of the one that is told.
async fn carrier(effort: &Effort, cores: Cores, wire: Wire) -> anyhow::Result<[Traffic; 2]> {
    let folder = effort.folder.join(wire.scheme());
    std::fs::create_dir(&folder)?;
    let fixture = Fixture::new(&folder, cores).await?;
    let member = fixture.members(1, 2).await?.pop().context("a member")?;
    let (node, mint) = fixture.start().await?;
    let dialler = Dialler::new(&node.server(wire)?, wire)?;
    let [first, second, ..] = &*member.devices else { bail!("two devices") };
    let token = |device| mint.token((member.user, device), now_ms()?, 1);
    let mut near = dialler.open(first, &token(first.id)?).await?;
    let mut far = dialler.open(second, &token(second.id)?).await?;
    near.attach().await?;
    near.claim().await?;
    far.attach().await?;
    let mut pusher = Pusher::new(member.user.into(), first.id, BODY_BYTES)?;
    tokio::time::sleep(SETTLE).await;
    let before = [near.traffic(), far.traffic()];
    for _ in 0..CHANGES {
        let frame = pusher.create(near.request(), now_ms()?)?.frame();
        push(&mut near, &frame).await?;
        heard(&mut far).await?;
    }
    tokio::time::sleep(SETTLE).await;
    let [near_before, far_before] = before;
    Ok([near.traffic().since(near_before), far.traffic().since(far_before)])
}

/// Measures.
pub async fn run(effort: Effort, cores: Cores) -> anyhow::Result<Section> {
    let lengths = Lengths::of(BODY_BYTES)?;
    let mut table = Table::new(&["carrier", "push", "answer and echo", "**delivered**", "told back", "all"]);
    for wire in Wire::ALL {
        let [near, far] = carrier(&effort, cores, wire).await?;
        let parts = [near.sent, near.received, far.received, far.sent];
        let each = |bytes: u64| Figure::of(Unit::Bytes, [bytes as f64 / f64::from(CHANGES)]).into();
        let cells = parts.into_iter().chain([parts.iter().sum()]).map(each);
        table.rows.push(std::iter::once(wire.scheme().to_uppercase().into()).chain(cells).collect());
        super::told(&format!("W9 {}: {parts:?} B for {CHANGES} changes", wire.scheme()));
    }
    Ok(Section {
        id: "W9".into(),
        title: "bytes on the wire for a delivered change of 120 B".into(),
        method: format!(
            "One user, two devices; {CHANGES} new records of 120 B of content, each pushed alone and heard by the other device before the next. Of \
             WebSockets: what TCP carries, with TLS where there is TLS, without the heads of its packets (40 to 52 B each, both ways). Of QUIC: \
             whole UDP payloads, acknowledgements too. *Told back* is what the device that is told sends meanwhile. Once, not in rounds."
        ),
        tables: vec![table],
        aims: Vec::new(),
        sentences: vec![format!(
            "The floor: the envelope (header, body, wrap) has {} B, of which {BODY_BYTES} B are the padded and sealed body; the entry as it is logged, \
             with its statement and signature, {} B.",
            lengths.envelope, lengths.entry
        )],
    })
}
