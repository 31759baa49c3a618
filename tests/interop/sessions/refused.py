"""What a node refuses and how it says so: the request's failure, or the connection's with the close that belongs to it.

Never: a mistake of the carrier's own; for WebSocket those are in `conformance`.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable
from typing import Any

from cloudsync_wire.carrier import Ended
from cloudsync_wire.codec import FRAME_BYTES_MAX, pack
from cloudsync_wire.frames import OWN_LOG, Attach, Authenticate, Authenticated, Challenge, ChangeRoster, Failure, GetKeyring, Hello, Ping
from cloudsync_wire.quic import QuicCarrier
from cloudsync_wire.session import Lost, Refused, Session, next_frame, within
from cloudsync_wire.statements import CONTEXT_REVOKE, FORMAT, Device, RevokeStatement, sign
from cloudsync_wire.structures import BEGINNING, RevokeChange
from cloudsync_wire.websocket import WebSocketCarrier

from .frozen import refusal
from .world import World

Show = Callable[[World], Awaitable[Any]]

# Of docs/wire.md, *closes with*: WebSocket, QUIC.
ILL_FORMED = (1002, 1)
TOO_LARGE = (1009, 2)
DEPTH_MAX = 16
TO_BE_MENDED = (1008, 3)


def code_of(world: World, codes: tuple[int, int]) -> int:
    """The close's code on this carrier."""
    return codes[1] if world.scheme == "quic" else codes[0]


def expect(lost: Lost, world: World, code: str, closes: tuple[int, int]) -> None:
    """The failure of the connection, then its close, which repeats the code."""
    assert isinstance(lost.failure, Failure), lost
    assert (lost.failure.request, lost.failure.code) == (0, code), lost
    assert lost.ended == Ended(code_of(world, closes), code), lost


async def bad_hellos(world: World) -> None:
    """A wrong signature, a token that is none, another device's, and one of a version that isn't spoken."""
    stranger = Device(world.device.id, bytes(32))
    attempts = [
        ("signature_invalid", TO_BE_MENDED, stranger, world.tokens[0]),
        ("token_invalid", TO_BE_MENDED, world.device, "no token"),
        ("token_mismatch", TO_BE_MENDED, Device(bytes([9] * 16), world.device.seed), world.tokens[0]),
    ]
    for code, closes, device, token in attempts:
        try:
            await Session.sign_in(await world.connect(), device, token)
        except Lost as lost:
            expect(lost, world, code, closes)
        else:
            raise AssertionError(f"welcomed instead of {code}")
    carrier = await world.connect()
    challenge = await next_frame(carrier)
    assert isinstance(challenge, Challenge)
    signature = world.device.hello(challenge.nonce, carrier.number, world.tokens[0])
    await carrier.send(pack(Hello(2, 3, world.tokens[0], world.device.id, signature, "later")), carrier.control)
    failure, ended = await next_frame(carrier), await within(carrier.receive())
    expect(Lost(failure, ended), world, "version_unsupported", ILL_FORMED)


