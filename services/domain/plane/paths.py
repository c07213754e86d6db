"""Where a sandbox's sockets lie on its host."""

from __future__ import annotations

import contextlib
import uuid
from datetime import datetime
from pathlib import Path

SOCKET_NAME = "gw.sock"
EGRESS_SOCKET_NAME = "egress.sock"


def socket_dir(run_dir: Path, sandbox_id: uuid.UUID) -> Path:
    """Return the folder that is mounted into one sandbox. Short: a socket's path has at most 107 bytes."""
    return run_dir / "s" / sandbox_id.hex


def list_socket_dirs(run_dir: Path, *, made_before: datetime) -> dict[uuid.UUID, Path]:
    """List the socket folders of this host that nothing has changed since a moment, by their sandbox."""
    root, edge, found = run_dir / "s", made_before.timestamp(), {}
    for folder in root.iterdir() if root.is_dir() else ():
        # A name that is no sandbox's is none of ours; one that vanishes is well.
        with contextlib.suppress(ValueError, FileNotFoundError):
            sandbox_id = uuid.UUID(hex=folder.name)
            if folder.stat().st_mtime < edge:
                found[sandbox_id] = folder
    return found
