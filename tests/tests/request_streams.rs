//! Clients that ask on QUIC streams of their own and don't read what they are answered there: the node keeps for each no more
//! than a session's credit allows, and what it keeps is not lost when the session ends in order.
//!
//! Never: a client that reads nothing at all, or too slowly; those are `slow_readers` and `too_slow`. Nor a second thread: what
//! came in one packet is read before the first of it is answered, so that each stream has as many answers to wait for it.

#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a test fails where it stands")]

use std::ops::RangeInclusive;
use std::time::Duration;

use anyhow::{Context as _, bail};
use cloudsync_protocol::frame::{Claim, OWN_LOG};
use cloudsync_protocol::limits::UNANSWERED_REQUESTS_MAX;
use cloudsync_protocol::{ErrorCode, Frame, codec};
use cloudsync_tests::raw::read_frame;
use cloudsync_tests::{Person, RawClient, Received, TestNode, Wire};
use quinn::{RecvStream, SendStream, TransportConfig, VarInt};

/// Less than any answer takes: its stream is stuck with it until it is read.
const WINDOW_BYTES: u32 = 16;
const LENGTH_BYTES: usize = 4;
/// Requests on each of four streams: with one answer of each on its way, 32 wait.
const BURST: u32 = 9;
const _: () = assert!((4 * (BURST - 1)) as usize == UNANSWERED_REQUESTS_MAX);

async fn within<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::time::timeout(Duration::from_secs(20), work).await.context("not in time")?
}

/// A node, and a session of which no stream takes a whole answer that isn't read.
async fn session() -> anyhow::Result<(TestNode, RawClient)> {
    let node = TestNode::start_with(|config| config.patience.close_timeout = Duration::from_secs(10)).await?;
    let ada = Person::register(&node, Wire::Quic, "ada@example.com").await?;
    let mut transport = TransportConfig::default();
    transport.stream_receive_window(VarInt::from_u32(WINDOW_BYTES));
    let mut client = RawClient::connect_quic(&node.server(Wire::Quic)?, transport).await?;
    client.hello(&ada.keys.device, &ada.tokens.access_token).await?;
    match client.frame().await? {
        Frame::Welcome(_) => Ok((node, client)),
        other => bail!("a welcome was due, there came {}", other.name()),
    }
}

/// Claims as often, in one packet: the node has all of them before it can be stuck with an answer.
async fn claim(stream: &mut SendStream, requests: RangeInclusive<u32>) -> anyhow::Result<()> {
    let mut bytes = Vec::new();
    for request in requests {
        let frame = codec::encode(&Frame::from(Claim { request, log: OWN_LOG }));
        bytes.extend(u32::try_from(frame.len())?.to_be_bytes());
        bytes.extend(frame);
    }
    Ok(stream.write_all(&bytes).await?)
}

/// What a claim on the control stream is answered with.
async fn claim_aside(client: &mut RawClient, request: u32) -> anyhow::Result<Frame> {
    client.send(Claim { request, log: OWN_LOG }).await?;
    match client.next().await? {
        Received::Frame(frame) => match *frame {
            Frame::Failure(failure) if failure.request == 0 => bail!("ended: {failure:?}"),
            frame => Ok(frame),
        },
        other => bail!("unexpected: {other:?}"),
    }
}

fn is_refused(answer: &Frame) -> bool {
    matches!(answer, Frame::Failure(failure) if failure.code == ErrorCode::TooManyRequests)
}

/// A stream whose first answer has begun, and to which the client's window lets no more of it through.
async fn stuck(client: &mut RawClient, requests: RangeInclusive<u32>) -> anyhow::Result<(SendStream, RecvStream)> {
    let (mut send, mut receive) = client.quic()?.open_bi().await?;
    claim(&mut send, requests).await?;
    within(async { Ok(receive.read_exact(&mut [0; LENGTH_BYTES]).await?) }).await?;
    Ok((send, receive))
}

/// The answer that a stuck stream had begun.
async fn begun(receive: &mut RecvStream) -> anyhow::Result<Frame> {
    let mut bytes = Vec::new();
    loop {
        let mut byte = [0];
        within(async { Ok(receive.read_exact(&mut byte).await?) }).await?;
        bytes.extend(byte);
        if let Ok(frame) = codec::decode(&bytes) {
            return Ok(frame);
        }
    }
}

#[tokio::test]
async fn answers_that_wait_for_a_request_stream_hold_their_credit_until_it_is_read() -> anyhow::Result<()> {
    let (_node, mut client) = session().await?;
    let mut streams = Vec::new();
    for number in 0..4 {
        assert!(!is_refused(&claim_aside(&mut client, 1000 + number).await?));
        streams.push(stuck(&mut client, number * BURST + 1..=(number + 1) * BURST).await?);
    }
    assert!(is_refused(&claim_aside(&mut client, 2000).await?));
    for (_, receive) in &mut streams {
        begun(receive).await?;
        for _ in 1..BURST {
            within(read_frame(receive)).await?.context("an answer")?;
        }
    }
    assert!(matches!(claim_aside(&mut client, 3000).await?, Frame::Claimed(_)));
    Ok(())
}

#[tokio::test]
async fn answers_that_wait_for_a_request_stream_are_written_before_an_orderly_end() -> anyhow::Result<()> {
    let (_node, mut client) = session().await?;
    let (_send, mut receive) = stuck(&mut client, 1..=3).await?;
    // Once this is answered, all before it are.
    assert!(matches!(claim_aside(&mut client, 1000).await?, Frame::Claimed(_)));
    client.finish()?;
    assert!(matches!(begun(&mut receive).await?, Frame::Claimed(claimed) if claimed.request == 1));
    for request in 2..=3 {
        match within(read_frame(&mut receive)).await? {
            Some(Frame::Claimed(claimed)) => assert_eq!(claimed.request, request),
            other => bail!("answer {request} was due, there came {other:?}"),
        }
    }
    assert!(within(read_frame(&mut receive)).await?.is_none(), "the stream ends after its last answer");
    Ok(())
}
