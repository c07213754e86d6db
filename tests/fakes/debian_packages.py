"""Programs of Debian's, unpacked into a folder of ours and run without being installed.

Nothing of the machine is touched: the packages are fetched by the ordinary client. Their programs see them in their
places in /usr, in a mount namespace that ends with them.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".local" / "debian"
_WITHIN_S = 300


def unpack(packages: Sequence[str]) -> Path:
    """Return the folder in which the packages lie with all that they need and this machine has not, unpacked once.

    Raises: RuntimeError.
    """
    folder = CACHE / hashlib.sha256(" ".join(packages).encode()).hexdigest()[:16]
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            (folder / "packages").mkdir(parents=True)
            _run(["apt-get", "download", *_missing(packages)], folder / "packages")
            for package in (folder / "packages").glob("*.deb"):
                _run(["dpkg", "-x", str(package), str(folder / "root")], folder)
            (folder / "complete").touch()
    return folder / "root"


def start(root: Path, script: str) -> subprocess.Popen[bytes]:
    """Run a shell script that sees the packages in /usr, in namespaces for mounts and processes of its own.

    Needs root. When the process that is returned is killed, all that the script began ends with it.
    """
    layers = f"lowerdir={root}/usr:/usr"
    begin = f"set -e; mount -t overlay packages -o {layers} /usr\n{script}"
    command = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child"]
    return subprocess.Popen([*command, "sh", "-c", begin], stdin=subprocess.DEVNULL)


def _missing(packages: Sequence[str]) -> list[str]:
    planned = _run(["apt-get", "install", "--simulate", "--no-install-recommends", *packages], CACHE)
    return [line.split()[1] for line in planned.splitlines() if line.startswith("Inst ")]


def _run(command: list[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_WITHIN_S, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{command[:2]} failed:\n{done.stderr[-2_000:]}")
    return done.stdout
