"""What is signed, as docs/wire.md and docs/crypto.md, *Statements*, say.

Never: a statement's bytes made anew to check its signature; it holds for the bytes that came.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from .codec import pack, read
from .structures import (
    BatchEntry,
    EnrolChange,
    IdentityChange,
    Operation,
    RevokeChange,
    RosterChange,
    RotateChange,
    Signed,
)

FORMAT: Final = 1
CONTEXT_BATCH: Final = b"cs1/batch"
CONTEXT_IDENTITY: Final = b"cs1/identity"
CONTEXT_ENROL: Final = b"cs1/enrol"
CONTEXT_REVOKE: Final = b"cs1/revoke"
CONTEXT_ROTATE: Final = b"cs1/rotate"
CONTEXT_ENDORSE: Final = b"cs1/endorse"
CONTEXT_REKEY: Final = b"cs1/rekey"


class Untrusted(Exception):
    """Something that does not verify; nothing after it is read."""


@dataclass(frozen=True)
class Seen:
    device: bytes
    device_seq: int
    hash: bytes


@dataclass(frozen=True)
class BatchStatement:
    format: int
    log: bytes
    device: bytes
    device_seq: int
    prev_hash: bytes
    envelopes: list[bytes]
    seen: list[Seen]


@dataclass(frozen=True)
class IdentityStatement:
    format: int
    log: bytes
    identity_epoch: int
    signing: bytes
    sharing: bytes
    client_ts: int


@dataclass(frozen=True)
class EnrolStatement:
    format: int
    log: bytes
    identity_epoch: int
    device: bytes
    signing: bytes
    agreement: bytes
    name: bytes
    client_ts: int


@dataclass(frozen=True)
class RevokeStatement:
    format: int
    log: bytes
    identity_epoch: int
    device: bytes
    last: int
    by: bytes
    client_ts: int


@dataclass(frozen=True)
class Member:
    device: bytes
    enrol: bytes


@dataclass(frozen=True)
class Leaver:
    device: bytes
    last: int


@dataclass(frozen=True)
class RotateStatement:
    format: int
    log: bytes
    identity_epoch: int
    signing: bytes
    sharing: bytes
    by: bytes
    version: int
    epoch: int
    keyring: bytes
    recovery: bytes
    members: list[Member]
    revoked: list[Leaver]
    client_ts: int


@dataclass(frozen=True)
class RekeyStatement:
    format: int
    log: bytes
    identity_epoch: int
    version: int
    keyring: bytes
    client_ts: int


@dataclass(frozen=True)
class Device:
    """A device with the key that it signs by."""

    id: bytes
    seed: bytes

    def sign(self, message: bytes) -> bytes:
        """Ed25519."""
        return Ed25519PrivateKey.from_private_bytes(self.seed).sign(message)

    def hello(self, nonce: bytes, carrier: int, token: str) -> bytes:
        """The signature of *hello* and *authenticate*."""
        return self.sign(b"cs1/hello" + nonce + bytes([carrier]) + sha256(token.encode()).digest())

    def batch(self, log: bytes, device_seq: int, prev_hash: bytes, operations: list[Operation]) -> Signed:
        """A push's statement."""
        hashes = [operation.hash() for operation in operations]
        return sign(self.seed, CONTEXT_BATCH, BatchStatement(FORMAT, log, self.id, device_seq, prev_hash, hashes, []))


def sign(seed: bytes, context: bytes, statement: object) -> Signed:
    """A statement, signed."""
    data = pack(statement)
    return Signed(data, Ed25519PrivateKey.from_private_bytes(seed).sign(context + data))


def verify(public: bytes, context: bytes, signed: Signed) -> None:
    """Or it raises."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signed.signature, context + signed.statement)
    except InvalidSignature as error:
        raise Untrusted(context.decode()) from error


@dataclass
class Roster:
    """Who may sign in a log: the identity, and the devices' keys."""

    log: bytes
    identity: bytes | None = None
    devices: dict[bytes, bytes] | None = None

    def take(self, change: RosterChange) -> None:
        """The next roster row, verified."""
        devices = self.devices if self.devices is not None else {}
        self.devices = devices
        if isinstance(change, IdentityChange):
            identity = read(IdentityStatement, change.signed.statement)
            verify(identity.signing, CONTEXT_IDENTITY, change.signed)
            self._expect(identity.log == self.log and self.identity in (None, identity.signing), "another identity")
            self.identity = identity.signing
            return
        self._expect(self.identity is not None, "a device before the identity")
        assert self.identity is not None
        if isinstance(change, EnrolChange):
            verify(self.identity, CONTEXT_ENROL, change.signed)
            enrolled = read(EnrolStatement, change.signed.statement)
            self._expect(enrolled.log == self.log and enrolled.device not in devices, "an enrolment of another log, or a second one")
            devices[enrolled.device] = enrolled.signing
        elif isinstance(change, RevokeChange):
            verify(self.identity, CONTEXT_REVOKE, change.signed)
            del devices[read(RevokeStatement, change.signed.statement).device]
        elif isinstance(change, RotateChange):
            rotated = read(RotateStatement, change.signed.statement)
            self._expect(rotated.log == self.log and rotated.by in devices, "a rotation of another log, or by a device that is not enrolled")
            verify(rotated.signing, CONTEXT_ROTATE, change.signed)
            verify(devices[rotated.by], CONTEXT_ENDORSE, Signed(change.signed.statement, change.endorsement))
            self._expect(all(member.device in devices for member in rotated.members), "a member that is not enrolled")
            self.identity = rotated.signing
            self.devices = {member.device: devices[member.device] for member in rotated.members}
        else:
            verify(self.identity, CONTEXT_REKEY, change.signed)

    def check(self, entry: BatchEntry) -> BatchStatement:
        """A batch of the log, verified: by its device, and of these operations."""
        statement = read(BatchStatement, entry.signed.statement)
        key = (self.devices or {}).get(statement.device)
        self._expect(key is not None, "a batch of a device that is not enrolled")
        assert key is not None
        verify(key, CONTEXT_BATCH, entry.signed)
        hashes = [operation.hash() for operation in entry.operations]
        self._expect(statement.log == self.log and statement.envelopes == hashes, "a batch of other envelopes")
        return statement

    @staticmethod
    def _expect(holds: bool, otherwise: str) -> None:
        if not holds:
            raise Untrusted(otherwise)
