"""`python -m sessions`: reads what it is given on standard input, and shows everything, in this order, on one log.

Never: a show left out; each one is named when it has held, and the first that does not ends the program.
"""

from __future__ import annotations

import asyncio
import sys

from . import frozen, refused, resync
from .world import World

SHOW_TIMEOUT_S = 60


async def main() -> None:
    world = World.read(sys.stdin)
    for show in (*frozen.SHOWS, *resync.SHOWS, *refused.shows(world.scheme)):
        await asyncio.wait_for(show(world), SHOW_TIMEOUT_S)
        print(f"ok {show.__name__}", flush=True)


asyncio.run(main())
