"""The notation of Teams in texts that people write: `<at>Name</at>`, and markup where a text is such. Pure."""

from __future__ import annotations

import html
import re
from collections.abc import Collection

_AT = re.compile(r"<at(?: [^<>]*)?>(.*?)</at>", re.DOTALL)
_BREAK = re.compile(r"<(?:br|/p|/div|/li)[^<>]*>", re.IGNORECASE)
_TAG = re.compile(r"</?[A-Za-z][^<>]*>")


def without_mention(text: str, names: Collection[str]) -> tuple[str, bool]:
    """Take the mentions of the bot, as they stand in the text, out of it; say whether there were any."""
    rest = text
    for name in names:
        rest = rest.replace(name, " ")
    if rest == text:
        return text, bool(names)
    return re.sub(r"(?<=\S) {2,}(?=\S)", " ", rest.replace("\xa0", " ")).strip(), True


def readable(text: str, *, is_markup: bool) -> str:
    """Write mentions of others as people see them, and markup as its text."""
    text = _AT.sub(r"@\1", text)
    if is_markup:
        text = html.unescape(_TAG.sub("", _BREAK.sub("\n", text)))
    return text.replace("\xa0", " ").strip()
