"""Groups 6, 7 and 9 of the suite: text, closing, limits.

Never: a message beyond a node's limit taken for one that must be answered; the suite's own go up to 16 MiB.
"""

from __future__ import annotations

from collections.abc import Iterator

from cloudsync_wire.codec import FRAME_BYTES_MAX

from .case import AS_ASKED, CLEANLY, FAILED, NORMAL, PROTOCOL_ERROR, Case, Closes, fragments, message, ping, pong
from .framing import SMALL
from .raw import Op, frame

VALID_CODES = (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999)
INVALID_CODES = (0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999)
UNDEFINED_CODES = (5000, 65535)
NOT_UTF8 = bytes.fromhex("cebae1bdb9cf83cebcceb5eda080656469746564")
UTF8 = "Hello-µ@ßöäüàá-UTF-8!!".encode()
BAD_TEXT = 1007
TOO_LARGE = Closes((1009,), by_client=False)
REFUSED = Closes((PROTOCOL_ERROR, BAD_TEXT), by_client=False)
KIB = 1024
MIB = KIB * KIB


def texts() -> Iterator[Case]:
    """1.1 and 6: any text is refused, in one piece or in fragments, empty, valid or not; nothing of it is answered."""
    whole = {"1.1.1": b"", "1.1.2": b"*" * 125, "1.1.7": b"*" * 65536, "6.1.1": b"", "6.2.1": UTF8, "6.3.1": NOT_UTF8}
    for number, payload in whole.items():
        yield Case(number, f"text of {len(payload)} B", (message(payload, op=Op.TEXT),), ((),), REFUSED)
    yield Case("6.1.2", "three empty fragments of text", fragments_of_nothing(), ((),), REFUSED)
    for number, payload, size in (("6.2.2", UTF8, 13), ("6.2.3", UTF8, 1), ("6.3.2", NOT_UTF8, 1), ("6.4.1", NOT_UTF8, 12)):
        yield Case(number, f"text in fragments of {size}", fragments(payload, size, Op.TEXT), ((),), REFUSED)
    yield Case("1.2.1", "an empty message", (message(b""),), ((),), FAILED)


def fragments_of_nothing() -> tuple[bytes, ...]:
    """A text message of three empty fragments."""
    return (frame(Op.TEXT, fin=False), frame(Op.CONTINUATION, fin=False), frame(Op.CONTINUATION))


def close(code: int = NORMAL, reason: bytes = b"") -> bytes:
    """A close frame."""
    return frame(Op.CLOSE, code.to_bytes(2, "big") + reason)


def closes() -> Iterator[Case]:
    """7.1.1 to 7.13.2."""
    hello = message(ping(1, SMALL))
    yield Case("7.1.1", "a message, then a close", (hello,), ((pong(1),),), CLEANLY)
    yield Case("7.1.2", "two closes", (close(), frame(Op.CLOSE)), ((),), AS_ASKED)
    yield Case("7.1.3", "a ping after the close", (close(), frame(Op.PING)), ((),), AS_ASKED)
    yield Case("7.1.4", "a message after the close", (close(), hello), ((),), AS_ASKED)
    first, last = fragments(ping(1, 18), 9)
    yield Case("7.1.5", "a close between two fragments", (first, close(), last), ((),), AS_ASKED)
    large = message(ping(1, 256 * KIB))
    both = ((pong(1), pong(2)), (pong(1),), ())
    yield Case("7.1.6", "256 KiB, a message, a close, a ping", (large, message(ping(2, SMALL)), close(), frame(Op.PING)), both, AS_ASKED)
    without = Closes((None, NORMAL), by_client=False)
    yield Case("7.3.1", "a close without payload", (frame(Op.CLOSE),), ((),), without)
    yield Case("7.3.2", "a close of one byte", (frame(Op.CLOSE, b"a"),), ((),), FAILED)
    yield Case("7.3.3", "a close with a code", (close(),), ((),), AS_ASKED)
    yield Case("7.3.4", "a close with a code and a reason", (close(reason=b"Hello World!"),), ((),), AS_ASKED)
    yield Case("7.3.5", "a close with the longest reason", (close(reason=b"*" * 123),), ((),), AS_ASKED)
    yield Case("7.3.6", "a close with a reason that is too long", (close(reason=b"*" * 124),), ((),), FAILED)
    yield Case("7.5.1", "a close with a reason that isn't UTF-8", (close(reason=NOT_UTF8),), ((),), REFUSED)
    for at, code in enumerate(VALID_CODES, 1):
        yield Case(f"7.7.{at}", f"close {code}", (close(code),), ((),), Closes((NORMAL, code), by_client=False))
    for at, code in enumerate(INVALID_CODES, 1):
        yield Case(f"7.9.{at}", f"close {code}", (close(code),), ((),), FAILED)
    for at, code in enumerate(UNDEFINED_CODES, 1):
        undefined = Closes((NORMAL, code, PROTOCOL_ERROR), by_client=False)
        yield Case(f"7.13.{at}", f"close {code}", (close(code),), ((),), undefined)


def limits() -> Iterator[Case]:
    """9.2 to 9.8, up to a node's limit, and beyond it."""
    for at, length in enumerate((64 * KIB, 256 * KIB, MIB), 1):
        yield Case(f"9.2.{at}", f"a message of {length} B", (message(ping(1, length)),), ((pong(1),),), CLEANLY)
    for at, length in enumerate((4 * MIB, 8 * MIB, 16 * MIB), 4):
        yield Case(f"9.2.{at}", f"a message of {length} B", (message(bytes(length)),), ((),), TOO_LARGE)
    announced = frame(Op.BINARY, announced=FRAME_BYTES_MAX + 1)
    yield Case("9.x.1", "a byte more than allowed, announced only", (announced,), ((),), TOO_LARGE)
    yield Case("9.x.2", "2^62 B, announced only", (frame(Op.BINARY, announced=1 << 62),), ((),), TOO_LARGE)
    for at, size in enumerate((64, 256, KIB, 4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB, MIB), 1):
        pieces = b"".join(fragments(ping(1, MIB), size))
        yield Case(f"9.4.{at}", f"1 MiB in fragments of {size}", (pieces,), ((pong(1),),), CLEANLY)
    over = b"".join(fragments(bytes(4 * MIB), 64 * KIB))
    yield Case("9.4.9", "4 MiB in fragments of 64 KiB", (over,), ((),), TOO_LARGE)
    for at, chop in enumerate((64, 128, 256, 512, KIB, 2 * KIB), 1):
        yield Case(f"9.6.{at}", f"1 MiB in pieces of {chop}", (message(ping(1, MIB)),), ((pong(1),),), CLEANLY, chop)
    for at, length in enumerate((0, 16, 64, 256, KIB, 4 * KIB, 16 * KIB), 1):
        sends = b"".join(message(ping(number, length)) for number in range(1, 16))
        yield Case(f"9.8.{at}", f"messages of {length} B", (sends,), (tuple(pong(number) for number in range(1, 16)),), CLEANLY)


def masking() -> Iterator[Case]:
    """What the suite leaves to its own client: a server takes no frame that isn't masked (RFC 6455, section 5.1)."""
    yield Case("x.1", "a message without a mask", (frame(Op.BINARY, ping(1, SMALL), masked=False),), ((),), FAILED)
    yield Case("x.2", "a ping without a mask", (frame(Op.PING, b"?", masked=False),), ((),), FAILED)


