"""Where a sandbox's sockets lie on its host."""

from __future__ import annotations

import uuid
from pathlib import Path

SOCKET_NAME = "gw.sock"
EGRESS_SOCKET_NAME = "egress.sock"


def socket_dir(run_dir: Path, sandbox_id: uuid.UUID) -> Path:
    """Return the folder that is mounted into one sandbox. Short: a socket's path has at most 107 bytes."""
    return run_dir / "s" / sandbox_id.hex
