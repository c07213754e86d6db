"""What people write at GitHub, as an agent reads it: without the app's name, and without our hidden lines. Pure."""

from __future__ import annotations

import re

_HIDDEN = re.compile(r"<!-- slipway:[0-9a-f]{32} -->\n?")
_INDENT = re.compile(r"\n (?=\S)")
_BLANKS = re.compile(r"(?<=\S) {2,}(?=\S)")


def without_mention(text: str, slug: str) -> tuple[str, bool]:
    """Take the app's name out of a text, and say whether it was there.

    In code and in what is quoted of others it is no mention, as for GitHub itself.
    """
    text = _HIDDEN.sub("", text.replace("\r\n", "\n"))
    if not slug:
        return text.strip(), False
    is_named = False

    def cut(found: re.Match[str]) -> str:
        nonlocal is_named
        if found["name"] is None:
            return found[0]
        is_named = True
        return ""

    rest = _pattern(slug).sub(cut, text)
    if not is_named:
        return text.strip(), False
    return _INDENT.sub("\n", _BLANKS.sub(" ", rest)).strip() or f"@{slug}", True


def _pattern(slug: str) -> re.Pattern[str]:
    return re.compile(
        r"^ {0,3}(?P<fence>```+|~~~+)[^\n]*\n.*?(?:^ {0,3}(?P=fence)|\Z)"
        r"|`[^`\n]+`"
        r"|^ {0,3}>[^\n]*"
        rf"|(?P<name>(?<![\w/@.-])@{re.escape(slug)}(?:\[bot\])?(?![\w-])[,:]?)",
        re.MULTILINE | re.DOTALL | re.IGNORECASE,
    )
