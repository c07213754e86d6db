"""Our Markdown as Webex's, in parts of at most 7,439 bytes. Pure.

Source: https://developer.webex.com/docs/basics (Markdown), https://spec.commonmark.org/
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from services.adapters.chat.markdown import Span, Style, read_markdown
from services.adapters.chat.signs import ZERO_WIDTH, SignStyle, write_signed
from services.adapters.chat.splitting import Dialect, split
from services.adapters.chat.webex.manifest import MANIFEST

_SPECIAL = re.compile(r"[\\`*_\[\]<>]|&(?=[#A-Za-z])")
# A name of somebody, or of all in the room, that is called by it: nothing that an agent writes may do that.
_CALL = re.compile(r"<(?=@)")
_BLOCK = re.compile(r"(?:#|[-+=](?=\s|-|=|$)|~~~|[0-9]{1,9}(?=[.)]))")
_INDENT = re.compile(r"^[ \t]+")
_SPACE = "\u00a0"
# CommonMark takes signs beside a letter for markup only where the other side is a space or punctuation.
_EDGE = "\u200a"


def render(text: str) -> list[str]:
    """Turn Markdown into parts of Webex's."""
    return split(read_markdown(text), DIALECT)


def measure(text: str) -> int:
    """Count as Webex counts: bytes of UTF-8."""
    return len(text.encode())


def _write(spans: Sequence[Span]) -> str:
    return write_signed(spans, _STYLE)


def _escaped(text: str, begins_line: bool) -> str:
    """Write text so that it stays as it is: what begins a line may be taken for a list, a title or code."""
    text = _SPECIAL.sub(r"\\\g<0>", _CALL.sub(f"<{ZERO_WIDTH}", text))
    if not begins_line:
        return text
    text = _INDENT.sub(lambda found: _SPACE * len(found[0].expandtabs(4)), text)
    found = _BLOCK.match(text)
    if found is None:
        return text
    return f"{found[0]}\\{text[found.end() :]}" if found[0][0].isdecimal() else f"\\{text}"


def _link(href: str, label: str) -> str:
    address = re.sub(r"[<>\\\s]", lambda found: f"%{ord(found[0]):02X}", href)
    return f"[{label}](<{address}>)"


_STYLE = SignStyle(
    signs={Style.BOLD: "**", Style.ITALIC: "*"},
    escape=_escaped,
    link=_link,
    code=lambda code: code,
    edge=_EDGE,
    line_break="  \n",
)
DIALECT = Dialect(limit=MANIFEST.max_text, measure=measure, write=_write)
