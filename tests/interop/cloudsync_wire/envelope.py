"""A record's version, sealed and opened as docs/crypto.md, *Record envelope*, says.

Never: a content given out before format, commitment, padding and tag were right; or one that is sealed compressed, which
nobody asks for.
"""

from __future__ import annotations

import gzip
import hmac
import io
import os
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from .codec import pack, read
from .structures import Envelope

CONTENT_BYTES_MAX: Final = 1024 * 1024
RAW: Final = 0
GZIP: Final = 1
NONCE_BYTES: Final = 12
TOMBSTONE: Final = 1


class Unreadable(Exception):
    """An envelope that does not open."""


@dataclass(frozen=True)
class Header:
    format: int
    suite: int
    log: bytes
    collection: str
    record: str
    version: int
    parent: bytes
    device: bytes
    device_seq: int
    hlc: int
    flags: int
    commitment: bytes


@dataclass(frozen=True)
class Draws:
    """What is drawn at random for each version of each record."""

    content_key: bytes
    body_nonce: bytes
    wrap_nonce: bytes

    @classmethod
    def fresh(cls) -> Draws:
        return cls(os.urandom(32), os.urandom(NONCE_BYTES), os.urandom(NONCE_BYTES))


@dataclass(frozen=True)
class AccountKey:
    """The account key of an epoch."""

    key: bytes
    epoch: int

    def collection_key(self, collection: str) -> bytes:
        """Wraps the content keys of one collection."""
        return _hkdf(self.key, b"cs1/ck" + collection.encode() + _u64(self.epoch))


def _hkdf(secret: bytes, info: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(secret)


def _u64(number: int) -> bytes:
    return number.to_bytes(8, "big")


def padded_length(length: int) -> int:
    """Steps of 64 B up to 1 KiB, then Padmé."""
    if length <= 1024:
        return -(-length // 64) * 64
    exponent = length.bit_length() - 1
    low = exponent - exponent.bit_length()
    return -(-length >> low) << low


def seal(header: Header, content: bytes, key: AccountKey, draws: Draws) -> Envelope:
    """One version; the header's commitment is filled in."""
    commitment = _hkdf(draws.content_key, b"cs1/commit")
    head = pack(Header(**{**vars(header), "commitment": commitment}))
    plain = bytes([RAW]) + len(content).to_bytes(4, "big") + content
    plain = plain.ljust(padded_length(len(plain)), b"\0")
    body = draws.body_nonce + AESGCM(draws.content_key).encrypt(draws.body_nonce, plain, b"cs1/rec" + head)
    wrapping = AESGCM(key.collection_key(header.collection))
    wrapped = wrapping.encrypt(draws.wrap_nonce, draws.content_key, b"cs1/dek" + sha256(head + body).digest() + _u64(key.epoch))
    return Envelope(head, body, _u64(key.epoch) + draws.wrap_nonce + wrapped)


def open_envelope(envelope: Envelope, key: AccountKey) -> tuple[Header, bytes]:
    """The header, and the content; a tombstone's is empty."""
    header = read(Header, envelope.header)
    if (header.format, header.suite) != (1, 1) or len(envelope.wrap) != 68:
        raise Unreadable("another format")
    epoch, nonce, wrapped = envelope.wrap[:8], envelope.wrap[8:20], envelope.wrap[20:]
    if epoch != _u64(key.epoch):
        raise Unreadable("another epoch's key")
    wrapping = AESGCM(key.collection_key(header.collection))
    content_key = wrapping.decrypt(nonce, wrapped, b"cs1/dek" + envelope.hash() + epoch)
    if not hmac.compare_digest(_hkdf(content_key, b"cs1/commit"), header.commitment):
        raise Unreadable("the commitment is to another key")
    body_nonce, body = envelope.body[:NONCE_BYTES], envelope.body[NONCE_BYTES:]
    plain = AESGCM(content_key).decrypt(body_nonce, body, b"cs1/rec" + envelope.header)
    return header, _unpadded(plain)


def _unpadded(plain: bytes) -> bytes:
    packing, length = plain[0], int.from_bytes(plain[1:5], "big")
    content, rest = plain[5 : 5 + length], plain[5 + length :]
    if len(content) != length or any(rest) or len(plain) != padded_length(5 + length):
        raise Unreadable("padding")
    if packing == RAW:
        return content
    if packing != GZIP:
        raise Unreadable("packing")
    with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
        unpacked = file.read(CONTENT_BYTES_MAX + 1)
    if len(unpacked) > CONTENT_BYTES_MAX:
        raise Unreadable("too long")
    return unpacked
