"""Programs of others from npm, fetched by the ordinary client as their lock file says, once for each state of it."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOCKED = ROOT / "requirements" / "peers"
CACHE = ROOT / ".local" / "peers"
_WITHIN_S = 600


def install(name: str) -> Path:
    """Install what a lock file below `requirements/peers` names; returns the folder that has `node_modules`.

    Raises: RuntimeError with what npm said.
    """
    files = [LOCKED / name / "package.json", LOCKED / name / "package-lock.json"]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:16]
    folder = CACHE / f"{name}-{digest}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            _install_into(folder, files)
    return folder


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
        timeout=_WITHIN_S,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"npm could not install {folder.name}:\n{done.stderr[-4_000:]}")
    (folder / "complete").touch()
