//! Connections that take their time: each ends within its deadline, whatever it is waiting for.
//!
//! Never: a deadline checked by sleeping; the test waits for the close and looks at the clock.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test names what it expects and fails where it stands"
)]

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use cloudsync_client::carrier::trust::{Pin, Trust};
use cloudsync_client::connection::Server;
use cloudsync_client::statement::refresh_proof;
use cloudsync_node::config::StoreSource;
use cloudsync_protocol::frame::{LoginStart, Pong, Refresh};
use cloudsync_protocol::limits::HELLO_TIMEOUT;
use cloudsync_protocol::{ErrorCode, Frame, Hash};
use cloudsync_storage::MemoryStore;
use cloudsync_tests::raw::over_tls;
use cloudsync_tests::{Person, RawClient, Received, TestNode, Wire};
use quinn::{TransportConfig, VarInt};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};

type Tested = anyhow::Result<()>;

/// Of a node's: what one connection may send as a head.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// The same: how many requests it takes, one after the other.
const HTTP_REQUESTS_MAX: usize = 1000;
/// What a busy machine may add.
const SLACK: Duration = Duration::from_secs(4);

/// A QUIC client that allows the node one stream and none for events.
async fn without_event_stream(node: &TestNode) -> anyhow::Result<RawClient> {
    let mut transport = TransportConfig::default();
    transport.max_concurrent_uni_streams(VarInt::from_u32(0));
    RawClient::connect_quic(&node.server(Wire::Quic)?, transport).await
}

