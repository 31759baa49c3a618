//! Frames on a byte stream: WebSocket messages as a client masks them, or lengths before them as on QUIC's streams.
//!
//! Never: a reader that holds more than one frame and what came with it.

use anyhow::{Context as _, bail};
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use cloudsync_protocol::{Frame, codec};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

const READ_BYTES: usize = 4096;
/// Any is allowed; it is the node that must take it away again.
const MASK: [u8; 4] = [0x5a, 0xc3, 0x96, 0x0f];

/// How frames are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// RFC 6455.
    WebSocket,
    /// Four bytes, big endian, before each.
    Length,
}

/// What one frame is on the line.
pub fn framed(framing: Framing, frame: &[u8]) -> anyhow::Result<Bytes> {
    let mut line = BytesMut::with_capacity(frame.len() + 14);
    match framing {
        Framing::Length => line.put_u32(u32::try_from(frame.len())?),
        Framing::WebSocket => {
            line.put_u8(0x82);
            match u16::try_from(frame.len()) {
                Ok(length @ 0..126) => line.put_u8(0x80 | u8::try_from(length)?),
                Ok(length) => {
                    line.put_u8(0x80 | 126);
                    line.put_u16(length);
                }
                Err(_) => {
                    line.put_u8(0x80 | 127);
                    line.put_u64(frame.len() as u64);
                }
            }
            line.put_slice(&MASK);
            line.extend(frame.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
            return Ok(line.freeze());
        }
    }
    line.put_slice(frame);
    Ok(line.freeze())
}

/// Frames that come in.
pub struct Reader {
    io: Box<dyn AsyncRead + Send + Unpin>,
    framing: Framing,
    buffer: BytesMut,
    /// Fragments of a message that is not whole.
    partial: BytesMut,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("framing", &self.framing).finish_non_exhaustive()
    }
}

impl Reader {
    /// Of that stream.
    pub fn new(io: impl AsyncRead + Send + Unpin + 'static, framing: Framing) -> Self {
        Self { io: Box::new(io), framing, buffer: BytesMut::new(), partial: BytesMut::new() }
    }

    /// The next frame as it came. May be dropped while it waits.
    pub async fn bytes(&mut self) -> anyhow::Result<Bytes> {
        loop {
            let whole = match self.framing {
                Framing::Length => self.take_length(),
                Framing::WebSocket => self.take_message()?,
            };
            if let Some(frame) = whole {
                return Ok(frame);
            }
            self.buffer.reserve(READ_BYTES);
            if self.io.read_buf(&mut self.buffer).await? == 0 {
                bail!("the node closed the connection");
            }
        }
    }

    /// The next frame.
    pub async fn frame(&mut self) -> anyhow::Result<Frame> {
        Ok(codec::decode(&self.bytes().await?)?)
    }

    fn take_length(&mut self) -> Option<Bytes> {
        let length = self.buffer.first_chunk().map(|length| u32::from_be_bytes(*length) as usize)?;
        if self.buffer.len() < 4 + length {
            return None;
        }
        self.buffer.advance(4);
        Some(self.buffer.split_to(length).freeze())
    }

    fn take_message(&mut self) -> anyhow::Result<Option<Bytes>> {
        while let Some((first, payload)) = self.take_fragment()? {
            match first & 0x0f {
                0x0 | 0x2 if first & 0x80 == 0 => self.partial.extend_from_slice(&payload),
                0x0 | 0x2 if self.partial.is_empty() => return Ok(Some(payload)),
                0x0 | 0x2 => {
                    self.partial.extend_from_slice(&payload);
                    return Ok(Some(std::mem::take(&mut self.partial).freeze()));
                }
                0x8 => bail!("the node closed: {}", String::from_utf8_lossy(payload.get(2..).unwrap_or_default())),
                _ => {}
            }
        }
        Ok(None)
    }

    /// A server's frame is not masked.
    fn take_fragment(&mut self) -> anyhow::Result<Option<(u8, Bytes)>> {
        let [first, second, rest @ ..] = &*self.buffer else { return Ok(None) };
        let (head, length) = match second & 0x7f {
            126 => match rest.first_chunk() {
                Some(length) => (4, usize::from(u16::from_be_bytes(*length))),
                None => return Ok(None),
            },
            127 => match rest.first_chunk() {
                Some(length) => (10, usize::try_from(u64::from_be_bytes(*length)).context("a length")?),
                None => return Ok(None),
            },
            length => (2, usize::from(length)),
        };
        let first = *first;
        if self.buffer.len() < head + length {
            return Ok(None);
        }
        self.buffer.advance(head);
        Ok(Some((first, self.buffer.split_to(length).freeze())))
    }
}

/// Frames that go out.
pub struct Writer {
    io: Box<dyn AsyncWrite + Send + Unpin>,
    framing: Framing,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("framing", &self.framing).finish_non_exhaustive()
    }
}

impl Writer {
    /// To that stream.
    pub fn new(io: impl AsyncWrite + Send + Unpin + 'static, framing: Framing) -> Self {
        Self { io: Box::new(io), framing }
    }

    /// Sends a frame.
    pub async fn send(&mut self, frame: &Frame) -> anyhow::Result<()> {
        self.send_bytes(&codec::encode(frame)).await
    }

    /// Sends a frame that is encoded already.
    pub async fn send_bytes(&mut self, frame: &[u8]) -> anyhow::Result<()> {
        self.send_framed(&framed(self.framing, frame)?).await
    }

    /// Sends what [`framed`] made.
    pub async fn send_framed(&mut self, line: &[u8]) -> anyhow::Result<()> {
        self.io.write_all(line).await?;
        Ok(self.io.flush().await?)
    }
}

#[cfg(test)]
mod tests {
    use cloudsync_protocol::frame::Pong;

    use super::*;

    #[tokio::test]
    async fn frames_arrive_whole_in_whatever_pieces_they_come() {
        let frame = codec::encode(&Frame::from(Pong { number: 7 }));
        let length = framed(Framing::Length, &frame).unwrap();
        let unmasked = [&[0x82, u8::try_from(frame.len()).unwrap()], &*frame].concat();
        let (half, rest) = frame.split_at(2);
        let fragments = [&[0x02, 2], half, &[0x89, 0, 0x80, u8::try_from(rest.len()).unwrap()], rest].concat();
        for (framing, sent) in [(Framing::Length, length.to_vec()), (Framing::WebSocket, unmasked), (Framing::WebSocket, fragments)] {
            for step in [1, 3, 100] {
                let (mut far, near) = tokio::io::duplex(1024);
                for piece in [&*sent, &*sent].concat().chunks(step) {
                    far.write_all(piece).await.unwrap();
                }
                let mut reader = Reader::new(near, framing);
                for _ in 0..2 {
                    assert_eq!(reader.frame().await.unwrap(), Frame::from(Pong { number: 7 }));
                }
            }
        }
    }
}
