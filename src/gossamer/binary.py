"""Finding `gossamer-proxy`, the sidecar that was installed with this package."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from pathlib import Path

NAME = "gossamer-proxy"
VARIABLE = "GOSSAMER_PROXY"


class ProxyNotFound(Exception):
    """Names every place that was looked at, one line."""


def find_proxy(environ: Mapping[str, str] | None = None) -> Path:
    """The path of an executable `gossamer-proxy`. A path in GOSSAMER_PROXY is the only one tried."""
    environ = os.environ if environ is None else environ
    given = environ.get(VARIABLE, "")
    if given:
        if not _usable(Path(given)):
            raise ProxyNotFound(f"{VARIABLE}={given}: no executable file there; correct it or unset it")
        return Path(given)
    places = list(dict.fromkeys(_places()))
    for place in places:
        if _usable(place):
            return place
    on_path = shutil.which(NAME, path=environ.get("PATH", ""))
    if on_path:
        return Path(on_path)
    looked = ", ".join(str(place) for place in places)
    folders = environ.get("PATH", "")
    raise ProxyNotFound(
        f"{NAME} not found; install the wheel (`pip install gossamer`), or in a checkout run `make demo`, "
        f"or set {VARIABLE} to its path. Looked at: {looked}, and the folders of PATH ({folders})"
    )


def _places() -> Iterator[Path]:
    # Beside the `gossamer` script that runs, then where pip puts programs.
    yield Path(sys.argv[0]).absolute().parent / NAME
    yield Path(sys.executable).parent / NAME
    yield Path(sysconfig.get_path("scripts")) / NAME
    user = sysconfig.get_preferred_scheme("user")
    yield Path(sysconfig.get_path("scripts", user)) / NAME
    # `pip install --target DIR` puts programs into DIR/bin, the package into DIR.
    package = Path(__file__).resolve().parents[1]
    yield package / "bin" / NAME
    yield from _checkout(package.parent)


def _checkout(root: Path) -> Iterator[Path]:
    """What cargo built in a checkout, the newest kind of build first."""
    if not (root / "proxy" / "Cargo.toml").exists():
        return
    target = root / "target"
    machine = os.uname().machine
    for profile in ("release", "debug"):
        yield target / f"{machine}-unknown-linux-gnu" / profile / NAME
        yield target / profile / NAME


def _usable(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)
