"""The QUIC carrier of docs/wire.md, *Carriers*, over aioquic: a control stream that the node opens, request streams, events.

Never: a stream opened for control by the client, or a frame longer than the page allows.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Any, Final

from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ConnectionTerminated, QuicEvent, StreamDataReceived, StreamReset
from aioquic.tls import SessionTicket
from cryptography.hazmat.primitives.serialization import Encoding

from .carrier import Arrived, Ended, Inbox, Via, pinned
from .codec import FRAME_BYTES_MAX, Malformed

ALPN: Final = "cloudsync/1"
LENGTH_BYTES: Final = 4
# RFC 9000, section 2.1: the two low bits say who opened a stream, and whether it goes both ways.
OPENED_BY_SERVER: Final = 1
ONE_WAY: Final = 2
CONTROL: Final = 1
"""The node's first bidirectional stream."""


class _Protocol(QuicConnectionProtocol):
    def __init__(self, quic: QuicConnection, stream_handler: Any = None) -> None:
        super().__init__(quic, stream_handler)
        self.inbox = Inbox()
        self.ends: asyncio.Queue[int] = asyncio.Queue()
        self._parts: dict[int, bytearray] = {}
        self._deaf = False
        self._unheard: list[tuple[Any, Any]] = []

    def transport(self) -> asyncio.DatagramTransport:
        """The socket that it sends by now."""
        assert self._transport is not None
        return self._transport

    def datagram_received(self, data: Any, addr: Any) -> None:
        if self._deaf:
            self._unheard.append((data, addr))
        else:
            super().datagram_received(data, addr)

    def hear(self, hears: bool) -> None:
        self._deaf = not hears
        unheard, self._unheard = self._unheard, []
        for data, addr in unheard:
            self.datagram_received(data, addr)

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, StreamDataReceived):
            self._take(event.stream_id, event.data)
            if event.end_stream:
                self.ends.put_nowait(event.stream_id)
        elif isinstance(event, StreamReset):
            self.ends.put_nowait(event.stream_id)
        elif isinstance(event, ConnectionTerminated):
            # `frame_type` is there for a transport's close only; an application's has none.
            of_the_application = event.frame_type is None
            self.inbox.put(Ended(event.error_code if of_the_application else None, event.reason_phrase))

    def _take(self, stream: int, data: bytes) -> None:
        part = self._parts.setdefault(stream, bytearray())
        part += data
        while len(part) >= LENGTH_BYTES:
            length = int.from_bytes(part[:LENGTH_BYTES], "big")
            if length > FRAME_BYTES_MAX:
                raise Malformed(f"a frame of {length} B")
            if len(part) < LENGTH_BYTES + length:
                return
            self.inbox.put(Arrived(bytes(part[LENGTH_BYTES : LENGTH_BYTES + length]), stream))
            del part[: LENGTH_BYTES + length]


class QuicCarrier:
    """A connection over QUIC."""

    number: int = 1
    control: int = CONTROL

    def __init__(self, protocol: _Protocol, quic: QuicConnection, tickets: list[SessionTicket]) -> None:
        self._protocol, self._quic = protocol, quic
        self.tickets = tickets
        """For TLS to resume by; what they allow of 0-RTT."""

    @classmethod
    async def connect(cls, host: str, port: int, certificate_sha256: str) -> QuicCarrier:
        """Up to the handshake; the node's certificate is pinned."""
        configuration = QuicConfiguration(is_client=True, alpn_protocols=[ALPN], server_name="localhost", verify_mode=ssl.CERT_NONE)
        tickets: list[SessionTicket] = []
        quic = QuicConnection(configuration=configuration, session_ticket_handler=tickets.append)
        loop = asyncio.get_running_loop()
        _, protocol = await loop.create_datagram_endpoint(lambda: _Protocol(quic), local_addr=("127.0.0.1", 0))
        protocol.connect((host, port))
        await protocol.wait_connected()
        # The library checked the handshake's signature by this certificate; whose it is it was told not to judge.
        certificate = quic.tls._peer_certificate
        pinned(certificate.public_bytes(Encoding.DER) if certificate else None, certificate_sha256)
        return cls(protocol, quic, tickets)

    def open_stream(self) -> int:
        return self._quic.get_next_available_stream_id()

    async def send(self, frame: bytes, stream: int) -> None:
        self.send_on(stream, frame, ends=stream != CONTROL)

    def send_on(self, stream: int, frame: bytes, *, ends: bool) -> None:
        """One frame on that stream, perhaps the last."""
        self._quic.send_stream_data(stream, len(frame).to_bytes(LENGTH_BYTES, "big") + frame, end_stream=ends)
        self._protocol.transmit()

    async def stream_ended(self) -> int:
        """The next stream whose other side is over."""
        return await self._protocol.ends.get()

    async def receive(self) -> Arrived | Ended:
        return await self._protocol.inbox.take()

    def kind(self, stream: int) -> Via:
        if stream & ONE_WAY:
            return Via.EVENTS
        if stream & OPENED_BY_SERVER and stream != CONTROL:
            raise Malformed(f"a second bidirectional stream of the node's: {stream}")
        return Via.ANSWERS

    async def move(self) -> None:
        """Goes on from another port, as after a change of network."""
        before = self._protocol.transport()
        loop = asyncio.get_running_loop()
        await loop.create_datagram_endpoint(lambda: self._protocol, local_addr=("127.0.0.1", 0))
        before.close()
        self._protocol.change_connection_id()

    def turn_deaf(self) -> None:
        self._protocol.hear(False)

    def listen_again(self) -> None:
        self._protocol.hear(True)

    async def ping(self) -> None:
        await self._protocol.ping()

    async def close(self) -> None:
        # 0 as an application's code: the client's own wish.
        self._quic.close(error_code=0, frame_type=None, reason_phrase="")
        self._protocol.transmit()
        await self._protocol.wait_closed()
