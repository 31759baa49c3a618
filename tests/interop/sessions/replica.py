"""A replica by the rules of docs/wire.md, *Reading a log*: a cursor, what was read up to it, and the roster that vouches for it.

Never: a row whose signature did not hold, or a cursor moved by anything but pages, events and *committed*.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from cloudsync_wire.codec import read
from cloudsync_wire.envelope import Header
from cloudsync_wire.frames import Attached, Committed, Event, HeadAt, Lagging, Page
from cloudsync_wire.session import Session
from cloudsync_wire.statements import Roster
from cloudsync_wire.structures import BEGINNING, BatchEntry, Cursor, Entry, Envelope, Put, RosterEntry, Row


@dataclass
class Replica:
    """What one session has read."""

    log: bytes
    cursor: Cursor = BEGINNING
    entries: list[Entry] = field(default_factory=list)
    rows: dict[tuple[str, str], Row] = field(default_factory=dict)
    lagged: int = 0
    roster: Roster = field(init=False)

    def __post_init__(self) -> None:
        self.roster = Roster(self.log)

    async def attach(self, session: Session) -> Attached:
        """Attaches where the cursor stands and pulls up to the head of that moment."""
        attached = await session.attach(self.cursor)
        await self.pull(session, attached.head)
        return attached

    async def pull(self, session: Session, to: int, *, own_stream: bool = False) -> None:
        """Page after page."""
        while self.cursor.seq < to:
            page = await session.pull(self.cursor, to, own_stream=own_stream)
            if not self.apply(page):
                raise AssertionError(f"{page} at {self.cursor}")

    async def follow(self, session: Session, to: int) -> None:
        """Takes events until the cursor is there."""
        while self.cursor.seq < to:
            await self.take(session, await session.event())

    async def take(self, session: Session, event: Any) -> None:
        """One event."""
        if isinstance(event, Lagging):
            self.lagged += 1
            await self.attach(session)
        elif isinstance(event, HeadAt):
            await self.pull(session, event.head)
        elif isinstance(event, Committed):
            raise AssertionError("this replica's session does not push")
        elif not self.apply(event):
            await self.pull(session, event.to)

    def apply(self, stretch: Page | Event) -> bool:
        """What begins at the cursor; old news is dropped; `False` for a gap."""
        if stretch.to <= self.cursor.seq:
            return True
        if stretch.from_ != self.cursor.seq:
            return False
        seq = stretch.from_
        for entry in stretch.entries:
            seq, row = self._entry(entry, seq)
            self.cursor = Cursor(stretch.timeline, seq, row[:8])
        assert seq == stretch.to, f"entries to {seq} of {stretch.to}"
        return True

    def _entry(self, entry: Entry, before: int) -> tuple[int, bytes]:
        self.entries.append(entry)
        if isinstance(entry, RosterEntry):
            assert entry.seq == before + 1
            self.roster.take(entry.change)
            return entry.seq, entry.change.signed.hash()
        assert isinstance(entry, BatchEntry) and entry.first == before + 1
        self.roster.check(entry)
        for seq, operation in enumerate(entry.operations, entry.first):
            if isinstance(operation, Put):
                self.row(Row(seq, entry.server_ts, operation.envelope, None))
        return entry.first + len(entry.operations) - 1, entry.operations[-1].hash()

    def row(self, row: Row) -> None:
        """Of two versions the higher seq stays."""
        header = read(Header, row.envelope.header)
        key = (header.collection, header.record)
        there = self.rows.get(key)
        if there is None or there.seq < row.seq:
            self.rows[key] = row

    def envelopes(self) -> dict[tuple[str, str], Envelope]:
        """The current version of each record."""
        return {key: row.envelope for key, row in self.rows.items()}
