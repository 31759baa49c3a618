//! Connections against a server that behaves, one that does not, and one that is not there.
//!
//! Never: a sleep in place of a condition.

pub(crate) mod server;
mod streams;

use std::time::{Duration, Instant};

use cloudsync_protocol::frame::{Challenge, Done, GoingAway, HeadAt, Logout, OWN_LOG, Ping, Tokens};
use cloudsync_protocol::limits::{FRAME_BYTES_MAX, UNANSWERED_REQUESTS_MAX};
use cloudsync_protocol::{ErrorCode, Failure, Hash, Nonce, Seq, Signature, TimelineId};
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::io::AsyncReadExt as _;
use tokio_tungstenite::tungstenite::Message;

use self::server::{EVERY_SCHEME, FakeServer, Peer, closed_port, mute_port};
use super::*;
use crate::carrier::{Pin, Scheme};

fn logout(request: u32) -> Frame {
    Logout { request, refresh_token: "t".to_owned(), proof: Signature([0; 64]) }.into()
}

fn done(request: u32) -> Frame {
    Done { request }.into()
}

fn request_of(frame: Option<Frame>) -> u32 {
    let Some(Frame::Logout(logout)) = frame else { panic!("{frame:?} is no request") };
    logout.request
}

async fn connected(scheme: Scheme) -> (Connection, Peer) {
    let server = FakeServer::start(scheme).await;
    let known = server.server();
    let (connection, peer) = tokio::join!(Connection::open(&known), server.challenge());
    (connection.unwrap(), peer)
}

#[tokio::test]
async fn a_connection_is_challenged_over_every_carrier() {
    for scheme in EVERY_SCHEME {
        let (connection, _peer) = connected(scheme).await;
        assert_eq!(connection.challenge().nonce, Nonce([7; 32]), "{scheme:?}");
        let carrier = if scheme == Scheme::Quic { Carrier::Quic } else { Carrier::WebSocket };
        assert_eq!(connection.carrier(), carrier);
    }
}

#[tokio::test]
async fn answers_find_their_requests_in_any_order() {
    for scheme in EVERY_SCHEME {
        let (connection, mut peer) = connected(scheme).await;
        let answering = async {
            let (first, second) = (request_of(peer.receive().await), request_of(peer.receive().await));
            assert_ne!(first, second);
            peer.send(&Failure::new(second, ErrorCode::RefreshInvalid, "no").into()).await;
            peer.send(&done(first)).await;
        };
        let (first, second, ()) = tokio::join!(connection.request(logout), connection.request(logout), answering);
        assert!(matches!(first, Ok(Frame::Done(_))));
        assert_eq!(second.unwrap_err().code(), Some(ErrorCode::RefreshInvalid));
    }
}

#[tokio::test]
async fn another_certificate_than_the_pinned_one_is_refused_naming_both() {
    for scheme in [Scheme::Quic, Scheme::Wss] {
        let server = FakeServer::start(scheme).await;
        let pinned = Pin(Hash::of(&[b"another"]));
        let known = Server { address: server.address.clone(), trust: Trust::Pinned(pinned) };
        let (refused, _) = tokio::join!(Connection::open(&known), server.accept());
        let expected = ConnectError::CertificateNotPinned { address: server.address.to_string(), pinned, presented: server.pin };
        assert_eq!(refused.unwrap_err(), Error::Unreachable(expected.clone()));
        assert!(expected.to_string().contains(&pinned.to_string()) && expected.to_string().contains(&server.pin.to_string()));
    }
}

#[tokio::test]
async fn a_self_made_certificate_is_refused_without_a_pin() {
    for scheme in [Scheme::Quic, Scheme::Wss] {
        let server = FakeServer::start(scheme).await;
        let known = Server { address: server.address.clone(), trust: Trust::WebRoots };
        let (refused, _) = tokio::join!(Connection::open(&known), server.accept());
        assert!(matches!(refused, Err(Error::Unreachable(ConnectError::CertificateUntrusted { .. }))), "{refused:?}");
    }
}

#[tokio::test]
async fn nobody_there_and_nobody_answering_are_both_decided_within_the_limit() {
    let (_mute, mute) = mute_port().await;
    let closed = closed_port().await;
    for (scheme, port) in [(Scheme::Ws, closed), (Scheme::Wss, mute), (Scheme::Ws, mute), (Scheme::Quic, closed)] {
        let address = Address { scheme, host: "127.0.0.1".to_owned(), port };
        let known = Server { address, trust: Trust::Pinned(Pin(Hash::default())) };
        let begun = Instant::now();
        let refused = Connection::open(&known).await;
        assert!(matches!(refused, Err(Error::Unreachable(ConnectError::Unreachable { .. }))), "{refused:?}");
        assert!(begun.elapsed() < CONNECT_TIMEOUT + Duration::from_secs(1));
    }
}

