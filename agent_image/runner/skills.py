"""The agent's skills as files of the workspace: those of this turn, as they are now, and no others."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

FOLDER = Path(".slipway") / "skills"


def write_skills(workspace: Path, skills: Iterable[Mapping[str, Any]]) -> None:
    """Make the folder of skills what the turn says. What an agent or an earlier turn left there goes.

    Links are never followed: where one stands in the way, it is removed. Raises: OSError, ValueError for a path that
    would lead out of a skill's folder.
    """
    wanted = list(skills)
    parent, folder = workspace / FOLDER.parent, workspace / FOLDER
    if not wanted and not os.path.lexists(folder):
        return
    import shutil  # with all formats of archives: not on the way of a turn without skills

    for path in (parent, folder):
        if path.is_symlink() or (os.path.lexists(path) and not path.is_dir()):
            path.unlink()
    shutil.rmtree(folder, ignore_errors=True)
    if wanted:
        parent.mkdir(exist_ok=True)
        # What is there is no part of a repository that the workspace is.
        (parent / ".gitignore").write_text("*\n")
    for skill in wanted:
        for name, text in skill["files"].items():
            _write(folder / str(skill["name"]), str(name), str(text))


def _write(folder: Path, name: str, text: str) -> None:
    parts = Path(name).parts
    if not parts or Path(name).is_absolute() or ".." in parts or ".." in folder.parts:
        raise ValueError("a skill's file leads out of its folder")
    path = folder.joinpath(*parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
