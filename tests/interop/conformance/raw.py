"""A WebSocket client by bytes: any frame of RFC 6455, legal or not, in pieces of any size; and what comes back.

Never: a frame of the server's that is not strictly legal taken for one.
"""

from __future__ import annotations

import base64
import os
import socket
import struct
from dataclasses import dataclass
from enum import IntEnum
from hashlib import sha1
from typing import Final

PATH: Final = "/v1/sync"
GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TIMEOUT_S: Final = 10


class Op(IntEnum):
    """RFC 6455, section 5.2."""

    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


@dataclass(frozen=True)
class Heard:
    """A whole message, a pong, a close (`code`, the reason as `data`), or the end of the connection."""

    kind: str
    data: bytes = b""
    code: int | None = None


END: Final = Heard("end")


def frame(op: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, masked: bool = True, announced: int | None = None) -> bytes:
    """A frame's bytes. `announced` is a length that is not the payload's."""
    length = len(payload) if announced is None else announced
    head = bytes([fin << 7 | rsv << 4 | op])
    mask = 0x80 if masked else 0
    if length < 126:
        head += bytes([mask | length])
    elif length < 1 << 16:
        head += bytes([mask | 126]) + struct.pack(">H", length)
    else:
        head += bytes([mask | 127]) + struct.pack(">Q", length)
    if not masked:
        return head + payload
    key = os.urandom(4)
    stream = int.from_bytes((key * (len(payload) // 4 + 1))[: len(payload)], "big")
    return head + key + (int.from_bytes(payload, "big") ^ stream).to_bytes(len(payload), "big")


class Illegal(Exception):
    """The server sent what RFC 6455 forbids."""


class Raw:
    """A connection after the opening handshake."""

    def __init__(self, host: str, port: int) -> None:
        self._socket = socket.create_connection((host, port), TIMEOUT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._bytes = bytearray()
        key = base64.b64encode(os.urandom(16))
        status, headers = self.request(
            f"GET {PATH} HTTP/1.1",
            {
                "Host": f"{host}:{port}",
                "Connection": "Upgrade",
                "Upgrade": "websocket",
                "Sec-WebSocket-Key": key.decode(),
                "Sec-WebSocket-Version": "13",
                # Offered, and not to be taken up.
                "Sec-WebSocket-Extensions": "permessage-deflate",
            },
        )
        accept = base64.b64encode(sha1(key + GUID).digest()).decode()
        if status != 101 or headers.get("sec-websocket-accept") != accept or "sec-websocket-extensions" in headers:
            raise Illegal(f"{status} {headers}")

    def request(self, line: str, headers: dict[str, str]) -> tuple[int, dict[str, str]]:
        """An HTTP request: the answer's status and headers, in lower case."""
        lines = [line, *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        self._socket.sendall("\r\n".join(lines).encode())
        while b"\r\n\r\n" not in self._bytes:
            self._more()
        head, _, rest = bytes(self._bytes).partition(b"\r\n\r\n")
        self._bytes = bytearray(rest)
        status, *fields = head.decode().split("\r\n")
        named = (field.partition(":") for field in fields)
        return int(status.split(" ")[1]), {name.lower(): value.strip() for name, _, value in named}

    def send(self, data: bytes, chop: int | None = None) -> None:
        """In one piece, or in pieces of so many bytes. That the other end is gone is for `hear` to say."""
        try:
            for start in range(0, len(data), chop or len(data)):
                self._socket.sendall(data[start : start + (chop or len(data))])
        except (BrokenPipeError, ConnectionResetError):
            pass

    def hear(self) -> Heard:
        """What comes next: fragments put together, the server's own pings passed over."""
        message: bytearray | None = None
        while True:
            try:
                fin, op, payload = self._frame()
            except EOFError:
                return END
            if op == Op.PONG:
                return Heard("pong", payload)
            if op == Op.CLOSE:
                return Heard("close", payload[2:], int.from_bytes(payload[:2], "big") if payload else None)
            if op == Op.PING:
                continue
            if (op == Op.CONTINUATION) != (message is not None) or op == Op.TEXT:
                raise Illegal(f"a fragment with opcode {op}")
            message = (message or bytearray()) + payload
            if fin:
                return Heard("message", bytes(message))

    def _frame(self) -> tuple[bool, int, bytes]:
        first, second = self._take(2)
        fin, rsv, op = bool(first >> 7), first >> 4 & 7, first & 15
        length = second & 127
        if length == 126:
            (length,) = struct.unpack(">H", self._take(2))
        elif length == 127:
            (length,) = struct.unpack(">Q", self._take(8))
        if rsv or second >> 7 or op not in list(Op) or (op >= Op.CLOSE and (length > 125 or not fin)):
            raise Illegal(f"fin {fin}, rsv {rsv}, opcode {op}, second byte {second:#x}")
        return fin, op, self._take(length)

    def _take(self, count: int) -> bytes:
        while len(self._bytes) < count:
            self._more()
        taken = bytes(self._bytes[:count])
        del self._bytes[:count]
        return taken

    def _more(self) -> None:
        try:
            data = self._socket.recv(1 << 16)
        except ConnectionResetError:
            data = b""
        if not data:
            raise EOFError
        self._bytes += data

    def drop(self) -> None:
        """Without a word."""
        self._socket.close()
