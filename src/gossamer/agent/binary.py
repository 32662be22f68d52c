"""Finding `gossamer-proxy`, the sidecar that was installed with this package."""

from __future__ import annotations

import os
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
    places = list(dict.fromkeys(_places(environ)))
    for place in places:
        if _usable(place):
            return place
    looked = ", ".join(str(place) for place in places)
    raise ProxyNotFound(
        f"{NAME} not found; install the wheel (`pip install gossamer`), or in a checkout run `make demo`, "
        f"or set {VARIABLE} to its path. Looked at: {looked}"
    )


def _places(environ: Mapping[str, str]) -> Iterator[Path]:
    # Beside the `gossamer` script that runs, then where pip puts programs.
    yield Path(sys.argv[0]).absolute().parent / NAME
    yield Path(sys.executable).parent / NAME
    yield Path(sysconfig.get_path("scripts")) / NAME
    user = sysconfig.get_preferred_scheme("user")
    yield Path(sysconfig.get_path("scripts", user)) / NAME
    # `pip install --target DIR` puts programs into DIR/bin, the package into DIR.
    package = Path(__file__).resolve().parents[2]
    yield package / "bin" / NAME
    yield from _checkout(package.parent)
    for folder in environ.get("PATH", "").split(os.pathsep):
        if folder:
            yield Path(folder) / NAME


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
