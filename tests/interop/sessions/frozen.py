"""The frozen batch: signed in for, pushed, told of, read back every way that there is, and opened.

Never: bytes of the batch made here; they are the frozen ones.
"""

from __future__ import annotations

import dataclasses

from cloudsync_wire.codec import read
from cloudsync_wire.envelope import Header, open_envelope
from cloudsync_wire.frames import OWN_LOG, Attach, Claim, Committed, Event, GetKeyring, History, Push, Versions
from cloudsync_wire.session import Refused, Session
from cloudsync_wire.structures import BEGINNING, NOTHING_PUSHED, BatchEntry

from .replica import Replica
from .world import World

ROSTER_ROWS = 2
"""The identity and the device: what the log holds at first."""


async def signed_in_pinged_and_attached(world: World) -> None:
    """A hello with elements of a later version is welcomed; pings of both kinds are answered; the log is there."""
    carrier = await world.connect()
    session = await Session.sign_in(carrier, world.device, world.tokens[0], {"later": True}, 7)
    assert session.welcome.version == 1 and session.welcome.user == world.log
    assert session.welcome.token_expires_ts > session.welcome.server_ts
    assert session.challenge.version_min <= 1 <= session.challenge.version_max
    for number in (0, 1, 2**32, 2**64 - 1):
        assert await session.ping(number) == number
    await carrier.ping()
    attached = await session.ask(Attach(session.number(), OWN_LOG, BEGINNING), "a later field")
    assert (attached.log, attached.id, attached.head, attached.floor) == (OWN_LOG, world.log, ROSTER_ROWS, 0)
    keyring = await session.ask(GetKeyring(session.number()))
    assert (keyring.version, keyring.keyring) == (session.welcome.keyring_version, world.keyring)
    await session.close()
    assert (await session.ended()).failure is None


async def pushed_and_told(world: World) -> None:
    """Claimed, pushed, acknowledged; the session that pushed is told without bodies, the other one with them."""
    writer, reader = await world.sign_in(), await world.sign_in()
    replica = Replica(world.log)
    await replica.attach(reader)
    assert replica.cursor.seq == ROSTER_ROWS and replica.roster.devices is not None
    await writer.attach(BEGINNING)
    frozen = world.frozen
    refused = await refusal(writer, Push(writer.number(), OWN_LOG, frozen.signed, frozen.operations))
    assert refused == "claim_first", refused
    claimed = await writer.ask(Claim(writer.number(), OWN_LOG), "a later field")
    assert claimed.last == NOTHING_PUSHED
    pushed = await writer.push(frozen.signed, frozen.operations)
    assert (pushed.from_, pushed.to) == (ROSTER_ROWS, ROSTER_ROWS + len(frozen.operations))
    assert (pushed.device_seq, pushed.hash) == (frozen.device_seq, frozen.signed.hash())
    records = [read(Header, operation.envelope.header).record for operation in frozen.operations]
    world.took(pushed, dict(zip(records, frozen.operations)))

    told = await writer.event()
    assert isinstance(told, Committed) and (told.from_, told.to, told.device_seq) == (pushed.from_, pushed.to, pushed.device_seq)
    assert told.row == frozen.operations[-1].envelope.hash()[:8] and told.timeline == pushed.timeline
    event = await reader.event()
    assert isinstance(event, Event) and (event.from_, event.to) == (pushed.from_, pushed.to)
    await replica.take(reader, event)
    is_the_frozen_one(replica.entries[-1], world)
    # A lost answer: the same bytes are answered as the first time, and nobody is told twice.
    again = await writer.push(frozen.signed, frozen.operations)
    assert dataclasses.replace(again, request=pushed.request) == pushed
    assert (await writer.claim()).last.hash == pushed.hash
    for session in (writer, reader):
        await session.ping(1)
        await session.close()


async def refusal(session: Session, request: object) -> str:
    """The code that a request is refused with."""
    try:
        answer = await session.ask(request)
    except Refused as refused:
        return refused.failure.code
    raise AssertionError(f"not refused: {answer}")


def is_the_frozen_one(entry: object, world: World) -> None:
    """Byte by byte."""
    assert isinstance(entry, BatchEntry)
    assert (entry.signed, entry.operations) == (world.frozen.signed, world.frozen.operations)


async def pulled_on_another_connection(world: World) -> None:
    """From the beginning, on a request stream where the carrier has such: roster and batch verify, and are the same bytes."""
    session = await world.sign_in()
    attached = await session.attach(BEGINNING)
    replica = Replica(world.log)
    await replica.pull(session, attached.head, own_stream=True)
    assert len(replica.entries) == ROSTER_ROWS + 1
    is_the_frozen_one(replica.entries[-1], world)
    # And from within: the rows that were read are not given again.
    assert world.pushed is not None
    page = await session.pull(replica.cursor, attached.head)
    assert (page.from_, page.to, page.entries) == (attached.head, attached.head, [])
    await session.close()


async def taken_as_a_snapshot(world: World) -> None:
    """Roster first, then the records by key; then nothing is left to pull."""
    session = await world.sign_in()
    replica, roster_rows, resume = Replica(world.log), 0, None
    keys: list[tuple[bytes, bytes]] = []
    while True:
        page = await session.snapshot(resume)
        assert not (page.roster and keys), "roster rows after records"
        roster_rows += len(page.roster)
        for roster_row in page.roster:
            replica.roster.take(roster_row.change)
        for row in page.rows:
            replica.row(row)
            header = read(Header, row.envelope.header)
            keys.append((header.collection.encode(), header.record.encode()))
        if page.resume is None:
            break
        resume = page.resume
    assert roster_rows == ROSTER_ROWS and keys == sorted(keys)
    assert list(replica.envelopes().values()) and {key[1]: e for key, e in replica.envelopes().items()} == world.current
    replica.cursor = page.start
    attached = await replica.attach(session)
    assert attached.head == page.start.seq
    await session.close()


async def opened_with_the_account_key(world: World) -> None:
    """What was read back has the contents that were frozen; each record's history has its one version."""
    session = await world.sign_in()
    replica = Replica(world.log)
    await replica.attach(session)
    contents = []
    for operation in world.frozen.operations:
        header, _ = open_envelope(operation.envelope, world.frozen.key)
        read_back = replica.envelopes()[(header.collection, header.record)]
        contents.append(open_envelope(read_back, world.frozen.key)[1])
        versions = await session.ask(History(session.number(), OWN_LOG, header.collection, header.record, None, 10))
        assert isinstance(versions, Versions) and not versions.more
        assert [row.envelope for row in versions.rows] == [read_back]
    assert contents == world.frozen.contents
    await session.close()


SHOWS = (
    signed_in_pinged_and_attached,
    pushed_and_told,
    pulled_on_another_connection,
    taken_as_a_snapshot,
    opened_with_the_account_key,
)