fn in_time(begun: Instant) {
    let elapsed = begun.elapsed();
    assert!(elapsed >= HELLO_TIMEOUT - Duration::from_millis(500), "closed too soon, after {elapsed:?}");
    assert!(elapsed <= HELLO_TIMEOUT + SLACK, "closed too late, after {elapsed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_says_nothing_is_told_why_it_is_closed() -> Tested {
    let node = TestNode::start_in_memory().await?;
    let silent = Wire::ALL.map(|wire| {
        let node = &node;
        async move {
            let mut client = RawClient::connect(node, wire).await?;
            client.challenge().await?;
            let begun = Instant::now();
            let (failure, close) = client.failure().await?;
            in_time(begun);
            assert_eq!(failure.code, ErrorCode::HelloTimeout);
            let code = if wire == Wire::Quic { 3 } else { 1008 };
            assert_eq!(close, Received::Closed { code, reason: "hello_timeout".to_owned() });
            anyhow::Ok(())
        }
    });
    for done in futures_util::future::join_all(silent).await {
        done?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_hello_does_not_gain_time() -> Tested {
    let node = TestNode::start_in_memory().await?;
    let mut client = RawClient::connect(&node, Wire::Quic).await?;
    client.challenge().await?;
    let begun = Instant::now();
    client.send_unframed(&[0, 0, 1, 0, 0x92]).await?;
    let (failure, _) = client.failure().await?;
    in_time(begun);
    assert!([ErrorCode::HelloTimeout, ErrorCode::FrameTooSlow].contains(&failure.code), "{}", failure.code);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_account_call_does_not_gain_time() -> Tested {
    let node = TestNode::start_in_memory().await?;
    let mut client = RawClient::connect(&node, Wire::Ws).await?;
    client.challenge().await?;
    let begun = Instant::now();
    client.send(LoginStart { request: 1, email: "a@b.example".to_owned(), message: vec![1].into() }).await?;
    client.frame().await?;
    let (failure, _) = client.failure().await?;
    in_time(begun);
    assert_eq!(failure.code, ErrorCode::HelloTimeout);
    Ok(())
}

async fn closes(mut stream: impl AsyncRead + AsyncWrite + Unpin, sent: &[u8]) -> Tested {
    stream.write_all(sent).await?;
    stream.flush().await?;
    let begun = Instant::now();
    let mut rest = Vec::new();
    // A reset is a close as well.
    let _ = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut rest)).await?;
    in_time(begun);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unfinished_tls_handshake_is_closed() -> Tested {
    let node = TestNode::start_in_memory().await?;
    let address = node.address(Wire::Wss)?;
    let nothing = closes(TcpStream::connect(address).await?, b"");
    // The head of a TLS record that does not follow.
    let half = closes(TcpStream::connect(address).await?, &[22, 3, 1, 2, 0, 1, 0]);
    let (nothing, half) = tokio::join!(nothing, half);
    nothing.and(half)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unfinished_http_head_is_closed() -> Tested {
    let node = TestNode::start_in_memory().await?;
    let (plain, tls) = (node.address(Wire::Ws)?, node.address(Wire::Wss)?);
    let head = b"GET /v1/sync HTTP/1.1\r\nhost: here\r\n";
    let nothing = closes(TcpStream::connect(plain).await?, b"");
    let half = closes(TcpStream::connect(plain).await?, head);
    let nothing_in_tls = closes(over_tls(TcpStream::connect(tls).await?, node.pin().0).await?, b"");
    let half_in_tls = closes(over_tls(TcpStream::connect(tls).await?, node.pin().0).await?, head);
    let (nothing, half, nothing_in_tls, half_in_tls) = tokio::join!(nothing, half, nothing_in_tls, half_in_tls);
    nothing.and(half).and(nothing_in_tls).and(half_in_tls)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_of_http_is_taken_up_to_its_bound_and_refused_past_it() -> Tested {
    let node = TestNode::start_in_memory().await?;
    for (bytes, status) in [(HEAD_BYTES_MAX, "200"), (HEAD_BYTES_MAX + 1, "431")] {
        let mut stream = TcpStream::connect(node.address(Wire::Ws)?).await?;
        let (head, end) = ("GET /healthz HTTP/1.1\r\nhost: here\r\nconnection: close\r\nx: ", "\r\n\r\n");
        let head = format!("{head}{}{end}", "x".repeat(bytes - head.len() - end.len()));
        assert_eq!(head.len(), bytes);
        stream.write_all(head.as_bytes()).await?;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await?;
        assert_eq!(answer, *format!("HTTP/1.1 {status}").as_bytes(), "{bytes} B");
    }
    Ok(())
}

/// What is answered to so many requests on one connection, until as many answers are there or the node closes.
async fn ask_http(stream: &mut TcpStream, requests: usize) -> anyhow::Result<String> {
    stream.write_all(&b"GET /healthz HTTP/1.1\r\nhost: here\r\n\r\n".repeat(requests)).await?;
    let mut answers = String::new();
    while answers.matches("ok\n").count() < requests {
        let mut bytes = [0; 4096];
        match stream.read(&mut bytes).await? {
            0 => break,
            read => answers.push_str(std::str::from_utf8(&bytes[..read])?),
        }
    }
    Ok(answers)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_takes_http_requests_up_to_a_bound_and_is_closed_after_the_last() -> Tested {
    let node = TestNode::start_in_memory().await?;
    let mut stream = TcpStream::connect(node.address(Wire::Ws)?).await?;
    let before = ask_http(&mut stream, HTTP_REQUESTS_MAX - 1).await?;
    assert!(before.matches("200 OK").count() == HTTP_REQUESTS_MAX - 1 && !before.contains("connection: close"));
    let last = ask_http(&mut stream, 1).await?;
    assert!(last.contains("200 OK") && last.contains("connection: close"), "{last}");
    assert_eq!(stream.read(&mut [0]).await?, 0);
    let mut stream = TcpStream::connect(node.address(Wire::Ws)?).await?;
    let all = ask_http(&mut stream, HTTP_REQUESTS_MAX + 1).await?;
    assert_eq!(all.matches("200 OK").count(), HTTP_REQUESTS_MAX, "one more is not answered");
    Ok(())
}

/// Asks, and asks on, and reads nothing, until the node takes no more.
async fn asks_and_never_reads(node: &TestNode, mut stream: impl AsyncRead + AsyncWrite + Unpin) -> Tested {
    let requests = b"GET /.well-known/jwks.json HTTP/1.1\r\nhost: here\r\n\r\n".repeat(100);
    while let Ok(written) = tokio::time::timeout(Duration::from_secs(2), stream.write_all(&requests)).await {
        written?;
    }
    let begun = Instant::now();
    while RawClient::connect(node, Wire::Ws).await.is_err() {
        assert!(begun.elapsed() < HELLO_TIMEOUT + SLACK, "it keeps its place");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http_client_that_takes_no_answer_loses_its_place() -> Tested {
    for wire in [Wire::Ws, Wire::Wss] {
        let node = TestNode::start_with(|config| config.connections_max = 1).await?;
        let stream = TcpStream::connect(node.address(wire)?).await?;
        if wire == Wire::Ws {
            asks_and_never_reads(&node, stream).await?;
        } else {
            asks_and_never_reads(&node, over_tls(stream, node.pin().0).await?).await?;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn account_calls_that_are_answered_gain_time_only_up_to_a_bound() -> Tested {
    const ALL_CALLS: Duration = Duration::from_secs(3);
    let node = TestNode::start_with(|config| {
        config.store = StoreSource::Given(Arc::new(MemoryStore::new()));
        config.patience.account_calls_max = ALL_CALLS;
    })
    .await?;
    let ada = Person::register(&node, Wire::Quic, "ada@example.com").await?;
    let (device, refresh_token) = (&ada.keys.device, &ada.tokens.refresh_token);
    for wire in Wire::ALL {
        let mut client = RawClient::connect(&node, wire).await?;
        let proof = refresh_proof(device, &client.challenge().await?.nonce, refresh_token)?;
        let begun = Instant::now();
        let mut every = tokio::time::interval(ALL_CALLS / 4);
        for request in 1..=3 {
            every.tick().await;
            client.send(Refresh { request, refresh_token: refresh_token.clone(), proof }).await?;
            assert!(matches!(client.frame().await?, Frame::Tokens(tokens) if tokens.request == request), "{wire:?}");
        }
        let (failure, close) = client.failure().await?;
        let took = begun.elapsed();
        assert!(took >= ALL_CALLS - Duration::from_millis(500) && took < ALL_CALLS + SLACK, "{wire:?}: after {took:?}");
        assert_eq!(failure.code, ErrorCode::HelloTimeout);
        assert!(matches!(close, Received::Closed { reason, .. } if reason == "hello_timeout"));
    }
    Ok(())
}

/// The first datagram of a QUIC client, as it would send it to a server.
async fn first_datagram() -> anyhow::Result<Vec<u8>> {
    let nobody = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let server = Server { address: format!("quic://{}", nobody.local_addr()?).parse()?, trust: Trust::Pinned(Pin(Hash([0; 32]))) };
    let mut datagram = vec![0; 2048];
    tokio::select! {
        received = nobody.recv(&mut datagram) => datagram.truncate(received?),
        connected = RawClient::connect_to(&server) => bail!("nobody answered, and yet: {connected:?}"),
    }
    Ok(datagram)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unfinished_quic_handshake_is_given_up_and_its_place_is_free_again() -> Tested {
    let node = TestNode::start_with(|config| config.connections_max = 1).await?;
    let half = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    half.connect(node.address(Wire::Quic)?).await?;
    half.send(&first_datagram().await?).await?;
    let begun = Instant::now();
    // The node's first answer: from here on the handshake waits for us.
    half.recv(&mut [0; 2048]).await?;
    assert!(RawClient::connect(&node, Wire::Quic).await.is_err(), "the only place is taken");
    while RawClient::connect(&node, Wire::Quic).await.is_err() {
        assert!(begun.elapsed() < HELLO_TIMEOUT + SLACK, "not given up in time");
    }
    in_time(begun);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quic_client_that_allows_no_event_stream_is_closed() -> Tested {
    let node = TestNode::start_in_memory().await?;
    let ada = Person::register(&node, Wire::Quic, "ada@example.com").await?;
    let mut client = without_event_stream(&node).await?;
    client.hello(&ada.keys.device, &ada.tokens.access_token).await?;
    assert!(matches!(client.frame().await?, Frame::Welcome(_)));
    let begun = Instant::now();
    let (failure, close) = client.failure().await?;
    in_time(begun);
    assert_eq!(failure.code, ErrorCode::HelloTimeout);
    assert_eq!(close, Received::Closed { code: 3, reason: "hello_timeout".to_owned() });
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_ends_takes_the_connection_along_whether_it_has_an_event_stream_or_not() -> Tested {
    let node = TestNode::start_in_memory().await?;
    let ada = Person::register(&node, Wire::Quic, "ada@example.com").await?;
    let mut client = without_event_stream(&node).await?;
    client.hello(&ada.keys.device, &ada.tokens.access_token).await?;
    assert!(matches!(client.frame().await?, Frame::Welcome(_)));
    let begun = Instant::now();
    client.send_bytes(vec![0xc1]).await?;
    let (failure, close) = client.failure().await?;
    assert_eq!(failure.code, ErrorCode::Malformed);
    assert_eq!(close, Received::Closed { code: 1, reason: "malformed".to_owned() });
    assert!(begun.elapsed() < SLACK, "closed only after {:?}", begun.elapsed());
    Ok(())
}

/// A ping as one frame of that wire, `bytes` of it all in all; what a reader does not know of it is ignored.
fn long_ping(wire: Wire, bytes: u16) -> Vec<u8> {
    let payload = bytes - if wire == Wire::Quic { 4 } else { 8 };
    let [high, low] = payload.to_be_bytes();
    let head = if wire == Wire::Quic { vec![0, 0, high, low] } else { vec![0x82, 0x80 | 126, high, low, 0, 0, 0, 0] };
    // [5, 7, bin of the rest]
    let [bin_high, bin_low] = (payload - 6).to_be_bytes();
    let mut frame = [head, vec![0x93, 5, 7, 0xC5, bin_high, bin_low]].concat();
    frame.resize(usize::from(bytes), 0);
    frame
}

/// Sends a frame in pieces of 10 B, one every so often; what the node says then.
async fn drip(node: &TestNode, wire: Wire, person: &Person, every: Duration) -> anyhow::Result<Received> {
    let mut client = RawClient::connect(node, wire).await?;
    client.hello(&person.keys.device, &person.tokens.access_token).await?;
    assert!(matches!(client.frame().await?, Frame::Welcome(_)));
    let mut pieces = tokio::time::interval(every);
    for piece in long_ping(wire, DRIPPED_BYTES).chunks(DRIP_BYTES) {
        pieces.tick().await;
        if client.send_unframed(piece).await.is_err() {
            break;
        }
    }
    client.next().await
}

const DRIP_BYTES: usize = 10;
const DRIPPED_BYTES: u16 = 400;
/// 10 B in that time is a little more than `FRAME_BYTES_PER_SECOND_MIN`.
const FAST_ENOUGH: Duration = Duration::from_millis(98);
const TOO_SLOW: Duration = Duration::from_millis(500);
/// Less than 400 B take at either pace.
const GRACE: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_at_the_slowest_pace_goes_through_and_a_slower_one_ends_the_session() -> Tested {
    let node = TestNode::start_with(|config| {
        config.store = StoreSource::Given(Arc::new(MemoryStore::new()));
        config.patience.frame_grace = GRACE;
    })
    .await?;
    let ada = Person::register(&node, Wire::Quic, "ada@example.com").await?;
    let done = Wire::ALL.map(|wire| {
        let (node, ada) = (&node, &ada);
        async move {
            let begun = Instant::now();
            let (fast, slow) = tokio::join!(drip(node, wire, ada, FAST_ENOUGH), drip(node, wire, ada, TOO_SLOW));
            assert!(begun.elapsed() > GRACE, "no pace was ever looked at");
            assert!(matches!(fast?, Received::Frame(frame) if matches!(*frame, Frame::Pong(Pong { number: 7 }))), "{wire:?}");
            let Received::Frame(frame) = slow? else { bail!("{wire:?}: a failure was due") };
            let Frame::Failure(failure) = *frame else { bail!("{wire:?}: a failure was due, there came {frame:?}") };
            assert_eq!((failure.request, failure.code), (0, ErrorCode::FrameTooSlow), "{wire:?}");
            anyhow::Ok(())
        }
    });
    for done in futures_util::future::join_all(done).await {
        done?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_message_stays_under_way_whatever_was_delivered_since_it_began_or_before() -> Tested {
    let node = TestNode::start_with(|config| {
        config.store = StoreSource::Given(Arc::new(MemoryStore::new()));
        config.patience.frame_grace = GRACE;
    })
    .await?;
    let ada = Person::register(&node, Wire::Quic, "ada@example.com").await?;
    let ping = long_ping(Wire::Ws, DRIPPED_BYTES);
    let half = ping[..DRIP_BYTES].to_vec();
    let fragment = vec![0x02, 0x81, 0, 0, 0, 0, 0x93];
    let control = vec![0x89, 0x80, 0, 0, 0, 0];
    for (what, bytes) in [("behind a whole one", [ping, half].concat()), ("a ping between", [fragment, control].concat())] {
        let (mut client, _) = RawClient::welcomed(&node.server(Wire::Ws)?, &ada).await?;
        client.send_unframed(&bytes).await?;
        let begun = Instant::now();
        let (failure, _) = client.failure().await.context(what)?;
        assert_eq!(failure.code, ErrorCode::FrameTooSlow, "{what}");
        assert!(begun.elapsed() >= GRACE - Duration::from_millis(100), "{what}: too soon");
    }
    Ok(())
}
