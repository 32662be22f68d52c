"""Makes the checkout runnable from its own environment: `gossamer` on the path, `src` importable.

An editable install would build the sidecar a second time; this takes two small files instead.
"""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    (Path(sysconfig.get_path("purelib")) / "gossamer-checkout.pth").write_text(f"{ROOT / 'src'}\n")
    launcher = (ROOT / "gossamer.data" / "scripts" / "gossamer").read_text()
    script = Path(sysconfig.get_path("scripts")) / "gossamer"
    script.write_text(launcher.replace("#!python", f"#!{sys.executable}", 1))
    script.chmod(0o755)


if __name__ == "__main__":
    main()
