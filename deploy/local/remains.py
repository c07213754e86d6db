"""What sandboxes leave with the kernel when their worker is gone: mounted volumes and control groups."""

from __future__ import annotations

import contextlib
import functools
import re
import subprocess
from pathlib import Path

from deploy.local.control import wait_until

_GROUPS = Path("/sys/fs/cgroup")


def unmount_volumes(data: Path) -> int:
    """Unmount every volume beneath a folder, at once even when somebody still reads it; return their number."""
    prefix = f"{data.resolve()}/volumes/"
    mounted = [place for place in _mount_points() if place.startswith(prefix)]
    for place in reversed(mounted):
        subprocess.run(["umount", "--lazy", place], capture_output=True, check=False)
    return len(mounted)


def _mount_points() -> list[str]:
    words = [line.split(" ")[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), word) for word in words]


def thaw_groups(installation: str) -> None:
    """Let frozen sandboxes run on: those of version 1 do not even die while they are frozen."""
    for folder in _groups_of(installation):
        for name, value in (("freezer.state", "THAWED"), ("cgroup.freeze", "0")):
            if (folder / name).exists():
                with contextlib.suppress(OSError):
                    (folder / name).write_text(value)


def remove_groups(installation: str) -> None:
    """Remove the groups of sandboxes that have ended; a group goes when its last process has gone."""
    for folder in _groups_of(installation):
        wait_until(functools.partial(_is_removed, folder), within_s=10, every_s=0.02)


def _is_removed(folder: Path) -> bool:
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _groups_of(installation: str) -> list[Path]:
    return [
        folder
        for pattern in (f"slipway/{installation}-*", f"*/slipway/{installation}-*")
        for folder in _GROUPS.glob(pattern)
        if folder.is_dir() and not folder.is_symlink()
    ]
