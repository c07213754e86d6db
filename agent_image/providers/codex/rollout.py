"""The CLI's session file, its rollout: written back before a turn, and read on as the CLI adds to it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from agent_image.providers.transcript import pack, unpack
from agent_image.runner.turn import Session, TurnEvents

_NAME = re.compile(r"rollout-[A-Za-z0-9._-]{1,150}\.jsonl")
_FOLDER = Path("sessions", "2000", "01", "01")  # the CLI looks in all folders of this depth
MAX_READ_BYTES = 8 * 1024 * 1024  # at once; the rest follows


class Rollout:
    """The lines of one thread. A stored entry's path is the file's name."""

    def __init__(self, home: Path, session: Session | None, events: TurnEvents) -> None:
        self._home = home
        self._session = session
        self._events = events
        self._path: Path | None = None
        self._thread_id = ""
        self._saved_bytes = 0

    def restore(self) -> str | None:
        """Write what earlier turns saved; return the thread to resume, or None when there is none."""
        if self._session is None:
            return None
        transcripts = unpack(self._session.entries)
        name = next((name for name in transcripts if _NAME.fullmatch(name)), None)
        if name is None:
            return None
        folder = self._home / _FOLDER
        folder.mkdir(parents=True)
        with (folder / name).open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(entry, ensure_ascii=False) + "\n" for entry in transcripts[name])
        self._saved_bytes = (folder / name).stat().st_size
        return self._session.id

    def follow(self, thread_id: str, path: Path) -> None:
        """Take the file that a thread is written to."""
        self._thread_id, self._path = thread_id, path

    async def save_new(self) -> None:
        """Send the whole lines that were added since."""
        while self._path is not None and self._path.exists():
            with self._path.open("rb") as file:
                file.seek(self._saved_bytes)
                chunk = file.read(MAX_READ_BYTES)
            end = chunk.rfind(b"\n") + 1
            if not end:
                chunk = _read_line(self._path, self._saved_bytes) if len(chunk) == MAX_READ_BYTES else b""
                end = len(chunk)
            if not end:
                return
            self._saved_bytes += end
            for batch in pack(self._path.name, _parse_lines(chunk[:end])):
                await self._events.session_saved(self._thread_id, batch)


def _read_line(path: Path, start: int) -> bytes:
    """Return one line that is longer than is read at once; empty when it is not whole yet."""
    with path.open("rb") as file:
        file.seek(start)
        line = file.readline()
    return line if line.endswith(b"\n") else b""


def _parse_lines(chunk: bytes) -> list[dict[str, Any]]:
    found = []
    for line in chunk.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict):
            found.append(entry)
    return found
