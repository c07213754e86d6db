"""Names of files that a stranger or a model chose: one part of a path, in one line, and what they say of the type."""

from __future__ import annotations

import mimetypes
import posixpath
import re
import unicodedata

MAX_NAME_BYTES = 120
OCTETS = "application/octet-stream"
# What separates folders, what shells and other systems read otherwise, and marks that make a name look like another.
_UNFIT = re.compile(
    '[\x00-\x1f\x7f-\x9f:*?"<>|\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]'
)
_LONGEST_SUFFIX = 15
_CODED = {"gzip": "application/gzip", "bzip2": "application/x-bzip2", "xz": "application/x-xz"}


def clean_name(text: str, otherwise: str) -> str:
    """Return a file's name without folders, hidden signs and leading dots; `otherwise` where nothing is left."""
    name = posixpath.basename(unicodedata.normalize("NFC", text).replace("\\", "/"))
    name = " ".join(_UNFIT.sub("", name).split()).lstrip(".- ").rstrip(". ")
    stem, dot, suffix = name.rpartition(".")
    if not stem or len(suffix.encode()) > _LONGEST_SUFFIX:
        stem, dot, suffix = name, "", ""
    room = MAX_NAME_BYTES - len(f"{dot}{suffix}".encode())
    return f"{stem.encode()[:room].decode(errors='ignore')}{dot}{suffix}" or otherwise


def content_type_of(name: str) -> str:
    """Return what a file's name says of its type."""
    kind, coding = mimetypes.guess_type(name)
    if coding is not None:
        return _CODED.get(coding, OCTETS)
    return kind or OCTETS
