"""The frozen envelopes, statements and the frozen batch, made again from docs/crypto.md and opened.

Never: a comparison of anything but bytes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cloudsync_wire.codec import read
from cloudsync_wire.envelope import AccountKey, Draws, Header, open_envelope, seal
from cloudsync_wire.statements import (
    CONTEXT_BATCH,
    CONTEXT_ENROL,
    CONTEXT_IDENTITY,
    CONTEXT_REVOKE,
    BatchStatement,
    Device,
    EnrolStatement,
    IdentityStatement,
    RevokeStatement,
    sign,
)
from cloudsync_wire.structures import ZERO_HASH, Envelope, Put

ROOT = Path(__file__).resolve().parents[3]
INTEROP = Path(__file__).resolve().parents[1]
BATCH = INTEROP / "frozen_batch.json"
# Of the frozen envelopes those that begin their record: what can be pushed to an empty log.
OF_THE_BATCH = ("first version", "empty value", "id beyond ascii", "compressed")


def _vectors(name: str) -> Any:
    return json.loads((ROOT / "client" / "vectors" / f"{name}.json").read_text())


def _bytes(given: Any, field: str) -> bytes:
    return bytes.fromhex(given[field] or "")


def _envelope(given: Any) -> Envelope:
    return Envelope(_bytes(given, "header"), _bytes(given, "body"), _bytes(given, "wrap"))


def _key(given: Any) -> AccountKey:
    return AccountKey(_bytes(given, "account_key"), given["key_epoch"])


def opened() -> int:
    """Every frozen envelope opens to its content."""
    all_of_them = _vectors("envelope")["envelopes"] + _vectors("envelope-open")["envelopes"]
    for given in all_of_them:
        envelope = _envelope(given)
        header, content = open_envelope(envelope, _key(given))
        assert envelope.hash() == _bytes(given, "hash"), given["name"]
        assert content == _bytes(given, "payload"), given["name"]
        assert (header.record, header.version, header.device_seq) == (given["record"], given["version"], given["device_seq"])
    return len(all_of_them)


def sealed() -> int:
    """Those without compression are made again, byte by byte."""
    frozen = _vectors("envelope")["envelopes"]
    for given in frozen:
        header = Header(
            format=1,
            suite=1,
            log=_bytes(given, "log"),
            collection=given["collection"],
            record=given["record"],
            version=given["version"],
            parent=_bytes(given, "parent"),
            device=_bytes(given, "device"),
            device_seq=given["device_seq"],
            hlc=int(given["hlc"]),
            flags=given["flags"],
            commitment=b"",
        )
        draws = Draws(_bytes(given, "content_key"), _bytes(given, "body_nonce"), _bytes(given, "wrap_nonce"))
        assert seal(header, _bytes(given, "payload"), _key(given), draws) == _envelope(given), given["name"]
    return len(frozen)


def statements() -> int:
    """Each frozen statement, read, made again and signed again; and what *hello* signs."""
    frozen = _vectors("statement")
    device = Device(_bytes(frozen["device"], "id"), _bytes(frozen["device"], "signing_seed"))
    identity = _bytes(frozen["identity"], "signing_seed")
    kinds = {
        CONTEXT_BATCH: (BatchStatement, device.seed),
        CONTEXT_IDENTITY: (IdentityStatement, identity),
        CONTEXT_ENROL: (EnrolStatement, identity),
        CONTEXT_REVOKE: (RevokeStatement, identity),
    }
    signed = [frozen["batch"]["signed"], frozen["identity_change"], frozen["enrol_change"]["signed"], frozen["revoke_change"]["signed"]]
    for given in signed:
        context = given["context"].encode()
        kind, seed = kinds[context]
        again = sign(seed, context, read(kind, _bytes(given, "statement")))
        assert (again.statement, again.signature) == (_bytes(given, "statement"), _bytes(given, "signature")), given["context"]
        assert again.hash() == _bytes(given, "hash"), given["context"]
    for given in frozen["hello"]:
        assert device.hello(_bytes(frozen, "nonce"), given["carrier"], frozen["token"]) == _bytes(given, "signature")
    return len(signed) + len(frozen["hello"])


def batch() -> Any:
    """The frozen batch: frozen envelopes that begin their records, in a first push of the frozen device."""
    frozen = _vectors("statement")
    device = Device(_bytes(frozen["device"], "id"), _bytes(frozen["device"], "signing_seed"))
    envelopes = _vectors("envelope")["envelopes"] + _vectors("envelope-open")["envelopes"]
    chosen = [given for name in OF_THE_BATCH for given in envelopes if given["name"] == name]
    operations = [Put(0, _envelope(given)) for given in chosen]
    log, device_seq = _bytes(frozen, "log"), chosen[0]["device_seq"]
    signed = device.batch(log, device_seq, ZERO_HASH, operations)
    return {
        "log": log.hex(),
        "device": device.id.hex(),
        "device_seq": device_seq,
        "account_key": chosen[0]["account_key"],
        "epoch": chosen[0]["key_epoch"],
        "statement": signed.statement.hex(),
        "signature": signed.signature.hex(),
        "operations": [
            {"base": 0, "header": given["header"], "body": given["body"], "wrap": given["wrap"], "content": given["payload"] or ""}
            for given in chosen
        ],
    }


def batch_made_again() -> int:
    """The frozen batch is what comes of the other vectors."""
    frozen = json.loads(BATCH.read_text())
    assert batch() == frozen
    return len(frozen["operations"])
