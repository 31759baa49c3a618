"""The WebSocket carrier of docs/wire.md, *Carriers*, over the package websockets: one binary message is one frame.

Never: compression, or a text message.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import Final

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from .carrier import Arrived, Ended, Inbox, Via, pinned
from .codec import FRAME_BYTES_MAX, Malformed

PATH: Final = "/v1/sync"
RECEIVE_BUFFER_BYTES: Final = 16 * 1024
"""A small one, so that a deaf client is noticed soon."""


class WebSocketCarrier:
    """A connection over WebSocket, with or without TLS."""

    number: int = 3
    control: int = 0

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._inbox = Inbox()
        self._hears = asyncio.Event()
        self._hears.set()
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def connect(cls, scheme: str, host: str, port: int, certificate_sha256: str) -> WebSocketCarrier:
        """Up to the handshake; under TLS the node's certificate is pinned."""
        tls = None
        if scheme == "wss":
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
        stream = socket.socket()
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        stream.setblocking(False)
        await asyncio.get_running_loop().sock_connect(stream, (host, port))
        connection = await connect(
            f"{scheme}://{host}:{port}{PATH}",
            sock=stream,
            ssl=tls,
            server_hostname="localhost" if tls else None,
            compression=None,
            max_size=FRAME_BYTES_MAX,
            max_queue=1,
            ping_interval=None,
        )
        if tls is not None:
            session = connection.transport.get_extra_info("ssl_object")
            pinned(session.getpeercert(binary_form=True), certificate_sha256)
        return cls(connection)

    async def _read(self) -> None:
        try:
            while True:
                await self._hears.wait()
                message = await self._connection.recv()
                if isinstance(message, str):
                    raise Malformed("a text message")
                self._inbox.put(Arrived(message, 0))
        except ConnectionClosed as closed:
            close = closed.rcvd
            self._inbox.put(Ended(close.code, close.reason) if close else Ended(None, str(closed)))

    def open_stream(self) -> int:
        return self.control

    async def send(self, frame: bytes, stream: int) -> None:
        try:
            await self._connection.send(frame)
        except ConnectionClosed:
            pass  # How it ended is for the reader to say.

    async def send_text(self, text: str) -> None:
        """What the page forbids."""
        await self._connection.send(text)

    async def send_fragments(self, parts: list[bytes]) -> None:
        """One frame as a message of several fragments."""
        await self._connection.send(parts)

    async def receive(self) -> Arrived | Ended:
        return await self._inbox.take()

    def kind(self, stream: int) -> Via:
        return Via.EVERYTHING

    def turn_deaf(self) -> None:
        self._hears.clear()

    def listen_again(self) -> None:
        self._hears.set()

    async def ping(self) -> None:
        await (await self._connection.ping())

    async def close(self) -> None:
        await self._connection.close()
        await self._reader
