"""What an emoji is, as far as reactions need to know: a short run of signs that no word is made of."""

from __future__ import annotations

import re
import unicodedata

_VARIANT = "\ufe0f"
_EMOJI = re.compile("[^\x00-\x7f]{1,20}|[0-9#*]\ufe0f?\u20e3")


def bare(emoji: str) -> str:
    """Return an emoji without the mark that asks for its coloured form."""
    return emoji.strip().replace(_VARIANT, "")


def is_emoji(text: str) -> bool:
    """Say whether a text can be one emoji: signs and their joiners, and no letter of any script."""
    return _EMOJI.fullmatch(text) is not None and not any(
        unicodedata.category(one)[0] in "LZ" for one in text
    )
