"""The frames of the client against the page that it was written from, and against the golden bytes.

Never: the Rust code; the page is what counts.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Any

from cloudsync_wire.codec import pack, read, unpack
from cloudsync_wire.envelope import Header
from cloudsync_wire.frames import FRAMES, read_frame
from cloudsync_wire.statements import (
    BatchStatement,
    EnrolStatement,
    IdentityStatement,
    RekeyStatement,
    RevokeStatement,
    RotateStatement,
)

from .vectors import ROOT

ROW = re.compile(r"^\| (\d+) \| (\w+) \| [CN] \| (.*) \|$", re.MULTILINE)
NAMES = {"from": "from_", "record id": "record"}
"""Of the page's field names those that Python can't have."""
STATEMENTS: dict[str, type[Any]] = {
    "header": Header,
    "batch_statement": BatchStatement,
    "identity_statement": IdentityStatement,
    "enrol_statement": EnrolStatement,
    "revoke_statement": RevokeStatement,
    "rotate_statement": RotateStatement,
    "rekey_statement": RekeyStatement,
}


def _fields(cell: str) -> list[str]:
    names = [field.partition(":")[0].strip() for field in re.sub(r"\([^)]*\)", "", cell).split(", ")]
    return [NAMES.get(name, name) for name in names]


def frames_of_the_page() -> int:
    """Each frame has the tag and the fields that the page gives it, in that order; and there is no other."""
    rows = ROW.findall((ROOT / "docs" / "wire.md").read_text())
    page = {int(tag): (name.replace("_", ""), _fields(cell)) for tag, name, cell in rows}
    here = {tag: (kind.__name__.lower(), [field.name for field in dataclasses.fields(kind)]) for tag, kind in FRAMES.items()}
    assert page == here, {tag: (page.get(tag), here.get(tag)) for tag in page.keys() | here.keys() if page.get(tag) != here.get(tag)}
    return len(page)


def golden_bytes() -> int:
    """Every golden frame and statement is read, and written again as it was."""
    lines = (ROOT / "protocol" / "tests" / "golden" / "frames.txt").read_text().splitlines()
    golden = [line.split(" ") for line in lines if not line.startswith("#")]
    for name, text in golden:
        data = bytes.fromhex(text)
        kind = STATEMENTS.get(name)
        value = read(kind, data) if kind else read_frame(data)
        assert pack(value) == data, name
    return len(golden)


def elements_of_a_later_version() -> int:
    """What is appended to a frame or to a structure in it is passed over."""
    lines = (ROOT / "protocol" / "tests" / "golden" / "frames.txt").read_text().splitlines()
    frames = [bytes.fromhex(text) for name, text in (line.split(" ") for line in lines if line[0] != "#") if name not in STATEMENTS]
    for data in frames:
        later = pack([*unpack(data), {"later": [1]}, None])
        assert read_frame(later) == read_frame(data)
    return len(frames)
