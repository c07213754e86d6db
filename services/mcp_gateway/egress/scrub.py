"""Blots values out of what a host answers: as they are, and in the writings in which servers repeat what they got.

What is blotted out keeps its length, so that the framing of the answer stays right.
"""

from __future__ import annotations

import base64
import html
import itertools
import json
import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

_BLOT = b"*"
# Shorter pieces would blot out what has nothing to do with the value.
_LEAST_BYTES = 6
_LEFT_BY_SOME = "!$&'()*+,/:;=?@[]"
_MOST_MARKS = 4
_ESCAPE = re.compile("%[0-9A-F]{2}")


def needles_of(value: str) -> frozenset[bytes]:
    """Return the writings of a value: plain, URL, JSON and HTML, hex, and base64 wherever it begins in a group."""
    raw = value.encode()
    escaped = json.dumps(value)[1:-1]
    quoted = {escaped, escaped.replace("/", "\\/"), html.escape(value), raw.hex(), raw.hex().upper()}
    quoted |= _in_urls(value)
    found = {raw, *(text.encode() for text in quoted)}
    for offset in range(3):
        # Without the characters that the bytes before and after have a part in.
        encoded = base64.b64encode(bytes(offset) + raw)
        first = (0, 2, 3)[offset]
        last = (offset + len(raw)) * 8 // 6
        core = encoded[first:last]
        found |= {core, core.replace(b"+", b"-").replace(b"/", b"_")}
    return frozenset(needle for needle in found if len(needle) >= _LEAST_BYTES)


class Scrubber:
    """Blots needles out of one answer, whose body comes in pieces that may end anywhere."""

    def __init__(self, values: Iterable[str]) -> None:
        self._needles = sorted({needle for value in values for needle in needles_of(value)})
        self._names = [value.lower().encode() for value in values]
        self._longest = max(map(len, self._needles), default=0)
        self._raw = bytearray()
        self._shown = bytearray()

    def feed(self, data: bytes) -> bytes:
        """Take a piece of the body; return what of it can be shown by now."""
        self._raw += data
        self._shown += data
        self._blot()
        return self._take(len(self._raw) - self._held())

    def end(self) -> bytes:
        """Return what was held back: nothing follows that could make a needle of it."""
        return self._take(len(self._raw))

    def clean(self, text: bytes) -> bytes:
        """Return a text that is whole, such as a header's value."""
        other = Scrubber(())
        other._needles, other._longest = self._needles, self._longest
        return other.feed(text) + other.end()

    def clean_headers(self, headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """Return headers without the values; one whose very name holds a value is left out."""
        return [
            (name, self.clean(value))
            for name, value in headers
            if not any(text in name.lower() for text in self._names)
        ]

    def _blot(self) -> None:
        for needle in self._needles:
            place = self._raw.find(needle)
            while place >= 0:
                self._shown[place : place + len(needle)] = _BLOT * len(needle)
                place = self._raw.find(needle, place + 1)

    def _held(self) -> int:
        """Return how much of the end may be the beginning of a needle."""
        tail = bytes(self._raw[-(self._longest - 1) :]) if self._longest > 1 else b""
        held = 0
        for needle in self._needles:
            place = tail.find(needle[:1], max(0, len(tail) - len(needle) + 1))
            while place >= 0 and len(tail) - place > held:
                if needle.startswith(tail[place:]):
                    held = len(tail) - place
                    break
                place = tail.find(needle[:1], place + 1)
        return held

    def _take(self, size: int) -> bytes:
        shown = bytes(self._shown[:size])
        del self._shown[:size], self._raw[:size]
        return shown


def _in_urls(value: str) -> set[str]:
    """Return how a value may stand in a URL: servers differ in which of its marks they leave as they are."""
    marks = sorted(set(value) & set(_LEFT_BY_SOME))[:_MOST_MARKS]
    kept = [subset for size in range(len(marks) + 1) for subset in itertools.combinations(marks, size)]
    found = {quote(value, safe="".join(subset)) for subset in kept} | {
        quote_plus(value),
        quote(value, _LEFT_BY_SOME),
    }
    return found | {_ESCAPE.sub(lambda escape: escape[0].lower(), text) for text in found}
