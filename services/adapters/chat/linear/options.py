"""The options of a session's question. The chosen one's value comes back as words of the person's.

Linear shows these, so that they are the label, and behind it, in signs that nobody types, the card and what the
button brings back. Pure.
"""

from __future__ import annotations

import re

from services.domain.ports.chat_abilities import Button

_CHOSEN = re.compile(r".{0,200} ⟦([A-Za-z0-9-]{1,64}) ([!-~]{1,500})⟧", re.DOTALL)


def option_value(button: Button, activity_id: str) -> str:
    """Return what choosing a button brings back."""
    return f"{button.label} ⟦{activity_id} {button.value}⟧"


def read_option(text: str) -> tuple[str, str] | None:
    """Return the card and the button's own value, or None for words that are no option."""
    found = _CHOSEN.fullmatch(text.strip())
    return (found[1], found[2]) if found else None
