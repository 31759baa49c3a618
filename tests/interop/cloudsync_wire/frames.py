"""The frames of docs/wire.md, *Frames*, in its order and by its names; those of accounts in `account_frames.py`.

Never: a frame that the page does not have; `golden.py` compares them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Final

from . import account_frames
from .codec import Malformed, build, unpack
from .structures import (
    Cursor,
    Entry,
    LastPush,
    Operation,
    TimelineStart,
    RecordIssue,
    RosterChange,
    RosterRow,
    Row,
    Signed,
    SnapshotToken,
    Usage,
)

OWN_LOG: Final = 0
VERSION: Final = 1


@dataclass(frozen=True)
class Challenge:
    TAG: ClassVar[int] = 1
    nonce: bytes
    server_ts: int
    version_min: int
    version_max: int


@dataclass(frozen=True)
class Hello:
    TAG: ClassVar[int] = 2
    version_min: int
    version_max: int
    token: str
    device: bytes
    signature: bytes
    client: str


@dataclass(frozen=True)
class Welcome:
    TAG: ClassVar[int] = 3
    version: int
    session: int
    user: bytes
    server_ts: int
    token_expires_ts: int
    keyring_version: int
    nodes: list[str]
    timeline: bytes


@dataclass(frozen=True)
class GoingAway:
    TAG: ClassVar[int] = 4
    code: str
    message: str
    retry_after_ms: int


@dataclass(frozen=True)
class Ping:
    TAG: ClassVar[int] = 5
    number: int


@dataclass(frozen=True)
class Pong:
    TAG: ClassVar[int] = 6
    number: int


@dataclass(frozen=True)
class Failure:
    TAG: ClassVar[int] = 7
    request: int
    code: str
    message: str
    retry_after_ms: int | None
    records: list[RecordIssue]
    last: LastPush | None
    quota: Usage | None
    device: bytes | None
    lineage: list[TimelineStart]
    server_ts: int | None


@dataclass(frozen=True)
class Authenticate:
    TAG: ClassVar[int] = 32
    request: int
    token: str
    signature: bytes


@dataclass(frozen=True)
class Authenticated:
    TAG: ClassVar[int] = 33
    request: int
    token_expires_ts: int


@dataclass(frozen=True)
class Attach:
    TAG: ClassVar[int] = 34
    request: int
    log: int
    cursor: Cursor


@dataclass(frozen=True)
class Attached:
    TAG: ClassVar[int] = 35
    request: int
    log: int
    id: bytes
    head: int
    timeline: bytes
    generation: int
    floor: int
    used_bytes: int
    quota_bytes: int
    lineage: list[TimelineStart]


@dataclass(frozen=True)
class Pull:
    TAG: ClassVar[int] = 36
    request: int
    log: int
    from_: Cursor
    to: int


@dataclass(frozen=True)
class Page:
    TAG: ClassVar[int] = 37
    request: int
    log: int
    timeline: bytes
    from_: int
    to: int
    head: int
    entries: list[Entry]


@dataclass(frozen=True)
class Snapshot:
    TAG: ClassVar[int] = 38
    request: int
    log: int
    resume: SnapshotToken | None


@dataclass(frozen=True)
class SnapshotPage:
    TAG: ClassVar[int] = 39
    request: int
    log: int
    start: Cursor
    roster: list[RosterRow]
    rows: list[Row]
    resume: SnapshotToken | None


@dataclass(frozen=True)
class Claim:
    TAG: ClassVar[int] = 40
    request: int
    log: int


@dataclass(frozen=True)
class Claimed:
    TAG: ClassVar[int] = 41
    request: int
    log: int
    last: LastPush


@dataclass(frozen=True)
class Push:
    TAG: ClassVar[int] = 42
    request: int
    log: int
    signed: Signed
    operations: list[Operation]


@dataclass(frozen=True)
class Pushed:
    TAG: ClassVar[int] = 43
    request: int
    log: int
    device_seq: int
    hash: bytes
    timeline: bytes
    from_: int
    to: int


@dataclass(frozen=True)
class ChangeRoster:
    TAG: ClassVar[int] = 44
    request: int
    log: int
    change: RosterChange


@dataclass(frozen=True)
class RosterChanged:
    TAG: ClassVar[int] = 45
    request: int
    log: int
    seq: int


@dataclass(frozen=True)
class GetKeyring:
    TAG: ClassVar[int] = 46
    request: int


@dataclass(frozen=True)
class Keyring:
    TAG: ClassVar[int] = 47
    request: int
    version: int
    keyring: bytes


@dataclass(frozen=True)
class History:
    TAG: ClassVar[int] = 48
    request: int
    log: int
    collection: str
    record: str
    before: int | None
    count: int


@dataclass(frozen=True)
class Versions:
    TAG: ClassVar[int] = 49
    request: int
    log: int
    rows: list[Row]
    more: bool


@dataclass(frozen=True)
class RosterAfter:
    TAG: ClassVar[int] = 50
    request: int
    log: int
    after: int


@dataclass(frozen=True)
class Event:
    TAG: ClassVar[int] = 64
    log: int
    timeline: bytes
    from_: int
    to: int
    entries: list[Entry]


@dataclass(frozen=True)
class Committed:
    TAG: ClassVar[int] = 65
    log: int
    timeline: bytes
    from_: int
    to: int
    device_seq: int
    row: bytes
    server_ts: int


@dataclass(frozen=True)
class HeadAt:
    TAG: ClassVar[int] = 66
    log: int
    timeline: bytes
    head: int


@dataclass(frozen=True)
class Lagging:
    TAG: ClassVar[int] = 67
    log: int
    head: int


def _frames() -> dict[int, type[Any]]:
    kinds = [*globals().values(), *vars(account_frames).values()]
    return {kind.TAG: kind for kind in kinds if getattr(kind, "__module__", "") in (__name__, account_frames.__name__) and hasattr(kind, "TAG")}


FRAMES: Final[dict[int, type[Any]]] = _frames()


def read_frame(data: bytes) -> Any:
    """The frame that these bytes are."""
    value = unpack(data)
    if not isinstance(value, list) or not value or value[0] not in FRAMES:
        raise Malformed("no frame")
    return build(FRAMES[value[0]], value)
