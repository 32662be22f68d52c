"""`python -m tests.soak [SCENE…]`: the long versions. RATE= and LENGTH= (a part of the whole, 0.01 to 1) shorten them.

Prints a line per scene; ends with 1 when a request failed or anything restarted.
"""

from __future__ import annotations

import os
import sys

from tests.soak import scenes


def main(wanted: list[str]) -> int:
    length = float(os.environ.get("LENGTH", "1"))
    rate = float(os.environ.get("RATE", "0"))
    known = {
        "lives": lambda: scenes.short_lives(600 * length, rate or 200),
        "issuers": lambda: scenes.issuers(max(1, int(1000 * length)), rate or 1000),
        "anchors": lambda: scenes.anchors(max(1, int(100 * length)), rate or 200),
        "year": lambda: scenes.year(max(4, int(366 * length)), rate or 100),
    }
    bad = 0
    for name in wanted or list(known):
        outcome = known[name]()
        print(outcome, flush=True)
        bad += outcome.failures > 0 or outcome.restarts > 0
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
