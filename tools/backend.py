"""The build backend: protobuf modules first, then maturin, always for a named target.

Without a named target the static-linking flags of .cargo/config.toml would also reach build scripts.
"""

from __future__ import annotations

import os
import subprocess
from typing import Any

import maturin
import stubs

get_requires_for_build_wheel = maturin.get_requires_for_build_wheel
get_requires_for_build_sdist = maturin.get_requires_for_build_sdist
get_requires_for_build_editable = maturin.get_requires_for_build_editable
prepare_metadata_for_build_wheel = maturin.prepare_metadata_for_build_wheel
prepare_metadata_for_build_editable = maturin.prepare_metadata_for_build_editable
build_sdist = maturin.build_sdist


def host() -> str:
    """The Rust name of this machine: `x86_64-unknown-linux-gnu`."""
    text = subprocess.run(["rustc", "-vV"], check=True, capture_output=True, text=True).stdout
    return next(line.removeprefix("host: ") for line in text.splitlines() if line.startswith("host: "))


def prepare() -> None:
    stubs.main()
    os.environ.setdefault("CARGO_BUILD_TARGET", host())
    # Through pip, maturin reads its command line from here; without it the wheel would be tagged for this machine only.
    os.environ.setdefault("MATURIN_PEP517_ARGS", "--compatibility manylinux2014 --skip-auditwheel")


def build_wheel(folder: str, config_settings: dict[str, Any] | None = None, metadata: str | None = None) -> str:
    prepare()
    return str(maturin.build_wheel(folder, config_settings, metadata))


def build_editable(folder: str, config_settings: dict[str, Any] | None = None, metadata: str | None = None) -> str:
    prepare()
    return str(maturin.build_editable(folder, config_settings, metadata))