async def frames_that_end_a_session(world: World) -> None:
    """Not MessagePack, bytes after it, an unknown tag, a wrong type, a second hello, a request's number used twice."""
    whole = pack(Ping(1))
    hello = Hello(1, 1, world.tokens[0], world.device.id, bytes(64), "again")
    cases = [
        ("malformed", b"\xc1"),
        ("malformed", b""),
        ("malformed", whole + b"\0"),
        ("malformed", pack([200, 1])),
        ("malformed", pack([5, "one"])),
        ("malformed", pack([34, 1, 0, [bytes(15), 0, bytes(8)]])),
        ("malformed", pack([5, 1, [[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]])),
        ("unexpected_frame", pack(hello)),
        ("unexpected_frame", pack([6, 1])),
        ("request_id_in_use", pack(GetKeyring(0))),
    ]
    for code, frame in cases:
        session = await world.sign_in()
        await session.send(frame)
        try:
            lost = await session.ended()
        except TimeoutError:
            raise AssertionError(f"the session outlived {frame.hex()}") from None
        expect(lost, world, code, ILL_FORMED)
    # At the limit it is a ping with an element that isn't known.
    session = await world.sign_in()
    await session.send(nested(DEPTH_MAX))
    assert await session.next_pong() == 1
    await session.close()


def nested(depth: int) -> bytes:
    """A ping with an element appended that makes it so many arrays deep."""
    element: list[object] = []
    for _ in range(depth - 2):
        element = [element]
    return pack([5, 1, element])


async def carried_on_with_a_fresh_token(world: World) -> None:
    """*Authenticate* signs the same nonce; one that is signed otherwise is refused."""
    session = await world.sign_in()
    number, fresh = session.carrier.number, world.tokens[1]
    signature = world.device.hello(session.challenge.nonce, number, fresh)
    answer = await session.ask(Authenticate(session.number(), fresh, signature))
    assert isinstance(answer, Authenticated) and answer.token_expires_ts > session.welcome.server_ts
    await session.close()


async def requests_that_are_refused(world: World) -> None:
    """A log that isn't there, a record that changed meanwhile, a number that has other bytes: the session lives on."""
    session = await world.sign_in()
    assert await refusal(session, Attach(session.number(), 1, BEGINNING)) == "log_unknown"
    await session.claim()
    assert world.pushed is not None
    late = world.operation("s1", b"on an old base", world.pushed.device_seq + 2)
    pushed = await world.push(session, {"s1": b"first"})
    signed = world.device.batch(world.log, pushed.device_seq + 1, pushed.hash, [late])
    failure = await failure_of(session.push(signed, [late]))
    assert failure.code == "stale" and [issue.key.record for issue in failure.records] == ["s1"], failure
    assert (failure.records[0].current, failure.records[0].current_seq) == (late.base + 1, pushed.to), failure
    other = world.operation("s1", b"other bytes", pushed.device_seq)
    reused = world.device.batch(world.log, pushed.device_seq, world.frozen.signed.hash(), [other])
    failure = await failure_of(session.push(reused, [other]))
    assert failure.code == "sequence_reused", failure
    await world.push(session, {"s1": b"second"})
    await session.close()


async def failure_of(request: Awaitable[object]) -> Failure:
    """What a request is refused with."""
    try:
        answer = await request
    except Refused as refused:
        return refused.failure
    raise AssertionError(f"not refused: {answer}")


async def a_frame_that_is_too_large(world: World) -> None:
    """One byte over 1 MiB ends the session; 1 MiB itself is looked at, and is no frame."""
    session = await world.sign_in()
    await session.send(pack([5, 1]).ljust(FRAME_BYTES_MAX, b"\0"))
    expect(await session.ended(), world, "malformed", ILL_FORMED)
    session = await world.sign_in()
    await session.send(bytes(FRAME_BYTES_MAX + 1))
    expect(await session.ended(), world, "frame_too_large", TOO_LARGE)


async def requests_of_one_quic_stream(world: World) -> None:
    """Several on one stream are answered there, then the node ends its side; the connection outlives a change of network."""
    session = await world.sign_in()
    carrier = session.carrier
    assert isinstance(carrier, QuicCarrier)
    stream = carrier.open_stream()
    for last in (False, True):
        carrier.send_on(stream, pack(Ping(7)), ends=last)
    assert [await session.next_pong() for _ in range(2)] == [7, 7]
    assert await within(carrier.stream_ended()) == stream
    await asyncio.gather(*(session.pull(BEGINNING, 2, own_stream=True) for _ in range(2)))
    # Nothing may be sent again by 0-RTT; and a client that comes by another way is the same one.
    assert all(not ticket.max_early_data_size for ticket in carrier.tickets), carrier.tickets
    for number in range(3):
        await carrier.move()
        assert await session.ping(number) == number
    await session.close()


async def messages_of_a_websocket(world: World) -> None:
    """A frame in fragments is one; text is none."""
    session = await world.sign_in()
    carrier = session.carrier
    assert isinstance(carrier, WebSocketCarrier)
    await carrier.send_fragments([bytes([byte]) for byte in pack(Ping(2**40))])
    assert await session.next_pong() == 2**40
    await carrier.send_text("text")
    expect(await session.ended(), world, "malformed", ILL_FORMED)


async def revoked(world: World) -> None:
    """The identity revokes the device after its last push: its sessions are closed, and it signs in no more."""
    listener, session = await world.sign_in(), await world.sign_in()
    assert world.pushed is not None
    last = world.pushed.device_seq
    statement = RevokeStatement(FORMAT, world.log, 1, world.device.id, last + 1, world.device.id, 0)
    change = RevokeChange(sign(world.identity_seed, CONTEXT_REVOKE, statement))
    failure = await failure_of(session.ask(ChangeRoster(session.number(), OWN_LOG, change)))
    assert failure.code == "revoke_last_differs" and failure.last is not None and failure.last.device_seq == last, failure
    change = RevokeChange(sign(world.identity_seed, CONTEXT_REVOKE, dataclasses.replace(statement, last=last)))
    answer = await session.start(ChangeRoster(session.number(), OWN_LOG, change))
    expect(await listener.ended(), world, "device_revoked", TO_BE_MENDED)
    expect(await session.ended(), world, "device_revoked", TO_BE_MENDED)
    answer.cancel()
    try:
        await world.sign_in()
    except Lost as lost:
        expect(lost, world, "device_revoked", TO_BE_MENDED)
    else:
        raise AssertionError("a revoked device is welcomed")


def shows(scheme: str) -> tuple[Show, ...]:
    """The last one ends the device, and with it the log's use."""
    of_the_carrier = requests_of_one_quic_stream if scheme == "quic" else messages_of_a_websocket
    return (
        bad_hellos,
        frames_that_end_a_session,
        carried_on_with_a_fresh_token,
        requests_that_are_refused,
        a_frame_that_is_too_large,
        of_the_carrier,
        revoked,
    )
