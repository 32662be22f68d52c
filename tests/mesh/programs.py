"""Programs nobody here wrote, unpacked from Debian packages into `.cache/programs`; nothing is installed.

Python programs are in an environment of their own there (stacks.lock).

`python -m tests.mesh.programs` fetches what is missing and says what could not be had. Tests ask `find(name)`;
what is absent is skipped with that reason, and counted.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("GOSSAMER_TEST_PROGRAMS", ROOT / ".cache" / "programs"))
TREE = CACHE / "root"
ARCHIVES = CACHE / "archives"
STACKS = CACHE / "stacks" / "bin" / "python"
LOCK = Path(__file__).with_name("stacks.lock")


@dataclass(frozen=True)
class Program:
    """Where its binary lies below the unpacked tree, and which packages bring it."""

    name: str
    path: str
    packages: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)


PROGRAMS = (
    Program("curl", "usr/bin/curl", ("curl",)),
    Program("nginx", "usr/sbin/nginx", ("nginx",)),
    Program("redis-server", "usr/bin/redis-server", ("redis-server",)),
    Program("redis-cli", "usr/bin/redis-cli", ("redis-tools",)),
    Program("postgres", "usr/lib/postgresql/15/bin/postgres", ("postgresql-15",)),
    Program("psql", "usr/lib/postgresql/15/bin/psql", ("postgresql-client-15",)),
    Program("node", "usr/bin/node", ("nodejs",)),
    Program("wrk", "usr/bin/wrk", ("wrk",)),
    Program("haproxy", "usr/sbin/haproxy", ("haproxy",)),
    Program("strace", "usr/bin/strace", ("strace",)),
    Program("valgrind", "usr/bin/valgrind.bin", ("valgrind",), {"VALGRIND_LIB": str(TREE / "usr/libexec/valgrind")}),
    Program("memcached", "usr/bin/memcached", ("memcached",)),
    Program("mosquitto", "usr/sbin/mosquitto", ("mosquitto",)),
    Program("mariadbd", "usr/sbin/mariadbd", ("mariadb-server-core",)),
    Program("mariadb", "usr/bin/mariadb", ("mariadb-client-core",)),
    Program("nats-server", "usr/sbin/nats-server", ("nats-server",)),
    Program("sshd", "usr/sbin/sshd", ("openssh-server",)),
    Program("ssh", "usr/bin/ssh", ("openssh-client",)),
    Program("nc", "bin/nc.openbsd", ("netcat-openbsd",)),
    Program("socat", "usr/bin/socat", ("socat",)),
    Program("ab", "usr/bin/ab", ("apache2-utils",)),
    Program("hey", "usr/bin/hey", ("hey",)),
    Program("h2load", "usr/bin/h2load", ("nghttp2-client",)),
    Program("nghttpd", "usr/sbin/nghttpd", ("nghttp2-server",)),
    Program("apache2", "usr/sbin/apache2", ("apache2-bin",)),
    Program("lighttpd", "usr/sbin/lighttpd", ("lighttpd",)),
    Program("caddy", "usr/bin/caddy", ("caddy",)),
    Program("openssl headers", "usr/include/openssl/ssl.h", ("libssl-dev",)),
)


@dataclass(frozen=True)
class Found:
    """A program that can be started: its path, and the environment its libraries need."""

    path: str
    environment: dict[str, str]


def libraries() -> str:
    return ":".join(
        str(path) for path in (TREE / "usr/lib/x86_64-linux-gnu", TREE / "lib/x86_64-linux-gnu") if path.is_dir()
    )


def find(name: str) -> Found | None:
    """The unpacked program, else the machine's own, else None."""
    program = next((each for each in PROGRAMS if each.name == name), None)
    if program is not None and (TREE / program.path).exists():
        return Found(str(TREE / program.path), {"LD_LIBRARY_PATH": libraries(), **program.environment})
    if name == "python stacks":
        return Found(str(STACKS), {}) if STACKS.exists() else None
    own = shutil.which(name)
    return Found(own, {}) if own else None


