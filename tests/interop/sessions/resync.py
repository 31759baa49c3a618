"""Replicas that fell behind: disconnected, deaf to their events, or with a cursor that the log does not have.

Never: a wait for time to pass; a deaf session is one whose bytes are not taken.
"""

from __future__ import annotations

import os

from cloudsync_wire.frames import OWN_LOG, Attach, HeadAt, Pull
from cloudsync_wire.structures import BatchEntry, Cursor

from .frozen import ROSTER_ROWS, refusal
from .replica import Replica
from .world import World

LARGE_BYTES = 48 * 1024
"""A content of one event that comes with its body."""
DEAF_PUSHES_MAX = 400
"""Far more than sockets, windows and the node's queue of 1 MiB hold."""
BURST = 80
"""Pushes before a deaf session is asked what it knows."""


async def attached_again_with_its_cursor(world: World) -> None:
    """A session is gone while pushes go on; another one of the device attaches where it stood and misses nothing."""
    writer, reader = await world.sign_in(), await world.sign_in()
    replica = Replica(world.log)
    await replica.attach(reader)
    await reader.close()
    await writer.claim()
    before = replica.cursor.seq
    await world.push(writer, {"s1": b"second", "s9": b"new"})
    pushed = await world.push(writer, {"s1": b"third"})
    again = await world.sign_in()
    attached = await replica.attach(again)
    assert attached.head == pushed.to == replica.cursor.seq == before + 3
    same(replica, world)
    # Events go on above that head.
    pushed = await world.push(writer, {"s9": b"newer"})
    await replica.follow(again, pushed.to)
    same(replica, world)
    await again.close()
    await writer.close()


def same(replica: Replica, world: World) -> None:
    """The replica has the current version of every record."""
    assert {record: envelope for (_, record), envelope in replica.envelopes().items()} == world.current


async def told_that_it_lags(world: World) -> None:
    """A session takes nothing until its events were dropped; it is told, attaches again, pulls, and has everything."""
    writer, reader = await world.sign_in(), await world.sign_in()
    replica = Replica(world.log)
    await replica.attach(reader)
    await writer.claim()
    pushes = 0
    while replica.lagged == 0:
        assert pushes < DEAF_PUSHES_MAX, "it was never told that it lags"
        reader.carrier.turn_deaf()
        for _ in range(BURST):
            pushed = await world.push(writer, {"large": os.urandom(LARGE_BYTES)})
            pushes += 1
        reader.carrier.listen_again()
        await replica.follow(reader, pushed.to)
    same(replica, world)
    pushed = await world.push(writer, {"s1": b"after"})
    await replica.follow(reader, pushed.to)
    same(replica, world)
    await reader.close()
    await writer.close()


async def too_large_for_an_event(world: World) -> None:
    """Bodies over 64 KiB together come as a head only; pulled, they are the same bytes."""
    writer, reader = await world.sign_in(), await world.sign_in()
    replica = Replica(world.log)
    await replica.attach(reader)
    await writer.claim()
    pushed = await world.push(writer, {"large": os.urandom(LARGE_BYTES), "larger": os.urandom(LARGE_BYTES)})
    event = await reader.event()
    assert isinstance(event, HeadAt) and event.head == pushed.to and event.timeline == pushed.timeline
    await replica.take(reader, event)
    same(replica, world)
    await reader.close()
    await writer.close()


async def cursors_that_the_log_does_not_have(world: World) -> None:
    """Of the future, of another timeline, or with another row: by attach and by pull."""
    session = await world.sign_in()
    replica = Replica(world.log)
    await replica.attach(session)
    cursor = replica.cursor
    wrong = {
        "store_rewound": [Cursor(cursor.timeline, cursor.seq + 1, cursor.row), Cursor(cursor.timeline, cursor.seq, bytes(8))],
        "timeline_unknown": [Cursor(os.urandom(16), cursor.seq, cursor.row)],
    }
    for code, cursors in wrong.items():
        for given in cursors:
            assert await refusal(session, Attach(session.number(), OWN_LOG, given)) == code
            assert await refusal(session, Pull(session.number(), OWN_LOG, given, given.seq + 10)) == code
    # A cursor is the end of an entry; this one is inside the frozen batch.
    assert isinstance(entry := replica.entries[ROSTER_ROWS], BatchEntry)
    inside = Cursor(cursor.timeline, entry.first, entry.operations[0].hash()[:8])
    assert await refusal(session, Pull(session.number(), OWN_LOG, inside, cursor.seq)) == "store_rewound"
    # At 0 neither timeline nor row is looked at; and a pull may ask for more than there is.
    beginning = Cursor(os.urandom(16), 0, os.urandom(8))
    assert (await session.attach(beginning)).head == replica.cursor.seq
    page = await session.pull(beginning, 2**64 - 1)
    assert page.from_ == 0 and page.entries and page.head == replica.cursor.seq
    # The session lives on.
    assert (await session.attach(replica.cursor)).head == replica.cursor.seq
    await session.close()


SHOWS = (
    attached_again_with_its_cursor,
    told_that_it_lags,
    too_large_for_an_event,
    cursors_that_the_log_does_not_have,
)
