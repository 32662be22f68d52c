"""Makes src/gossamer/pb/ from the .proto files of gossamer.v1 and of the crate linkerd2-proxy-api.

Nothing it writes is committed. The crate's files are found through `cargo metadata`, so that Python and Rust
always speak the same version. Run it by `make pb`; it does nothing when its inputs have not changed.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "src" / "gossamer" / "pb"
MANIFEST = ROOT / "proxy" / "Cargo.toml"
# tap.proto belongs to a service we do not offer.
LEFT_OUT = {"tap.proto"}


def crate_protos() -> Path:
    """The folder `proto/` of the crate that Cargo.lock names."""
    command = ["cargo", "metadata", "--format-version", "1", "--locked", "--manifest-path", str(MANIFEST)]
    packages = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["packages"]
    for package in packages:
        if package["name"] == "linkerd2-proxy-api":
            return Path(package["manifest_path"]).parent / "proto"
    raise SystemExit(f"{MANIFEST}: no package depends on linkerd2-proxy-api")


def rehome(text: str) -> str:
    """Imports rewritten so that generated modules live in gossamer.pb.linkerd.

    A top-level package `io` would shadow the standard library, and Python cannot import the crate's own
    path of timestamp.proto.
    """
    text = text.replace("google/protobuf/timestamp/timestamp.proto", "google/protobuf/timestamp.proto")
    return re.sub(r'import "(?!google/)([a-z_0-9]+\.proto)"', r'import "gossamer/pb/linkerd/\1"', text)


def sources() -> dict[str, str]:
    """Path below the include folder → text."""
    found = {
        f"gossamer/pb/linkerd/{path.name}": rehome(path.read_text())
        for path in sorted(crate_protos().glob("*.proto"))
        if path.name not in LEFT_OUT
    }
    for path in sorted((ROOT / "proto" / "gossamer" / "v1").glob("*.proto")):
        text = re.sub(r'import "gossamer/v1/', 'import "gossamer/pb/v1/', rehome(path.read_text()))
        found[f"gossamer/pb/v1/{path.name}"] = text
    return found


def main() -> None:
    wanted = sources()
    digest = hashlib.sha256(json.dumps(wanted, sort_keys=True).encode() + Path(__file__).read_bytes()).hexdigest()
    stamp = OUT / ".digest"
    if stamp.exists() and stamp.read_text() == digest:
        return
    from grpc_tools import protoc

    with tempfile.TemporaryDirectory() as folder:
        for name, text in wanted.items():
            target = Path(folder) / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        include = Path(protoc.__file__).parent / "_proto"
        out = ROOT / "src"
        arguments = ["protoc", f"-I{folder}", f"-I{include}", f"--python_out={out}", f"--pyi_out={out}", *wanted]
        if protoc.main(arguments) != 0:
            raise SystemExit("protoc refused the .proto files; its message is above")
    for package in (OUT, OUT / "linkerd", OUT / "v1"):
        (package / "__init__.py").write_text('"""Made by tools/stubs.py; not committed."""\n')
    stamp.write_text(digest)
    print(f"made {len(wanted)} modules in {OUT.relative_to(ROOT)}", file=sys.stderr)


if __name__ == "__main__":
    main()
