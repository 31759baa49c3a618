"""A case of the suite: what is sent, what must be heard, and how the connection must end.

Never: a case's own verdict; `run` has the only one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cloudsync_wire.codec import Malformed, pack
from cloudsync_wire.frames import Challenge, Failure, Hello, Ping, Pong, Welcome, read_frame
from sessions.world import World

from .raw import END, Heard, Op, Raw, frame

CARRIER: Final = 3
NORMAL: Final = 1000
PROTOCOL_ERROR: Final = 1002


@dataclass(frozen=True)
class Await:
    """Sends nothing until so much was heard."""

    events: int


@dataclass(frozen=True)
class Closes:
    """How the connection must end: the codes that the server's close may have; `None` is a close without one."""

    codes: tuple[int | None, ...]
    by_client: bool
    """Whether the client begins the closing, once everything was heard."""


CLEANLY: Final = Closes((NORMAL,), by_client=True)
AS_ASKED: Final = Closes((NORMAL,), by_client=False)
"""The case's own frames hold the close."""
FAILED: Final = Closes((PROTOCOL_ERROR,), by_client=False)


@dataclass(frozen=True)
class Case:
    """`hears` has the alternatives that the suite allows."""

    number: str
    what: str
    sends: tuple[bytes | Await, ...]
    hears: tuple[tuple[Heard, ...], ...]
    closes: Closes
    chop: int | None = None
    in_one_piece: bool = False


def ping(number: int, length: int) -> bytes:
    """A CloudSync ping that is so long: what is appended to it is passed over."""
    data = pack(Ping(number))
    if length <= len(data):
        return data
    for head in (2, 3, 5):
        padded = pack([5, number, bytes(length - len(data) - head)])
        if len(padded) == length:
            return padded
    raise ValueError(f"no ping has {length} bytes")


def pong(number: int) -> Heard:
    """Its answer."""
    return Heard("message", pack(Pong(number)))


def message(payload: bytes, *, op: int = Op.BINARY, rsv: int = 0) -> bytes:
    """A data frame that is a whole message."""
    return frame(op, payload, rsv=rsv)


def fragments(payload: bytes, size: int, op: int = Op.BINARY) -> tuple[bytes, ...]:
    """A message in fragments of that size."""
    parts = [payload[start : start + size] for start in range(0, len(payload), size)]
    last = len(parts) - 1
    return tuple(frame(Op.CONTINUATION if at else op, part, fin=at == last) for at, part in enumerate(parts))


def signed_in(world: World) -> Raw:
    """A session."""
    raw = Raw(world.host, world.port)
    challenge = read_frame(raw.hear().data)
    assert isinstance(challenge, Challenge)
    token = world.tokens[0]
    signature = world.device.hello(challenge.nonce, CARRIER, token)
    raw.send(message(pack(Hello(1, 1, token, world.device.id, signature, "conformance"))))
    welcome = read_frame(raw.hear().data)
    assert isinstance(welcome, Welcome), welcome
    return raw


def run(case: Case, world: World) -> None:
    """Or it raises, and says what was heard."""
    raw = signed_in(world)
    heard: list[Heard] = []
    pieces = (b"".join(_bytes(case)),) if case.in_one_piece else case.sends
    for piece in pieces:
        if isinstance(piece, Await):
            while len(heard) < piece.events:
                heard.append(raw.hear())
        else:
            raw.send(piece, case.chop)
    if case.closes.by_client:
        most = max(len(hears) for hears in case.hears)
        while len(heard) < most and not (heard and heard[-1].kind in ("close", "end")):
            heard.append(raw.hear())
        raw.send(frame(Op.CLOSE, NORMAL.to_bytes(2, "big")))
    while not heard or heard[-1] != END:
        heard.append(raw.hear())
    raw.drop()
    said = f"{case.number} ({case.what}): heard {[_short(each) for each in heard]}"
    events = tuple(each for each in heard if each.kind not in ("close", "end") and not _is_failure(each))
    assert events in case.hears, said
    closes = [each for each in heard if each.kind == "close"]
    assert len(closes) == 1 and closes[0].code in case.closes.codes, said
    assert heard[-2] == closes[0], said


def _bytes(case: Case) -> list[bytes]:
    return [piece for piece in case.sends if isinstance(piece, bytes)]


def _is_failure(heard: Heard) -> bool:
    """The connection's failure may come before the close that says it once more."""
    if heard.kind != "message":
        return False
    try:
        failure = read_frame(heard.data)
    except Malformed:
        return False
    return isinstance(failure, Failure) and failure.request == 0


def _short(heard: Heard) -> str:
    if _is_failure(heard):
        return f"failure {read_frame(heard.data).code}"
    return f"{heard.kind} {heard.code or ''} {heard.data[:40]!r}"