#[tokio::test]
async fn a_server_of_another_protocol_version_is_named() {
    let server = FakeServer::start(Scheme::Ws).await;
    let known = server.server();
    let newer = async {
        let mut peer = server.accept().await.unwrap();
        peer.send(&Challenge { nonce: Nonce([7; 32]), server_ts: 1, version_min: 2, version_max: 3 }.into()).await;
        peer
    };
    let (refused, _peer) = tokio::join!(Connection::open(&known), newer);
    assert_eq!(refused.unwrap_err(), Error::Protocol("the server speaks versions 2 to 3, this client 1".to_owned()));
}

#[tokio::test]
async fn a_failure_of_the_connection_reaches_everyone_who_waits() {
    for scheme in EVERY_SCHEME {
        let (connection, mut peer) = connected(scheme).await;
        let failing = async {
            peer.receive().await;
            peer.receive().await;
            peer.send(&Failure::new(0, ErrorCode::DeviceRevoked, "gone").into()).await;
        };
        let (first, second, ()) = tokio::join!(connection.request(logout), connection.request(logout), failing);
        for refused in [first, second, connection.request(logout).await] {
            assert_eq!(refused.unwrap_err().code(), Some(ErrorCode::DeviceRevoked));
        }
    }
}

#[tokio::test]
async fn a_server_that_leaves_closes_what_waits() {
    for scheme in EVERY_SCHEME {
        let (connection, mut peer) = connected(scheme).await;
        let leaving = async {
            peer.receive().await;
            drop(peer);
        };
        let (left, ()) = tokio::join!(connection.request(logout), leaving);
        assert!(matches!(left, Err(Error::Closed(_))), "{left:?}");
    }
}

#[tokio::test]
async fn frames_that_are_none_and_answers_to_nobody_end_the_connection() {
    let too_deep = Bytes::from(vec![0x91; 800]);
    for bad in [Bytes::from_static(b"\x93\xc0"), too_deep, codec::encode(&done(999)).into(), codec::encode(&logout(1)).into()] {
        let (connection, mut peer) = connected(Scheme::Ws).await;
        let sending = async {
            peer.receive().await;
            peer.send_bytes(bad).await;
            peer.receive().await
        };
        let (refused, _) = tokio::join!(connection.request(logout), sending);
        assert!(matches!(refused, Err(Error::Protocol(_))), "{refused:?}");
    }
}

#[tokio::test]
async fn a_frame_at_the_limit_is_read_and_one_past_it_ends_the_connection() {
    let big = |request, bytes: usize| {
        let tokens = |length: usize| Tokens {
            request,
            access_token: "a".repeat(length),
            access_expires_ts: 1,
            refresh_token: String::new(),
            refresh_expires_ts: 1,
        };
        let frame = Frame::from(tokens(bytes - (codec::encode(&Frame::from(tokens(100_000))).len() - 100_000)));
        assert_eq!(codec::encode(&frame).len(), bytes);
        frame
    };
    for scheme in EVERY_SCHEME {
        let (connection, mut peer) = connected(scheme).await;
        let sending = async {
            let request = request_of(peer.receive().await);
            peer.send(&big(request, FRAME_BYTES_MAX)).await;
        };
        let (answered, ()) = tokio::join!(connection.request(logout), sending);
        assert!(matches!(answered, Ok(Frame::Tokens(_))));
        let past = async {
            let request = request_of(peer.receive().await);
            let frame = Bytes::from(codec::encode(&big(request, FRAME_BYTES_MAX + 1)));
            match &mut peer {
                Peer::Quic { send, .. } => {
                    let length = u32::try_from(frame.len()).unwrap();
                    send.write_all(&length.to_be_bytes()).await.unwrap();
                }
                Peer::WebSocket(_) => peer.send_bytes(frame).await,
            }
            peer
        };
        let (refused, _peer) = tokio::join!(connection.request(logout), past);
        assert!(matches!(refused, Err(Error::Protocol(_) | Error::Closed(_))), "{scheme:?} {refused:?}");
    }
}

#[tokio::test]
async fn a_ping_is_answered() {
    let (_connection, mut peer) = connected(Scheme::Quic).await;
    peer.send(&Ping { number: 41 }.into()).await;
    assert!(matches!(peer.receive().await, Some(Frame::Pong(pong)) if pong.number == 41));
}

#[tokio::test]
async fn no_more_requests_are_sent_than_may_be_unanswered() {
    let (connection, mut peer) = connected(Scheme::Ws).await;
    let connection = Arc::new(connection);
    let mut asking = JoinSet::new();
    for _ in 0..=UNANSWERED_REQUESTS_MAX {
        let connection = Arc::clone(&connection);
        asking.spawn(async move { connection.request(logout).await });
    }
    let mut waiting = Vec::new();
    for _ in 0..UNANSWERED_REQUESTS_MAX {
        waiting.push(request_of(peer.receive().await));
    }
    // Whatever was sent before this pong has arrived before it: nothing more was.
    peer.send(&Ping { number: 1 }.into()).await;
    assert!(matches!(peer.receive().await, Some(Frame::Pong(_))));
    peer.send(&done(waiting[3])).await;
    request_of(peer.receive().await);
}

