//! [`Tee`]: a TCP proxy in front of a node that keeps every byte it passes on, as a thief on an open wire would.
//!
//! Never: TLS. What it keeps is what went over the socket.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// One direction of one connection.
type Kept = Arc<Mutex<Vec<u8>>>;

/// A running proxy; it ends when it is dropped.
#[derive(Debug)]
pub struct Tee {
    address: SocketAddr,
    kept: Arc<Mutex<Vec<Kept>>>,
    _accepting: JoinSet<()>,
}

impl Tee {
    /// In front of `server`, on a free port.
    pub async fn before(server: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let (address, kept) = (listener.local_addr()?, Arc::<Mutex<Vec<Kept>>>::default());
        let mut accepting = JoinSet::new();
        let all = Arc::clone(&kept);
        accepting.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let (up, down) = (Kept::default(), Kept::default());
                all.lock().unwrap_or_else(PoisonError::into_inner).extend([Arc::clone(&up), Arc::clone(&down)]);
                connections.spawn(pass_on(client, server, [up, down]));
            }
        });
        Ok(Self { address, kept, _accepting: accepting })
    }

    /// Where clients connect to.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What was said, a direction of a connection each: HTTP's head, then the messages' content, without the masks under
    /// which a WebSocket's client sends.
    pub fn heard(&self) -> anyhow::Result<Vec<Vec<u8>>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().map(|stream| unmasked(&stream.lock().unwrap_or_else(PoisonError::into_inner))).collect()
    }
}

async fn pass_on(client: TcpStream, server: SocketAddr, [up, down]: [Kept; 2]) {
    let Ok(server) = TcpStream::connect(server).await else { return };
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    tokio::join!(copy(from_client, to_server, up), copy(from_server, to_client, down));
}

/// Until either side ends; the other half then ends of itself.
async fn copy(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, kept: Kept) {
    let mut bytes = vec![0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut bytes).await {
        let read = bytes.get(..read).unwrap_or_default();
        kept.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(read);
        if to.write_all(read).await.is_err() {
            break;
        }
    }
    // The peer that it would be said to may have gone.
    drop(to.shutdown().await);
}

/// A WebSocket's frames (RFC 6455, 5.2) without their heads and masks, behind the HTTP head.
fn unmasked(stream: &[u8]) -> anyhow::Result<Vec<u8>> {
    let Some(head) = memchr::memmem::find(stream, b"\r\n\r\n") else { return Ok(stream.to_vec()) };
    let (head, mut rest) = stream.split_at(head + 4);
    let mut said = head.to_vec();
    while let Some((&[_, second], after)) = rest.split_first_chunk::<2>() {
        let (length_bytes, short) = match second & 0x7f {
            126 => (2, 0),
            127 => (8, 0),
            short => (0, usize::from(short)),
        };
        let (extended, after) = after.split_at_checked(length_bytes).context("a frame's length is cut off")?;
        let length = extended.iter().fold(short, |length, byte| length << 8 | usize::from(*byte));
        let (mask, after) = after.split_at_checked(if second & 0x80 == 0 { 0 } else { 4 }).context("a mask is cut off")?;
        let (content, after) = after.split_at(length.min(after.len()));
        if mask.is_empty() {
            said.extend_from_slice(content);
        } else {
            said.extend(content.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        }
        rest = after;
    }
    Ok(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masked_frames_and_plain_ones_are_read_as_what_they_say() {
        // Both of RFC 6455, 5.7: "Hello", masked and not.
        let masked = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        let plain = [0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f];
        let long = [&[0x82, 126, 1, 0][..], &[b'x'; 256]].concat();
        let stream = [b"GET / HTTP/1.1\r\n\r\n", &masked[..], &plain, &long].concat();
        let expected = ["GET / HTTP/1.1\r\n\r\nHelloHello", &"x".repeat(256)].concat();
        assert_eq!(unmasked(&stream).unwrap(), expected.as_bytes());
    }
}
