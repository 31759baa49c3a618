"""Groups 1 to 5 and 10 of the suite: lengths, pings, reserved bits, opcodes, fragments.

Never: a message as text; see group 6 in `closing.py`.
"""

from __future__ import annotations

from collections.abc import Iterator

from .case import CLEANLY, FAILED, Await, Case, fragments, message, ping, pong
from .raw import Heard, Op, frame

LENGTHS = (125, 126, 127, 128, 65535, 65536)
"""Of groups 1.1 and 1.2, but for 0: an empty message is no frame of CloudSync's (`closing.py`)."""
SMALL = 13
"""As long as `Hello, world!`."""


def lengths() -> Iterator[Case]:
    """1.2.2 to 1.2.8."""
    for number, length in enumerate(LENGTHS, 2):
        yield Case(f"1.2.{number}", f"a message of {length} B", (message(ping(1, length)),), ((pong(1),),), CLEANLY)
    yield Case("1.2.8", "65536 B in pieces of 997", (message(ping(1, 65536)),), ((pong(1),),), CLEANLY, chop=997)


def pings() -> Iterator[Case]:
    """2.1 to 2.11."""

    def answered(number: str, what: str, payload: bytes, chop: int | None = None) -> Case:
        return Case(number, what, (frame(Op.PING, payload),), ((Heard("pong", payload),),), CLEANLY, chop)

    yield answered("2.1", "a ping without payload", b"")
    yield answered("2.2", "a ping with a text", b"Hello, world!")
    yield answered("2.3", "a ping with binary", bytes([0x00, 0xFF, 0xFE, 0xFD, 0xFC, 0xFB, 0x00, 0xFF]))
    yield answered("2.4", "a ping of 125 B", b"\xfe" * 125)
    yield Case("2.5", "a ping of 126 B", (frame(Op.PING, b"\xfe" * 126),), ((),), FAILED)
    yield answered("2.6", "a ping of 125 B, byte by byte", b"\xfe" * 125, chop=1)
    unasked = frame(Op.PONG, b"unsolicited pong payload")
    yield Case("2.7", "a pong that nobody asked for, empty", (frame(Op.PONG),), ((),), CLEANLY)
    yield Case("2.8", "a pong that nobody asked for", (unasked,), ((),), CLEANLY)
    yield Case("2.9", "such a pong, then a ping", (unasked, frame(Op.PING, b"ping payload")), ((Heard("pong", b"ping payload"),),), CLEANLY)
    payloads = [b"payload-%d" % at for at in range(10)]
    ten, answers = tuple(frame(Op.PING, each) for each in payloads), tuple(Heard("pong", each) for each in payloads)
    yield Case("2.10", "ten pings", ten, (answers,), CLEANLY)
    yield Case("2.11", "ten pings, byte by byte", ten, (answers,), CLEANLY, chop=1)


def reserved_bits() -> Iterator[Case]:
    """3.1 to 3.7: no extension gives them a meaning."""
    first, then = message(ping(1, SMALL)), frame(Op.PING)
    yield Case("3.1", "RSV 1", (message(ping(1, SMALL), rsv=1),), ((),), FAILED)
    for rsv, chop, one in ((2, None, True), (3, None, False), (4, 1, False)):
        sends = (first, message(ping(2, SMALL), rsv=rsv), then)
        yield Case(f"3.{rsv}", f"RSV {rsv} after a message", sends, ((pong(1),), ()), FAILED, chop, in_one_piece=one)
    yield Case("3.5", "RSV 5, binary", (message(ping(1, SMALL), rsv=5),), ((),), FAILED)
    yield Case("3.6", "RSV 6, a ping", (frame(Op.PING, rsv=6),), ((),), FAILED)
    yield Case("3.7", "RSV 7, a close", (frame(Op.CLOSE, rsv=7),), ((),), FAILED)


