"""A session: *challenge*, *hello*, *welcome*, then requests with their answers, and events, as docs/wire.md describes it.

Never: an event taken for an answer, an answer on another stream than its request's, or a failure passed over.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from .carrier import Arrived, Carrier, Ended, Via
from .codec import Malformed, pack, unpack
from .frames import (
    OWN_LOG,
    VERSION,
    Attach,
    Attached,
    Challenge,
    Claim,
    Claimed,
    Committed,
    Event,
    Failure,
    GoingAway,
    HeadAt,
    Hello,
    Lagging,
    Page,
    Ping,
    Pong,
    Pull,
    Push,
    Pushed,
    Snapshot,
    SnapshotPage,
    Welcome,
    read_frame,
)
from .statements import Device
from .structures import Cursor, Operation, Signed, SnapshotToken

ANSWER_TIMEOUT_S: Final = 20
EVENTS: Final = (Event, Committed, HeadAt, Lagging)


class Refused(Exception):
    """A request's failure."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(f"{failure.code}: {failure.message}")
        self.failure = failure


class Lost(Exception):
    """The connection ended: the failure before the close, if there was one, and the close."""

    def __init__(self, failure: Failure | GoingAway | None, ended: Ended) -> None:
        super().__init__(f"{failure} {ended}")
        self.failure, self.ended = failure, ended


async def within(what: Any) -> Any:
    """Its outcome, or an end to the waiting."""
    return await asyncio.wait_for(what, ANSWER_TIMEOUT_S)


async def next_frame(carrier: Carrier) -> Any:
    """The next frame, before there is a session."""
    arrived = await within(carrier.receive())
    if isinstance(arrived, Ended):
        raise Lost(None, arrived)
    return read_frame(arrived.frame)


class Session:
    """A device's, after *welcome*."""

    def __init__(self, carrier: Carrier, challenge: Challenge, welcome: Welcome) -> None:
        self.carrier, self.challenge, self.welcome = carrier, challenge, welcome
        self._requests = 0
        self._waiting: dict[int, tuple[int, asyncio.Future[Any]]] = {}
        self._pongs: asyncio.Queue[int] = asyncio.Queue()
        self._events: asyncio.Queue[Any] = asyncio.Queue()
        self._last_words: Failure | GoingAway | None = None
        self._ended: asyncio.Future[Lost] = asyncio.get_running_loop().create_future()
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def sign_in(cls, carrier: Carrier, device: Device, token: str, *appended: object) -> Session:
        """With an access token; `appended` are fields of a later version, which the node passes over."""
        challenge = await next_frame(carrier)
        if not isinstance(challenge, Challenge):
            raise Malformed(f"a challenge was due, there came {challenge}")
        signature = device.hello(challenge.nonce, carrier.number, token)
        hello = Hello(VERSION, VERSION, token, device.id, signature, "interop/1")
        await carrier.send(appending(hello, *appended), carrier.control)
        welcome = await next_frame(carrier)
        if isinstance(welcome, Failure):
            ended = await within(carrier.receive())
            raise Lost(welcome, ended)
        if not isinstance(welcome, Welcome):
            raise Malformed(f"a welcome was due, there came {welcome}")
        return cls(carrier, challenge, welcome)

    async def _read(self) -> None:
        try:
            while True:
                arrived = await self.carrier.receive()
                if isinstance(arrived, Ended):
                    self._end(Lost(self._last_words, arrived))
                    return
                self._take(read_frame(arrived.frame), arrived)
        except Malformed as error:
            self._end(Lost(None, Ended(None, f"the node sent: {error}")))

    def _end(self, lost: Lost) -> None:
        self._ended.set_result(lost)
        for _, answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(lost)
        self._waiting.clear()
        self._events.put_nowait(lost)

    def _take(self, frame: Any, arrived: Arrived) -> None:
        kind = self.carrier.kind(arrived.stream)
        if kind is not Via.EVERYTHING and (kind is Via.EVENTS) != isinstance(frame, EVENTS):
            raise Malformed(f"{frame} on stream {arrived.stream}")
        if isinstance(frame, EVENTS):
            self._events.put_nowait(frame)
        elif isinstance(frame, Pong):
            self._pongs.put_nowait(frame.number)
        elif isinstance(frame, GoingAway) or (isinstance(frame, Failure) and frame.request == 0):
            self._last_words = frame
        else:
            self._answer(frame, arrived)

    def _answer(self, frame: Any, arrived: Arrived) -> None:
        stream, answer = self._waiting.pop(frame.request)
        if stream != arrived.stream:
            raise Malformed(f"{frame} on stream {arrived.stream}, asked on {stream}")
        if isinstance(frame, Failure):
            answer.set_exception(Refused(frame))
        else:
            answer.set_result(frame)

    def number(self) -> int:
        """The next request's."""
        self._requests += 1
        return self._requests

    async def start(self, frame: Any, *appended: object, own_stream: bool = False) -> asyncio.Future[Any]:
        """Sends a request; its answer is the future's."""
        if self._ended.done():
            raise self._ended.result()
        stream = self.carrier.open_stream() if own_stream else self.carrier.control
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[frame.request] = (stream, answer)
        await self.carrier.send(appending(frame, *appended), stream)
        return answer

    async def ask(self, frame: Any, *appended: object, own_stream: bool = False) -> Any:
        """Sends a request and waits for its answer; `Refused` where it is a failure."""
        return await within(await self.start(frame, *appended, own_stream=own_stream))

    async def send(self, frame: bytes) -> None:
        """Bytes as they are."""
        await self.carrier.send(frame, self.carrier.control)

    async def event(self) -> Any:
        """The next event."""
        event = await within(self._events.get())
        if isinstance(event, Lost):
            raise event
        return event

    async def ended(self) -> Lost:
        """How the connection ended."""
        return await within(asyncio.shield(self._ended))  # type: ignore[no-any-return]

    async def close(self) -> None:
        """As a client that has what it wanted."""
        await self.carrier.close()
        await self.ended()

    async def ping(self, number: int) -> int:
        """The number that comes back."""
        await self.send(pack(Ping(number)))
        return await self.next_pong()

    async def next_pong(self) -> int:
        """The number of the next pong."""
        return await within(self._pongs.get())  # type: ignore[no-any-return]

    async def attach(self, cursor: Cursor) -> Attached:
        return await self.ask(Attach(self.number(), OWN_LOG, cursor))  # type: ignore[no-any-return]

    async def pull(self, cursor: Cursor, to: int, *, own_stream: bool = False) -> Page:
        return await self.ask(Pull(self.number(), OWN_LOG, cursor, to), own_stream=own_stream)  # type: ignore[no-any-return]

    async def snapshot(self, resume: SnapshotToken | None) -> SnapshotPage:
        return await self.ask(Snapshot(self.number(), OWN_LOG, resume))  # type: ignore[no-any-return]

    async def claim(self) -> Claimed:
        return await self.ask(Claim(self.number(), OWN_LOG))  # type: ignore[no-any-return]

    async def push(self, signed: Signed, operations: list[Operation]) -> Pushed:
        return await self.ask(Push(self.number(), OWN_LOG, signed, operations))  # type: ignore[no-any-return]


def appending(frame: Any, *appended: object) -> bytes:
    """A frame with elements after the ones that the page names."""
    return pack([*unpack(pack(frame)), *appended]) if appended else pack(frame)


