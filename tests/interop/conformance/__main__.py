"""`python -m conformance`: reads what it is given on standard input, and runs every case on a session of its own.

Never: a case passed over; each is named when it has held, and all that have not are told together.
"""

from __future__ import annotations

import sys

from sessions.world import World

from . import closing, framing
from .case import run

GROUPS = (
    framing.lengths,
    framing.pings,
    framing.reserved_bits,
    framing.opcodes,
    framing.fragmented,
    framing.among_fragments,
    framing.automatic,
    closing.texts,
    closing.closes,
    closing.limits,
    closing.masking,
)


def main() -> None:
    world = World.read(sys.stdin)
    failed = []
    for group in GROUPS:
        for case in group():
            try:
                run(case, world)
            except Exception as error:
                failed.append(f"{case.number} ({case.what}): {error!r}")
            else:
                print(f"ok {case.number}")
    sys.exit("\n".join(failed) if failed else 0)


main()
