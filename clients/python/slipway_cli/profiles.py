"""Servers and tokens that the command remembers, in one file that only its owner can read."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Profile:
    """Where and as whom. `token_id` is by which the server knows the token, to revoke it."""

    url: str
    token: str
    token_id: str = ""


@dataclass(slots=True)
class Profiles:
    """All of them, and the name of the one that is used when none is named."""

    current: str = DEFAULT
    profiles: dict[str, Profile] = field(default_factory=dict)


def config_path() -> Path:
    """Return where the file is: SLIPWAY_CONFIG, else below XDG_CONFIG_HOME, else below ~/.config."""
    if named := os.environ.get("SLIPWAY_CONFIG"):
        return Path(named)
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "slipway" / "profiles.json"


def load() -> Profiles:
    """Return what is remembered. Raises: OSError for a file that others may read or that is damaged."""
    path = config_path()
    try:
        with path.open(encoding="utf-8") as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                raise PermissionError(f"{path} can be read by others. Close it with: chmod 600 {path}")
            read: dict[str, Any] = json.load(file)
            profiles = {name: Profile(**kept) for name, kept in read["profiles"].items()}
    except FileNotFoundError:
        return Profiles()
    except (ValueError, TypeError, KeyError) as error:
        raise OSError(f"{path} is damaged; remove it and sign in again.") from error
    return Profiles(read.get("current", DEFAULT), profiles)


def save(kept: Profiles) -> None:
    """Write the file anew, whole or not at all, with mode 0600."""
    path = config_path()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    text = json.dumps(
        {"current": kept.current, "profiles": {name: asdict(one) for name, one in kept.profiles.items()}},
        indent=2,
    )
    # Made with mode 0600, and put in place only when it is whole.
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".profiles-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(f"{text}\n")
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