def run(*command: str, **options: object) -> str:
    result = subprocess.run(command, capture_output=True, text=True, check=True, **options)  # type: ignore[call-overload]
    return str(result.stdout)


def apt_options() -> list[str]:
    """Lists and archives of our own, so that an ordinary user can look and nothing of the machine's changes."""
    for folder in ("state/lists/partial", "cache/archives/partial"):
        (CACHE / "apt" / folder).mkdir(parents=True, exist_ok=True)
    pairs = {
        "Dir::State": CACHE / "apt" / "state",
        "Dir::Cache": CACHE / "apt" / "cache",
        "Dir::State::status": "/var/lib/dpkg/status",
        "APT::Sandbox::User": "root",
    }
    return [word for key, value in pairs.items() for word in ("-o", f"{key}={value}")]


def installed() -> set[str]:
    lines = run("dpkg-query", "-W", "-f", "${Package} ${db:Status-Abbrev}\n").splitlines()
    return {line.split()[0] for line in lines if " ii" in line}


def closure(package: str, options: list[str]) -> set[str]:
    """The package and everything it depends on that this machine lacks."""
    words = [
        "--recurse",
        "--no-recommends",
        "--no-suggests",
        "--no-conflicts",
        "--no-breaks",
        "--no-replaces",
        "--no-enhances",
    ]
    names = re.findall(r"^([a-z0-9][a-z0-9.+-]*)$", run("apt-cache", *options, "depends", *words, package), re.M)
    return (set(names) - installed()) | {package}


def fetch(program: Program, options: list[str]) -> str | None:
    """Downloads and unpacks; returns why it could not, or None."""
    ARCHIVES.mkdir(parents=True, exist_ok=True)
    TREE.mkdir(parents=True, exist_ok=True)
    problem = None
    for package in sorted(set().union(*(closure(each, options) for each in program.packages))):
        if list(ARCHIVES.glob(f"{package}_*.deb")):
            continue
        try:
            run("apt-get", *options, "download", "-qq", package, cwd=ARCHIVES)
            archive = next(ARCHIVES.glob(f"{package}_*.deb"))
            run("dpkg-deb", "-x", str(archive), str(TREE))
        except (subprocess.CalledProcessError, StopIteration) as error:
            # A purely virtual dependency has nothing to download; only the program itself decides.
            problem = f"{package}: {getattr(error, 'stderr', '') or error}".strip().splitlines()[-1]
    return None if (TREE / program.path).exists() else problem or f"no {program.path} in {program.packages}"


def make_stacks() -> str | None:
    """An environment with the Python programs of stacks.lock; why there is none, or None."""
    if STACKS.exists():
        return None
    making = STACKS.parents[1]
    try:
        run(sys.executable, "-m", "venv", str(making))
        run(str(STACKS), "-m", "pip", "install", "-q", "--require-hashes", "-r", str(LOCK))
    except subprocess.CalledProcessError as error:
        shutil.rmtree(making, ignore_errors=True)
        return f"{error.stderr or error}".strip().splitlines()[-1]
    return None


def main() -> None:
    print("Python programs:", make_stacks() or "there")
    missing = [program for program in PROGRAMS if not (TREE / program.path).exists()]
    if not missing:
        print(f"{len(PROGRAMS)} programs are there")
        return
    if not all(shutil.which(tool) for tool in ("apt-get", "apt-cache", "dpkg-deb", "dpkg-query")):
        print(f"no Debian tools here: {len(missing)} programs are taken from the machine or skipped")
        return
    options = apt_options()
    try:
        run("apt-get", *options, "update", "-qq")
    except subprocess.CalledProcessError as error:
        print(f"no package lists: {error.stderr.strip()}", file=sys.stderr)
    for number, program in enumerate(missing, 1):
        print(f"[{number}/{len(missing)}] {program.name}", end=" ", flush=True)
        print(fetch(program, options) or "unpacked")


if __name__ == "__main__":
    main()
