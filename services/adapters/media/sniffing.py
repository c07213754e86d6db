"""What a file is, by its bytes. What a platform or a name says of it counts only between kinds of text. Pure."""

from __future__ import annotations

import io
import zipfile

import filetype

from services.kit.file_names import OCTETS, content_type_of

_HEAD_BYTES = 8_192
OFFICE = {
    "word/document.xml": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "xl/workbook.xml": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "ppt/presentation.xml": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
}


def sniff(data: bytes, name: str) -> str:
    """Return a file's type. Text is what its name says, as long as that is a kind of text."""
    found = filetype.guess_mime(data[:_HEAD_BYTES])
    if found == "application/zip" or data[:4] == b"PK\x03\x04":
        return _office(data) or "application/zip"
    if found is not None:
        return str(found)
    if _is_text(data):
        named = content_type_of(name)
        is_text = named.startswith("text/") or named in ("application/json", "application/xml")
        return named if is_text else "text/plain"
    return OCTETS


def _office(data: bytes) -> str | None:
    """Return which office format an archive is, by the part that each must have."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = set(archive.namelist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError):
        return None
    if "[Content_Types].xml" not in names:
        return None
    return next((kind for part, kind in OFFICE.items() if part in names), None)


def _is_text(data: bytes) -> bool:
    if b"\x00" in data[:_HEAD_BYTES]:
        return False
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
