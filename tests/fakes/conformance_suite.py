"""The official conformance suite of the protocol, fetched by the ordinary npm client as its lock file says, and run."""

from __future__ import annotations

import fcntl
import hashlib
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOCKED = ROOT / "requirements" / "conformance"
CACHE = ROOT / ".local" / "conformance"
_MACHINES = {"x86_64": "x64", "aarch64": "arm64"}
_INSTALL_WITHIN_S, _RUN_WITHIN_S = 600, 300


@dataclass(frozen=True, slots=True)
class Suite:
    """An installed suite, and the Node that it needs: the machine's own is too old for it."""

    node: Path
    program: Path

    def run(self, url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the scenarios for servers against an address."""
        return subprocess.run(
            [str(self.node), str(self.program), "server", "--url", url, *arguments],
            capture_output=True,
            text=True,
            timeout=_RUN_WITHIN_S,
            check=False,
        )


def install() -> Suite:
    """Install what the lock file names, once for each state of it. Raises: RuntimeError with what npm said."""
    files = [LOCKED / "package.json", LOCKED / "package-lock.json"]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:16]
    folder = CACHE / digest
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            _install_into(folder, files)
    modules = folder / "node_modules"
    return Suite(
        modules / f"node-linux-{_MACHINES[platform.machine()]}" / "bin" / "node",
        modules / "@modelcontextprotocol" / "conformance" / "dist" / "index.js",
    )


def _install_into(folder: Path, files: list[Path]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for path in files:
        shutil.copy(path, folder)
    done = subprocess.run(
        ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=_INSTALL_WITHIN_S,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"npm could not install the conformance suite:\n{done.stderr[-4_000:]}")
    (folder / "complete").touch()
