"""Files of `KEY=value` lines that a shell can source and a person can edit."""

from __future__ import annotations

import os
import re
import shlex
import tempfile
from collections.abc import Mapping
from pathlib import Path

_LINE = re.compile(r"^\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)$")


class LineRefused(ValueError):
    """A line of a settings file that is neither a comment nor `KEY=value`."""


def write_private(path: Path, text: str) -> None:
    """Replace a file's content in one step, readable by its owner only."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
        Path(name).chmod(0o600)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def parse(text: str, *, source: str = "settings") -> dict[str, str]:
    """Read the settings of a text, later lines winning over earlier ones. Raises: LineRefused."""
    values: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LINE.match(line)
        if match is None:
            raise LineRefused(f"{source}, line {number}: expected KEY=value")
        try:
            words = shlex.split(match[2], comments=True)
        except ValueError as error:
            raise LineRefused(f"{source}, line {number}: {error}") from error
        values[match[1]] = " ".join(words)
    return values


def read(path: Path) -> dict[str, str]:
    """Read the settings of a file; an absent one has none."""
    return parse(path.read_text(encoding="utf-8"), source=str(path)) if path.exists() else {}


def render(values: Mapping[str, str]) -> str:
    """Write settings as lines, sorted by name."""
    return "".join(f"{key}={shlex.quote(values[key])}\n" for key in sorted(values))


def merge(text: str, changes: Mapping[str, str | None]) -> str:
    """Return the text with these settings changed, added at its end, or (None) taken out; all else stays."""
    pending = dict(changes)
    lines: list[str] = []
    for line in text.splitlines():
        match = _LINE.match(line)
        if match is None or match[1] not in changes:
            lines.append(line)
            continue
        value = pending.pop(match[1], None)
        if value is not None:
            lines.append(f"{match[1]}={shlex.quote(value)}")
    lines += [f"{key}={shlex.quote(value)}" for key, value in pending.items() if value is not None]
    return "\n".join(lines) + "\n"
