"""The structures of docs/wire.md, *Encoding*, in its order and by its names.

Never: a rule; these are shapes.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import ClassVar, Final

ZERO_HASH: Final = bytes(32)


@dataclass(frozen=True)
class Cursor:
    """How far a replica has read."""

    timeline: bytes
    seq: int
    row: bytes


BEGINNING: Final = Cursor(bytes(16), 0, bytes(8))


@dataclass(frozen=True)
class RecordKey:
    collection: str
    record: str


@dataclass(frozen=True)
class Signed:
    statement: bytes
    signature: bytes

    def hash(self) -> bytes:
        """The statement's."""
        return sha256(self.statement).digest()


@dataclass(frozen=True)
class Envelope:
    header: bytes
    body: bytes
    wrap: bytes

    def hash(self) -> bytes:
        """SHA-256 of header and body; the wrap is outside."""
        return sha256(self.header + self.body).digest()


@dataclass(frozen=True)
class TimelineStart:
    """A timeline of a log, with its first seq."""

    timeline: bytes
    first: int


@dataclass(frozen=True)
class Put:
    """Writes a record."""

    TAG: ClassVar[int] = 1
    base: int
    envelope: Envelope

    def hash(self) -> bytes:
        """What the statement lists."""
        return self.envelope.hash()


@dataclass(frozen=True)
class Origin:
    """Where a version was first committed, before it was lost."""

    timeline: bytes
    seq: int


@dataclass(frozen=True)
class Adopt:
    """Brings back a version that a rewind lost."""

    TAG: ClassVar[int] = 2
    over: bytes
    origin: Origin
    envelope: Envelope

    def hash(self) -> bytes:
        """What the statement lists."""
        seq = self.origin.seq.to_bytes(8, "big")
        return sha256(b"cs1/adopt" + self.envelope.hash() + self.over + self.origin.timeline + seq).digest()


@dataclass(frozen=True)
class Rewrap:
    """Wraps content keys anew."""

    TAG: ClassVar[int] = 3
    epoch: int
    items: bytes

    def hash(self) -> bytes:
        """What the statement lists."""
        return sha256(b"cs1/rewrap" + self.epoch.to_bytes(8, "big") + self.items).digest()


Operation = Put | Adopt | Rewrap


@dataclass(frozen=True)
class IdentityChange:
    TAG: ClassVar[int] = 1
    signed: Signed


@dataclass(frozen=True)
class EnrolChange:
    TAG: ClassVar[int] = 2
    signed: Signed


@dataclass(frozen=True)
class RevokeChange:
    TAG: ClassVar[int] = 3
    signed: Signed


@dataclass(frozen=True)
class RotateChange:
    TAG: ClassVar[int] = 4
    signed: Signed
    endorsement: bytes


@dataclass(frozen=True)
class RekeyChange:
    TAG: ClassVar[int] = 5
    signed: Signed


RosterChange = IdentityChange | EnrolChange | RevokeChange | RotateChange | RekeyChange


@dataclass(frozen=True)
class RosterRow:
    seq: int
    server_ts: int
    change: RosterChange


@dataclass(frozen=True)
class BatchEntry:
    """A committed push in the log."""

    TAG: ClassVar[int] = 1
    first: int
    server_ts: int
    signed: Signed
    operations: list[Operation]


@dataclass(frozen=True)
class RosterEntry:
    """A roster row in the log."""

    TAG: ClassVar[int] = 2
    seq: int
    server_ts: int
    change: RosterChange


Entry = BatchEntry | RosterEntry


@dataclass(frozen=True)
class Row:
    """A record's version as snapshots and histories give it."""

    seq: int
    server_ts: int
    envelope: Envelope
    origin: Origin | None


@dataclass(frozen=True)
class RecordIssue:
    key: RecordKey
    code: str
    current: int
    current_seq: int
    grows: int


@dataclass(frozen=True)
class Usage:
    used: int
    limit: int
    need: int
    at: int


@dataclass(frozen=True)
class LastPush:
    device_seq: int
    hash: bytes
    seq: int


NOTHING_PUSHED: Final = LastPush(0, ZERO_HASH, 0)


@dataclass(frozen=True)
class SnapshotToken:
    timeline: bytes
    start: int
    last: RecordKey | None
    roster_after: int | None
