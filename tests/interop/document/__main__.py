"""`python -m document`: every check of this package, each with how much it looked at.

Never: a check that looked at nothing.
"""

from __future__ import annotations

from .page import elements_of_a_later_version, frames_of_the_page, golden_bytes
from .vectors import batch_made_again, opened, sealed, statements

CHECKS = (frames_of_the_page, golden_bytes, elements_of_a_later_version, opened, sealed, statements, batch_made_again)


def main() -> None:
    for check in CHECKS:
        looked_at = check()
        assert looked_at, f"{check.__name__} looked at nothing"
        print(f"ok {check.__name__}: {looked_at}")


main()
