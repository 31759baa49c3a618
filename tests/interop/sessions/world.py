"""What the shows are given: where the node is, who signs in, and the batch that was frozen.

Never: what is to be shown.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import Any, TextIO

from cloudsync_wire.carrier import Carrier
from cloudsync_wire.envelope import AccountKey, Draws, Header, open_envelope, seal
from cloudsync_wire.frames import Pushed
from cloudsync_wire.quic import QuicCarrier
from cloudsync_wire.session import Session
from cloudsync_wire.statements import Device
from cloudsync_wire.structures import ZERO_HASH, Envelope, Put, Signed
from cloudsync_wire.websocket import WebSocketCarrier


@dataclass(frozen=True)
class Frozen:
    """The batch of `frozen_batch.json`."""

    device_seq: int
    signed: Signed
    operations: list[Put]
    contents: list[bytes]
    key: AccountKey

    @classmethod
    def of(cls, given: Any) -> Frozen:
        read = bytes.fromhex
        operations = [
            Put(each["base"], Envelope(read(each["header"]), read(each["body"]), read(each["wrap"]))) for each in given["operations"]
        ]
        return cls(
            device_seq=given["device_seq"],
            signed=Signed(read(given["statement"]), read(given["signature"])),
            operations=operations,
            contents=[read(each["content"]) for each in given["operations"]],
            key=AccountKey(read(given["account_key"]), given["epoch"]),
        )


@dataclass
class World:
    """A node, and a device with a log of its own on it. `pushed` is the device's last push, as the shows go on."""

    scheme: str
    host: str
    port: int
    certificate_sha256: str
    log: bytes
    device: Device
    tokens: list[str]
    identity_seed: bytes
    keyring: bytes
    frozen: Frozen
    pushed: Pushed | None = None
    current: dict[str, Envelope] = field(default_factory=dict)

    @classmethod
    def read(cls, file: TextIO) -> World:
        given = json.load(file)
        host, _, port = given["address"].rpartition(":")
        return cls(
            scheme=given["scheme"],
            host=host,
            port=int(port),
            certificate_sha256=given["certificate_sha256"],
            log=bytes.fromhex(given["log"]),
            device=Device(bytes.fromhex(given["device"]), bytes.fromhex(given["device_seed"])),
            tokens=given["tokens"],
            identity_seed=bytes.fromhex(given["identity_seed"]),
            keyring=bytes.fromhex(given["keyring"]),
            frozen=Frozen.of(given["batch"]),
        )

    async def connect(self) -> Carrier:
        """A connection whose challenge is still to be read."""
        if self.scheme == "quic":
            return await QuicCarrier.connect(self.host, self.port, self.certificate_sha256)
        return await WebSocketCarrier.connect(self.scheme, self.host, self.port, self.certificate_sha256)

    async def sign_in(self) -> Session:
        """A session of the device."""
        return await Session.sign_in(await self.connect(), self.device, self.tokens[0])

    def operation(self, record: str, content: bytes, device_seq: int) -> Put:
        """The record's next version, sealed as crypto.md says."""
        before = self.current.get(record)
        base = 0
        parent = ZERO_HASH
        if before is not None:
            base, parent = open_envelope(before, self.frozen.key)[0].version, before.hash()
        header = Header(
            format=1,
            suite=1,
            log=self.log,
            collection="timer_session",
            record=record,
            version=base + 1,
            parent=parent,
            device=self.device.id,
            device_seq=device_seq,
            hlc=int(time.time() * 1000) << 16,
            flags=0,
            commitment=b"",
        )
        return Put(base, seal(header, content, self.frozen.key, Draws.fresh()))

    def batch(self, contents: dict[str, bytes]) -> tuple[Signed, list[Put]]:
        """The device's next push."""
        device_seq, prev_hash = (self.pushed.device_seq + 1, self.pushed.hash) if self.pushed else (1, ZERO_HASH)
        operations = [self.operation(record, content, device_seq) for record, content in contents.items()]
        return self.device.batch(self.log, device_seq, prev_hash, operations), operations

    async def push(self, session: Session, contents: dict[str, bytes]) -> Pushed:
        """Signs it, sends it, and goes on from its answer."""
        signed, operations = self.batch(contents)
        pushed = await session.push(signed, operations)
        self.took(pushed, dict(zip(contents, operations)))
        return pushed

    def took(self, pushed: Pushed, operations: dict[str, Put]) -> None:
        """The node has it."""
        self.pushed = pushed
        self.current.update({record: operation.envelope for record, operation in operations.items()})
