"""Where the work is done."""

from __future__ import annotations

import os
from pathlib import Path


def workspace_folder() -> Path:
    """Return /workspace, or the current folder outside of a sandbox."""
    folder = Path(os.environ.get("SLIPWAY_WORKSPACE", "/workspace"))
    return folder if folder.is_dir() else Path.cwd()


def is_disk_full() -> bool:
    """Say whether less than a hundredth of the workspace's room is left: the likely reason why a turn failed."""
    try:
        room = os.statvfs(workspace_folder())
    except OSError:
        return False
    return room.f_blocks > 0 and room.f_bavail * 100 < room.f_blocks