def opcodes() -> Iterator[Case]:
    """4.1.1 to 4.2.5: those that are reserved, for data and for control."""
    for group, reserved in ((1, range(3, 8)), (2, range(11, 16))):
        for at, op in enumerate(reserved, 1):
            odd = frame(op, b"reserved opcode payload" if at in (2, 4, 5) else b"")
            first = () if at <= 2 else (message(ping(1, SMALL)),)
            sends = (*first, odd, frame(Op.PING))
            hears = ((),) if at <= 2 else ((pong(1),), ())
            yield Case(f"4.{group}.{at}", f"opcode {op}", sends, hears, FAILED, chop=1 if at >= 4 else None)


def fragmented() -> Iterator[Case]:
    """5.1 to 5.18."""
    for number, op in (("5.1", Op.PING), ("5.2", Op.PONG)):
        split = (frame(op, b"fragment1", fin=False), frame(Op.CONTINUATION, b"fragment2"))
        yield Case(number, f"a control frame ({op.name}) in fragments", split, ((),), FAILED)
    two = fragments(ping(1, 18), 9)
    between = (two[0], frame(Op.PING, b"ping payload"), two[1])
    for at, (what, one, chop) in enumerate((("in one piece", True, None), ("frame by frame", False, None), ("byte by byte", False, 1))):
        yield Case(f"5.{3 + at}", f"two fragments, {what}", two, ((pong(1),),), CLEANLY, chop, one)
        heard = (Heard("pong", b"ping payload"), pong(1))
        yield Case(f"5.{6 + at}", f"a ping between two fragments, {what}", between, (heard,), CLEANLY, chop, one)
        for first, fin in ((9, True), (12, False)):
            sends = (frame(Op.CONTINUATION, b"non-continuation payload", fin=fin), message(ping(1, SMALL)))
            yield Case(f"5.{first + at}", f"nothing to continue, fin {fin}, {what}", sends, ((),), FAILED, chop, one)
    more = (frame(Op.CONTINUATION, b"fragment3", fin=False), message(ping(2, SMALL)))
    yield Case("5.15", "nothing to continue after a message", (*two, *more), ((pong(1),), ()), FAILED, in_one_piece=True)
    for number, fin in (("5.16", False), ("5.17", True)):
        repeated = (frame(Op.CONTINUATION, b"fragment1", fin=fin), *two) * 2
        yield Case(number, f"twice nothing to continue, fin {fin}, before a message", repeated, ((),), FAILED)
    twice = (frame(Op.BINARY, b"fragment1", fin=False), frame(Op.BINARY, b"fragment2"))
    yield Case("5.18", "two fragments, both with an opcode", twice, ((),), FAILED, in_one_piece=True)


def among_fragments() -> Iterator[Case]:
    """5.19 and 5.20, and fragments that are empty."""
    five = fragments(ping(1, 45), 9)
    first, second = frame(Op.PING, b"pongme 1!"), frame(Op.PING, b"pongme 2!")
    heard = (Heard("pong", b"pongme 1!"), Heard("pong", b"pongme 2!"), pong(1))
    for number, one in (("5.19", True), ("5.20", False)):
        start = (five[0] + five[1] + first,) if one else (five[0], five[1], first)
        rest = (five[2] + five[3] + second + five[4],) if one else (five[2], five[3], second, five[4])
        yield Case(number, "pings among five fragments, each answered at once", (*start, Await(1), *rest), (heard,), CLEANLY)
    empty = (frame(Op.BINARY, fin=False), frame(Op.CONTINUATION, fin=False), frame(Op.CONTINUATION, ping(1, SMALL)))
    yield Case("5.x", "empty fragments before the message's bytes", empty, ((pong(1),),), CLEANLY)


def automatic() -> Iterator[Case]:
    """10.1.1."""
    yield Case("10.1.1", "65536 B in fragments of 1300", fragments(ping(1, 65536), 1300), ((pong(1),),), CLEANLY)
