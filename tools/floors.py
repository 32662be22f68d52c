"""Fails when a lock file holds a version below its floor, or one crate of ours in two versions (tools/floors.toml)."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Crates that must exist once: two versions would mean two sets of types, or twice the weight.
ONCE = ("rustls", "aws-lc-rs", "prost", "h2", "tokio", "bytes")


def rust_versions(text: str) -> list[tuple[str, str]]:
    """Name and version of every package in a Cargo.lock."""
    return [(package["name"], package["version"]) for package in tomllib.loads(text)["package"]]


def python_versions(text: str) -> list[tuple[str, str]]:
    """Name and version of every pin in a requirements file."""
    return [(name.lower(), version) for name, version in re.findall(r"^([A-Za-z0-9_.-]+)==([^\s;\\]+)", text, re.M)]


def parts(version: str) -> tuple[int, ...]:
    """`0.103.17` → (0, 103, 17); anything after the numbers is left out."""
    return tuple(int(number) for number in re.findall(r"\d+", version.split("-")[0].split("+")[0]))


def complaints(found: list[tuple[str, str]], floors: dict[str, list[str]], where: str) -> list[str]:
    """One line for each version that is too old or must not be there."""
    lines = []
    for name, version in found:
        floor, reason = floors.get(name, ("0", ""))
        if floor == "absent":
            lines.append(f"{where}: {name} {version} must not be used ({reason})")
        elif parts(version) < parts(floor):
            lines.append(f"{where}: {name} {version} is below its floor {floor} ({reason})")
    return lines


def repeated(found: list[tuple[str, str]], where: str) -> list[str]:
    names = [name for name, _ in found]
    return [f"{where}: {name} is there {names.count(name)} times" for name in ONCE if names.count(name) > 1]


def main() -> None:
    floors = tomllib.loads((ROOT / "tools" / "floors.toml").read_text())
    rust = rust_versions((ROOT / "proxy" / "Cargo.lock").read_text())
    python = python_versions((ROOT / "requirements.lock").read_text())
    lines = [
        *complaints(rust, floors["rust"], "proxy/Cargo.lock"),
        *repeated(rust, "proxy/Cargo.lock"),
        *complaints(python, floors["python"], "requirements.lock"),
    ]
    print("\n".join(lines) or f"{len(rust)} crates and {len(python)} Python packages are at or above their floors")
    sys.exit(1 if lines else 0)


if __name__ == "__main__":
    main()
