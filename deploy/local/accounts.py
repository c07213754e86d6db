"""The operating-system users that servers run as, and commands run in their name."""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from deploy.local.failures import StartFailed


def server_account(name: str) -> str | None:
    """Return the user to run a server as: the named one when we are root and it exists, else ourselves."""
    if os.geteuid() != 0:
        return None
    try:
        pwd.getpwnam(name)
    except KeyError:
        return None
    return name


def give(path: Path, account: str | None) -> None:
    """Make a folder or file the account's own."""
    if account is not None:
        entry = pwd.getpwnam(account)
        os.chown(path, entry.pw_uid, entry.pw_gid)


def run_as(account: str | None, command: Sequence[str], environ: Mapping[str, str]) -> None:
    """Run a command to its end in the account's name, from `/`. Raises: StartFailed with its last words."""
    identity: dict[str, str | int | list[int]] = {}
    if account is not None:
        entry = pwd.getpwnam(account)
        identity = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    done = subprocess.run(  # type: ignore[call-overload]
        list(command), cwd="/", env=dict(environ), capture_output=True, text=True, check=False, **identity
    )
    if done.returncode != 0:
        words = (done.stderr or done.stdout).strip()[-800:]
        raise StartFailed(f"{command[0]} ended with {done.returncode}: {words}")


def can_reach(path: Path, account: str | None) -> bool:
    """Say whether the account may pass through every folder above the path."""
    if account is None:
        return True
    entry = pwd.getpwnam(account)
    for folder in path.parents:
        status = folder.stat()
        if status.st_uid == entry.pw_uid:
            bit = 0o100
        elif status.st_gid == entry.pw_gid:
            bit = 0o010
        else:
            bit = 0o001
        if not status.st_mode & bit:
            return False
    return True
