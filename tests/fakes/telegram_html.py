"""Reads Telegram's HTML as strictly as Telegram does.

Source: https://core.telegram.org/bots/api#html-style
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass, field
from typing import Any

_TYPES = {
    "b": "bold",
    "strong": "bold",
    "i": "italic",
    "em": "italic",
    "u": "underline",
    "ins": "underline",
    "s": "strikethrough",
    "strike": "strikethrough",
    "del": "strikethrough",
    "code": "code",
    "pre": "pre",
    "a": "text_link",
    "blockquote": "blockquote",
    "tg-spoiler": "spoiler",
    "span": "spoiler",
}
_TAG = re.compile(r"<(/?)([A-Za-z][A-Za-z0-9-]*)((?:\s+[a-z-]+(?:=\"[^\"]*\")?)*)\s*>")
_ATTRIBUTE = re.compile(r"([a-z-]+)(?:=\"([^\"]*)\")?")
_ALLOWED_ATTRIBUTES = {"a": {"href"}, "code": {"class"}, "span": {"class"}, "blockquote": {"expandable"}}


class CannotParse(Exception):
    """The text is not valid markup; the message is Telegram's."""


@dataclass
class _Open:
    tag: str
    attributes: dict[str, str]
    offset: int


@dataclass
class _State:
    text: str = ""
    opened: list[_Open] = field(default_factory=list)
    entities: list[dict[str, Any]] = field(default_factory=list)


def utf16_units(text: str) -> int:
    """Count as Telegram counts."""
    return len(text.encode("utf-16-le")) // 2


def read_html(markup: str) -> tuple[str, list[dict[str, Any]]]:
    """Return the visible text and its entities, with offsets in UTF-16. Raises: CannotParse."""
    state, position = _State(), 0
    while (start := markup.find("<", position)) >= 0:
        state.text += html.unescape(markup[position:start])
        byte = len(markup[:start].encode())
        found = _TAG.match(markup, start)
        if found is None:
            raise CannotParse(f"can't parse entities: Unsupported start tag at byte offset {byte}")
        closing, tag, attributes = found[1], found[2].lower(), found[3]
        if closing:
            _close(state, tag, byte)
        else:
            _open(state, tag, attributes, byte)
        position = found.end()
    state.text += html.unescape(markup[position:])
    if state.opened:
        tag = state.opened[-1].tag
        raise CannotParse(f"can't parse entities: Can't find end tag corresponding to start tag \"{tag}\"")
    return state.text, sorted(state.entities, key=lambda entity: (entity["offset"], -entity["length"]))


def _open(state: _State, tag: str, attributes: str, byte: int) -> None:
    known = {name: html.unescape(value) for name, value in _ATTRIBUTE.findall(attributes)}
    if tag not in _TYPES or set(known) - _ALLOWED_ATTRIBUTES.get(tag, set()):
        raise CannotParse(f'can\'t parse entities: Unsupported start tag "{tag}" at byte offset {byte}')
    parents = [item.tag for item in state.opened]
    is_language = tag == "code" and parents[-1:] == ["pre"]
    if ("code" in parents or "pre" in parents) and not is_language:
        raise CannotParse(f"can't parse entities: Code can't contain other entities, at byte offset {byte}")
    if tag == "blockquote" and "blockquote" in parents:
        raise CannotParse(f"can't parse entities: Quotes can't be nested, at byte offset {byte}")
    state.opened.append(_Open(tag, known, utf16_units(state.text)))


def _close(state: _State, tag: str, byte: int) -> None:
    if not state.opened:
        raise CannotParse(f"can't parse entities: Unexpected end tag at byte offset {byte}")
    item = state.opened.pop()
    if item.tag != tag:
        raise CannotParse(
            f'can\'t parse entities: Unmatched end tag at byte offset {byte}, expected "</{item.tag}>", '
            f'found "</{tag}>"'
        )
    if tag == "code" and state.opened and state.opened[-1].tag == "pre":
        state.opened[-1].attributes |= item.attributes
        return
    length = utf16_units(state.text) - item.offset
    if not length:
        return
    entity: dict[str, Any] = {"type": _TYPES[tag], "offset": item.offset, "length": length}
    if tag == "a":
        entity["url"] = item.attributes.get("href", "")
    if tag == "pre" and item.attributes.get("class", "").startswith("language-"):
        entity["language"] = item.attributes["class"].removeprefix("language-")
    state.entities.append(entity)
