"""`python -m tests.golden.regenerate`: writes every output file anew, for a person to look at the difference."""

from __future__ import annotations

import sys

from tests.golden import cases


def main() -> None:
    known = cases.names()
    for path in cases.FOLDER.glob(f"*{cases.OUT}"):
        if path.name.removesuffix(cases.OUT) not in known:
            path.unlink()
    for name in known:
        (cases.FOLDER / f"{name}{cases.OUT}").write_text(cases.answer(name))
    sys.stdout.write(f"{len(known)} cases written\n")


if __name__ == "__main__":
    main()
