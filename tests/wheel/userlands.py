"""Userlands of other releases, unpacked from this machine's own Debian mirror into `.cache/userlands`.

Nothing is installed and no maintainer script runs: a userland is the packages' files, entered by `pivot_root` in a
mount namespace (not by chroot, where the kernel allows no user namespace).
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("GOSSAMER_TEST_USERLANDS", ROOT / ".cache" / "userlands"))
# What a person has before the first `pip install`; libstdc++6 is for grpcio, whose wheel expects it of the machine.
PACKAGES = (
    "base-files", "python3", "python3-venv", "dash", "coreutils", "mount", "util-linux", "ca-certificates", "libstdc++6",
)  # fmt: skip
KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
MERGED = ("bin", "sbin", "lib", "lib64")

ENTER = """set -e
mount --bind "$1" "$1"; mkdir -p "$1/share"
for each in proc dev sys; do mount --rbind /$each "$1/$each"; done
for each in tmp home run; do mount -t tmpfs -o mode=1777 tmpfs "$1/$each"; done
mount --bind "$2" "$1/share"; cd "$1"; pivot_root . .; umount -l .; cd /tmp; shift 2
exec "$@"
"""


class NotToBeHad(Exception):
    """Why a userland cannot be made on this machine."""


@dataclass(frozen=True)
class Userland:
    root: Path

    def run(self, share: Path, *command: str, seconds: float = 180) -> subprocess.CompletedProcess[str]:
        """Runs a command in it, with `share` at /share and nothing of this machine's environment."""
        ordinary = os.geteuid() != 0
        # An ordinary user is root while mounting, and himself again for the command.
        user = ["--user", "--map-root-user"] if ordinary else []
        drop = ["unshare", "--user", f"--map-user={os.getuid()}", f"--map-group={os.getgid()}"] if ordinary else []
        enter = ["sh", "-c", ENTER, "sh", str(self.root), str(share), *drop, *command]
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/home", "LANG": "C.UTF-8"}
        return subprocess.run(
            ["unshare", "--mount", "--propagation", "private", *user, *enter],
            env=environment, capture_output=True, text=True, timeout=seconds,
        )  # fmt: skip


def mirror() -> str:
    """`[options] URI` of the mirror that this machine is configured with."""
    sites = _run("apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages").split()
    site = next((site for site in sites if site.rstrip("/").endswith("/debian")), None)
    if site is None:
        raise NotToBeHad("no Debian mirror is configured here")
    return f"[signed-by={KEYS}] {site}" if KEYS.exists() else site


def make(release: str) -> Userland:
    """The userland of a Debian release, made on the first call. Raises NotToBeHad."""
    made = CACHE / release / "root"
    if made.exists():
        return Userland(made)
    for tool in ("apt-get", "dpkg-deb", "unshare", "pivot_root"):
        if shutil.which(tool) is None:
            raise NotToBeHad(f"{tool}: not on this machine")
    try:
        _unpack(release, _download(release))
    except subprocess.CalledProcessError as error:
        shutil.rmtree(CACHE / release, ignore_errors=True)
        raise NotToBeHad(f"{release}: {(error.stderr or str(error)).strip().splitlines()[-1]}") from error
    (CACHE / release / "making").rename(made)
    return Userland(made)


def _download(release: str) -> list[Path]:
    folder = CACHE / release
    for part in ("state/lists/partial", "cache/archives/partial", "packages"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    (folder / "sources.list").write_text(f"deb {mirror()} {release} main\n")
    (folder / "status").touch()
    places = {
        "Dir::Etc::SourceList": folder / "sources.list",
        "Dir::Etc::SourceParts": "/nonexistent",
        "Dir::State": folder / "state",
        "Dir::Cache": folder / "cache",
        "Dir::State::status": folder / "status",
        "APT::Sandbox::User": "root",
    }
    options = [word for key, value in places.items() for word in ("-o", f"{key}={value}")]
    _run("apt-get", *options, "update", "-qq")
    plan = _run("apt-get", *options, "-s", "--no-install-recommends", "install", *PACKAGES)
    names = [line.split()[1] for line in plan.splitlines() if line.startswith("Inst ")]
    _run("apt-get", *options, "download", "-qq", *names, cwd=folder / "packages")
    return sorted((folder / "packages").glob("*.deb"))


def _unpack(release: str, packages: list[Path]) -> None:
    root = CACHE / release / "making"
    for name in MERGED:
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")
    for package in packages:
        unpack = f'dpkg-deb --fsys-tarfile "{package}" | tar -x --keep-directory-symlink --no-same-owner -C "{root}"'
        _run("sh", "-c", unpack)
    # The one thing that maintainer scripts would have made and that is needed: the bundle pip reads.
    certificates = sorted((root / "usr/share/ca-certificates/mozilla").glob("*.crt"))
    bundle = root / "etc/ssl/certs/ca-certificates.crt"
    bundle.parent.mkdir(parents=True, exist_ok=True)
    bundle.write_bytes(b"".join(each.read_bytes() for each in certificates))
    for each in (CACHE / release, root):
        each.chmod(0o755)


def _run(*command: str, cwd: Path | None = None) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=cwd).stdout
