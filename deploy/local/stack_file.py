"""`stack.json`: what runs, where it answers, with which pids. Two processes write it, under one lock."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deploy.local.envfile import write_private


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    lock = path.with_suffix(".lock")
    with lock.open("a", encoding="utf-8") as stream:
        lock.chmod(0o600)
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def write(path: Path, content: Mapping[str, Any], read_pids: Callable[[], dict[str, int]]) -> dict[str, Any]:
    """Replace stack.json. The pids are asked for under the lock, so that the last writer knows best."""
    with _locked(path):
        whole = {**content, "pids": read_pids()}
        write_private(path, json.dumps(whole, indent=2) + "\n")
    return whole


def refresh_pids(path: Path, read_pids: Callable[[], dict[str, int]]) -> bool:
    """Bring the pids of an existing stack.json up to date; return whether anything changed."""
    with _locked(path):
        if not path.exists():
            return False
        whole = json.loads(path.read_text(encoding="utf-8"))
        pids = read_pids()
        if whole.get("pids") == pids:
            return False
        write_private(path, json.dumps({**whole, "pids": pids}, indent=2) + "\n")
    return True


def remove(path: Path) -> None:
    """Take stack.json away: nothing runs any more."""
    with _locked(path):
        path.unlink(missing_ok=True)


def read(path: Path) -> dict[str, Any]:
    """Read stack.json; empty when the stack is not up."""
    if not path.exists():
        return {}
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content
