"""The frames of docs/wire.md that accounts are made and logged in to by: tags 16 to 31, and 96.

Never: what is in their byte strings; OPAQUE is no part of these clients, which sign in with a minted token.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .structures import RosterChange, RosterRow


@dataclass(frozen=True)
class RegisterStart:
    TAG: ClassVar[int] = 16
    request: int
    email: str
    message: bytes


@dataclass(frozen=True)
class RegisterStarted:
    TAG: ClassVar[int] = 17
    request: int
    message: bytes


@dataclass(frozen=True)
class RegisterFinish:
    TAG: ClassVar[int] = 18
    request: int
    email: str
    record: bytes
    user: bytes
    keyring: bytes
    recovery: bytes


@dataclass(frozen=True)
class LoginStart:
    TAG: ClassVar[int] = 19
    request: int
    email: str
    message: bytes


@dataclass(frozen=True)
class LoginStarted:
    TAG: ClassVar[int] = 20
    request: int
    message: bytes


@dataclass(frozen=True)
class LoginFinish:
    TAG: ClassVar[int] = 21
    request: int
    message: bytes


@dataclass(frozen=True)
class Authorized:
    TAG: ClassVar[int] = 22
    request: int
    user: bytes
    ticket: bytes
    keyring_version: int
    keyring: bytes
    roster: list[RosterRow]
    more: bool


@dataclass(frozen=True)
class Enrol:
    TAG: ClassVar[int] = 23
    request: int
    ticket: bytes
    device: bytes
    changes: list[RosterChange]
    proof: bytes


@dataclass(frozen=True)
class Refresh:
    TAG: ClassVar[int] = 24
    request: int
    refresh_token: str
    proof: bytes


@dataclass(frozen=True)
class Tokens:
    TAG: ClassVar[int] = 25
    request: int
    access_token: str
    access_expires_ts: int
    refresh_token: str
    refresh_expires_ts: int


@dataclass(frozen=True)
class Logout:
    TAG: ClassVar[int] = 26
    request: int
    refresh_token: str
    proof: bytes


@dataclass(frozen=True)
class Done:
    TAG: ClassVar[int] = 27
    request: int


@dataclass(frozen=True)
class GetRoster:
    TAG: ClassVar[int] = 28
    request: int
    ticket: bytes
    after: int


@dataclass(frozen=True)
class RosterPage:
    TAG: ClassVar[int] = 29
    request: int
    roster: list[RosterRow]
    more: bool


@dataclass(frozen=True)
class Recover:
    TAG: ClassVar[int] = 30
    request: int
    email: str
    signature: bytes


@dataclass(frozen=True)
class SecretStart:
    TAG: ClassVar[int] = 31
    request: int
    ticket: bytes
    message: bytes


@dataclass(frozen=True)
class SecretFinish:
    TAG: ClassVar[int] = 96
    request: int
    ticket: bytes
    changes: list[RosterChange]
    keyring: bytes
    record: bytes | None


@dataclass(frozen=True)
class EraseAccount:
    TAG: ClassVar[int] = 97
    request: int
    ticket: bytes
