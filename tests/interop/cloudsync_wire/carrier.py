"""What a session needs of QUIC or a WebSocket: frames out, frames in with the stream that each came on, one end.

Never: what is in a frame.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from enum import Enum
from hashlib import sha256
from typing import Protocol


class Via(Enum):
    """What comes on a stream."""

    ANSWERS = "answers"
    EVENTS = "events"
    EVERYTHING = "everything"


@dataclass(frozen=True)
class Arrived:
    """A frame. On a WebSocket there is one stream, 0, for everything."""

    frame: bytes
    stream: int


@dataclass(frozen=True)
class Ended:
    """How the connection ended: the close's code and reason; `None` without a close."""

    code: int | None
    reason: str


class Carrier(Protocol):
    """An open connection."""

    number: int
    """The byte that *hello* signs."""

    control: int
    """The stream that the challenge comes on."""

    def open_stream(self) -> int:
        """Where one request can go by itself; on a WebSocket there is one stream only."""

    async def send(self, frame: bytes, stream: int) -> None:
        """Sends one frame; on a request stream it is the last."""

    async def receive(self) -> Arrived | Ended:
        """What comes next. Once it ended it stays so."""

    def kind(self, stream: int) -> Via:
        """What comes on a stream."""

    def turn_deaf(self) -> None:
        """Takes nothing off the socket any more."""

    def listen_again(self) -> None:
        """Takes what has waited, and goes on."""

    async def ping(self) -> None:
        """The carrier's own ping, answered."""

    async def close(self) -> None:
        """As a client that has what it wanted."""


def pinned(certificate: bytes | None, hash_hex: str) -> None:
    """Raises unless it is that certificate (DER)."""
    if certificate is None or sha256(certificate).hexdigest() != hash_hex:
        raise ssl.SSLCertVerificationError("not the pinned certificate")


class Inbox:
    """Frames that have come and were not taken, and how it ended."""

    def __init__(self) -> None:
        self._waiting: asyncio.Queue[Arrived | Ended] = asyncio.Queue()
        self._ended: Ended | None = None

    def put(self, arrived: Arrived | Ended) -> None:
        self._waiting.put_nowait(arrived)

    async def take(self) -> Arrived | Ended:
        if self._ended is not None:
            return self._ended
        arrived = await self._waiting.get()
        if isinstance(arrived, Ended):
            self._ended = arrived
        return arrived
