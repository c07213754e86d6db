"""Reads a file in a process of its own, within bounds: the text in it, or a smaller picture.

A file may be made to break what reads it. The process knows no setting and no secret, has bounded memory, time and
output, and whatever becomes of it, the file itself is kept.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from services.adapters.media.sniffing import OFFICE, sniff

_PROGRAM = Path(__file__).with_name("program.py")
_TIME_S = 30
MAX_TEXT_CHARS = 2_000_000
MAX_EDGE_PX = 2_048
_WORD, _SHEET, _SLIDES = OFFICE.values()
_READERS = {"application/pdf": "pdf", _WORD: "docx", _SHEET: "xlsx", _SLIDES: "pptx"}
_PICTURES = ("image/jpeg", "image/png", "image/webp", "image/gif", "image/bmp", "image/tiff")


@dataclass(frozen=True, slots=True)
class Found:
    """What a file is, its bytes as they are to be kept, the text in it, and a note on what was done or failed."""

    content_type: str
    data: bytes
    text: str = ""
    note: str = ""


def read_file(data: bytes, name: str) -> Found:
    """Find out what a file is, and read it. Never fails: what cannot be read is kept as it came, with a note."""
    kind = sniff(data, name)
    if kind in _PICTURES:
        return _smaller(data, kind)
    if (reader := _READERS.get(kind)) is not None:
        return _text_of(data, kind, reader)
    return Found(kind, data)


def _smaller(data: bytes, kind: str) -> Found:
    answer, rest = _run("image", data)
    if answer is None:
        return Found(kind, data, note="the picture could not be opened, and is kept as it came")
    if not rest:
        return Found(kind, data)
    was, now = answer["was"], answer["now"]
    return Found(kind, rest, note=f"made smaller, from {was[0]} × {was[1]} to {now[0]} × {now[1]} pixels")


def _text_of(data: bytes, kind: str, reader: str) -> Found:
    answer, rest = _run(reader, data)
    text = rest.decode("utf-8", "replace").strip() if answer is not None else ""
    if answer is None:
        return Found(kind, data, note="its text could not be read")
    if not text:
        return Found(kind, data, note="there is no text in it; it may be scanned")
    return Found(kind, data, text, note="its text is not complete" if answer.get("is_cut") else "")


def _run(what: str, data: bytes) -> tuple[dict[str, list[int]] | None, bytes]:
    """Run the program; its first line says what it found, the rest is what it made. None when it failed."""
    try:
        done = subprocess.run(
            [sys.executable, "-I", str(_PROGRAM), what, str(MAX_EDGE_PX), str(MAX_TEXT_CHARS)],
            input=data,
            capture_output=True,
            timeout=_TIME_S,
            env={"LC_ALL": "C.UTF-8"},
            cwd="/",
            check=True,
        )
        head, _, rest = done.stdout.partition(b"\n")
        return json.loads(head), rest
    except (subprocess.SubprocessError, OSError, ValueError):
        return None, b""
