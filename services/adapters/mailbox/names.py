"""IMAP's texts: folder names in modified UTF-7, quoted strings, dates. Pure.

Source: RFC 3501, sections 5.1.3 and 9; RFC 6154 (special-use folders)
"""

from __future__ import annotations

import base64
import binascii
import datetime
import re
from dataclasses import dataclass

from services.domain.errors import Invalid

_LISTED = re.compile(rb'\((?P<flags>[^)]*)\) (?:NIL|"(?:[^"\\]|\\.)") (?P<name>"(?:[^"\\]|\\.)*"|\S+)$')
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_CODED = re.compile(r"&([A-Za-z0-9+,]*)-")
_PLAIN = re.compile(r"[\x20-\x7e]+")


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder of a mailbox. `use` is its special use in lower case, such as `drafts` or `sent`, or empty."""

    name: str
    use: str
    can_hold_mail: bool


def decode_folder(coded: str) -> str:
    """Return a folder's name; what is no modified UTF-7 stays as it came."""

    def letters(match: re.Match[str]) -> str:
        if not match[1]:
            return "&"
        padded = match[1].replace(",", "/") + "=" * (-len(match[1]) % 4)
        return base64.b64decode(padded).decode("utf-16-be")

    try:
        return _CODED.sub(letters, coded)
    except (binascii.Error, ValueError):
        return coded


def encode_folder(name: str) -> str:
    """Return a folder's name as it is sent: modified UTF-7."""
    parts, foreign = [], ""
    for char in name + "\0":
        if char == "\0" or _PLAIN.fullmatch(char):
            if foreign:
                coded = base64.b64encode(foreign.encode("utf-16-be")).decode().rstrip("=").replace("/", ",")
                parts.append(f"&{coded}-")
                foreign = ""
            parts.append("" if char == "\0" else "&-" if char == "&" else char)
        else:
            foreign += char
    return "".join(parts)


def quote(text: str) -> str:
    """Return a text as a quoted string. Raises: Invalid for what could end the command."""
    if any(ord(char) < 32 or ord(char) == 127 for char in text):
        raise Invalid("A text for the mail server must be one line.", fields={"text": "one line"})
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def imap_date(day: datetime.date) -> str:
    """Return a date as IMAP writes it, whatever the locale."""
    return f"{day.day:02d}-{_MONTHS[day.month - 1]}-{day.year}"


def read_listed(line: bytes) -> Folder | None:
    """Read one answer to LIST; None for what is no folder."""
    match = _LISTED.search(line)
    if match is None:
        return None
    flags = {flag.decode("ascii", "replace").lower() for flag in match["flags"].split()}
    name = match["name"].decode("ascii", "replace")
    if name.startswith('"'):
        name = re.sub(r"\\(.)", r"\1", name[1:-1])
    uses = ("drafts", "sent", "trash", "junk", "archive", "all", "flagged")
    use = next((each for each in uses if f"\\{each}" in flags), "inbox" if name.upper() == "INBOX" else "")
    return Folder(decode_folder(name), use, not flags & {"\\noselect", "\\nonexistent"})
