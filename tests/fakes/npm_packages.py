"""Packages of npm that tests run, fetched by its ordinary client as their lock files say, and their own Node."""

from __future__ import annotations

import fcntl
import hashlib
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_MACHINES = {"x86_64": "x64", "aarch64": "arm64"}
_INSTALL_WITHIN_S = 600


@dataclass(frozen=True, slots=True)
class Packages:
    """Installed packages, and their own Node: the machine's is too old for them."""

    folder: Path

    @property
    def modules(self) -> Path:
        """Where the packages are."""
        return self.folder / "node_modules"

    @property
    def node(self) -> Path:
        """The program that runs them."""
        return self.modules / f"node-linux-{_MACHINES[platform.machine()]}" / "bin" / "node"


def install(name: str, locked: Path | None = None) -> Packages:
    """Install what `requirements/<name>`, or another folder, locks, once for each state of it.

    Raises: RuntimeError with what npm said.
    """
    locked, cache = locked or ROOT / "requirements" / name, ROOT / ".local" / name
    files = [locked / "package.json", locked / "package-lock.json"]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:16]
    folder = cache / digest
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            _install_into(folder, files)
    return Packages(folder)


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
        raise RuntimeError(f"npm could not install {folder.parent.name}:\n{done.stderr[-4_000:]}")
    (folder / "complete").touch()
