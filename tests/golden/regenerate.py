"""`python -m tests.golden.regenerate`: writes every output file anew, for a person to look at the difference."""

from __future__ import annotations

import sys

from tests.golden import cases


def main() -> None:
    known = cases.names()
    for path in cases.FOLDER.glob("*.json"):
        path.unlink()
    for name in known:
        for suffix, text in cases.outputs(name).items():
            (cases.FOLDER / f"{name}{suffix}").write_text(text)
    sys.stdout.write(f"{len(known)} cases written\n")


if __name__ == "__main__":
    main()