#[tokio::test]
async fn an_answer_that_nobody_waits_for_any_more_is_dropped() {
    let (connection, mut peer) = connected(Scheme::Ws).await;
    let abandoned = {
        let asking = connection.request(logout);
        tokio::pin!(asking);
        tokio::select! {
            _ = &mut asking => panic!("nobody answered"),
            frame = peer.receive() => request_of(frame),
        }
    };
    peer.send(&done(abandoned)).await;
    let answering = async {
        let request = request_of(peer.receive().await);
        peer.send(&done(request)).await;
    };
    let (answered, ()) = tokio::join!(connection.request(logout), answering);
    assert!(answered.is_ok());
}

#[tokio::test]
async fn a_session_is_opened_and_its_events_arrive() {
    for scheme in EVERY_SCHEME {
        let (connection, mut peer) = connected(scheme).await;
        let device = DeviceKeys::random();
        let (opened, ()) = tokio::join!(connection.hello(&device, "token"), peer.welcome());
        let (session, mut events) = opened.unwrap();
        assert_eq!(session.welcome().session, 5);
        let head = HeadAt { log: OWN_LOG, timeline: TimelineId::default(), head: Seq(4) };
        peer.send_event(&head.clone().into()).await;
        assert_eq!(events.next().await, Ok(SessionEvent::HeadAt(head)));
        let going = GoingAway { code: ErrorCode::GoingAway, message: "bye".to_owned(), retry_after_ms: 9 };
        peer.send(&going.clone().into()).await;
        drop(session);
        assert_eq!(events.next().await, Ok(SessionEvent::GoingAway(going)));
    }
}

#[tokio::test]
async fn a_refused_hello_says_why() {
    for scheme in EVERY_SCHEME {
        let (connection, mut peer) = connected(scheme).await;
        let refusing = async {
            peer.receive().await;
            peer.send(&Failure::new(0, ErrorCode::TokenExpired, "refresh it").into()).await;
        };
        let device = DeviceKeys::random();
        let (refused, ()) = tokio::join!(connection.hello(&device, "token"), refusing);
        assert_eq!(refused.unwrap_err().code(), Some(ErrorCode::TokenExpired));
    }
}

#[tokio::test]
async fn events_end_with_the_reason_once_the_connection_has() {
    let (connection, mut peer) = connected(Scheme::Quic).await;
    let device = DeviceKeys::random();
    let (opened, ()) = tokio::join!(connection.hello(&device, "token"), peer.welcome());
    let (session, mut events) = opened.unwrap();
    assert!(session.closed().now_or_never().is_none());
    peer.send(&Failure::new(0, ErrorCode::DeviceRevoked, "gone").into()).await;
    assert_eq!(events.next().await.unwrap_err().code(), Some(ErrorCode::DeviceRevoked));
    assert_eq!(session.closed().await.code(), Some(ErrorCode::DeviceRevoked));
}

#[tokio::test]
async fn a_closed_session_tells_the_server() {
    for scheme in EVERY_SCHEME {
        let (connection, mut peer) = connected(scheme).await;
        let device = DeviceKeys::random();
        let (opened, ()) = tokio::join!(connection.hello(&device, "token"), peer.welcome());
        let (session, events) = opened.unwrap();
        let (gone, ()) = tokio::join!(peer.receive(), session.close(events));
        assert_eq!(gone, None);
    }
}

#[tokio::test]
async fn a_web_socket_that_is_closed_says_so_to_every_layer() {
    for scheme in [Scheme::Wss, Scheme::Ws] {
        let (connection, peer) = connected(scheme).await;
        connection.close().await;
        let Peer::WebSocket(mut socket) = peer else { panic!("{scheme:?}") };
        assert!(matches!(socket.next().await, Some(Ok(Message::Close(_)))), "{scheme:?}");
        // Without its last word TLS would call this a cut.
        let mut rest = Vec::new();
        assert!(matches!(socket.get_mut().read_to_end(&mut rest).await, Ok(0)), "{scheme:?}: {rest:?}");
    }
}

#[tokio::test]
async fn a_connection_on_which_nothing_comes_any_more_is_given_up_after_3_s_and_one_that_answers_is_not() {
    for scheme in EVERY_SCHEME {
        let (connection, mut peer) = connected(scheme).await;
        let device = DeviceKeys::random();
        let (opened, ()) = tokio::join!(connection.hello(&device, "token"), peer.welcome());
        let (session, _events) = opened.unwrap();
        // Whoever reads answers what the carrier asks.
        let answering = tokio::time::timeout(Duration::from_secs(4), peer.receive());
        assert!(answering.await.is_err(), "{scheme:?}: it was asked by no frame, and did not end");
        assert!(session.closed().now_or_never().is_none(), "{scheme:?}");
        if scheme == Scheme::Quic {
            // Its driver answers as long as it lives: tests/tests/dying_lines.rs has a line that dies.
            continue;
        }
        let silent = tokio::time::Instant::now();
        assert!(matches!(session.closed().await, Error::Closed(why) if why.contains("no sign of life")));
        assert!(silent.elapsed() < Duration::from_millis(4500), "{scheme:?}: {:?}", silent.elapsed());
    }
}
