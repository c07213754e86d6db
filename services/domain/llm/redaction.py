"""Taking out of a text what nobody is to read: known secrets by their value, and whatever looks like a credential."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

HIDDEN = "[redacted]"
_SHORTEST = 4
_MAX_DEPTH = 200

# Source: the vendors' documents on the forms of their tokens.
_CREDENTIALS = re.compile(
    r"""
    -----BEGIN\ [A-Z ]*PRIVATE\ KEY-----.*?(?:-----END\ [A-Z ]*PRIVATE\ KEY-----|\Z)
    | \beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*
    | \b(?:sk|pk|rk)[-_][A-Za-z0-9_-]{12,}
    | \b(?:sw|swt|whsec|ghp|gho|ghu|ghs|ghr|github_pat|glpat|npm|pypi|dop_v1|hf)[_-][A-Za-z0-9_-]{12,}
    | \bxox[abeoprs]-[A-Za-z0-9-]{10,}
    | \b(?:AKIA|ASIA)[0-9A-Z]{16}\b
    | \bAIza[0-9A-Za-z_-]{30,}
    | \b[0-9]{6,12}:[A-Za-z0-9_-]{30,}
    """,
    re.VERBOSE | re.DOTALL,
)
_AFTER_SCHEME = re.compile(r"\b(bearer|basic)(\s+)[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE)
_AFTER_NAME = re.compile(
    r"((?:api[_-]?key|secret|token|passw(?:or)?d|credential)s?[\"']?\s*[:=]\s*[\"']?)([^\s\"',;&]{6,})",
    re.IGNORECASE,
)
_IN_URL = re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s/:@]*:)[^\s/@]+(?=@)", re.IGNORECASE)
_EMAIL = re.compile(r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})+")


class Redactor:
    """Hides known values in every form in which they usually come, and what looks like a credential."""

    def __init__(self, values: Iterable[str], *, hides_emails: bool) -> None:
        forms: set[str] = set()
        for value in values:
            # One that is a word or two lines long would be found everywhere, or nowhere as a whole.
            for part in {value, value.strip(), *value.splitlines()}:
                if len(part) >= _SHORTEST:
                    forms |= _forms_of(part)
        # The longest first: one value may be the beginning of another.
        ordered = sorted(forms, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, ordered))) if ordered else None
        self._hides_emails = hides_emails

    def text(self, text: str) -> str:
        """Return a text without secrets."""
        if self._known is not None:
            text = self._known.sub(HIDDEN, text)
        text = _CREDENTIALS.sub(HIDDEN, text)
        text = _AFTER_SCHEME.sub(rf"\1\2{HIDDEN}", text)
        text = _IN_URL.sub(rf"\1{HIDDEN}", text)
        text = _AFTER_NAME.sub(rf"\1{HIDDEN}", text)
        return _EMAIL.sub("[e-mail]", text) if self._hides_emails else text

    def value(self, value: Any, depth: int = 0) -> Any:
        """Return a JSON value with every text in it redacted, also the names of its fields."""
        if isinstance(value, str):
            return self.text(value)
        if depth > _MAX_DEPTH:
            return HIDDEN
        if isinstance(value, list):
            return [self.value(item, depth + 1) for item in value]
        if isinstance(value, dict):
            return {self.text(key): self.value(item, depth + 1) for key, item in value.items()}
        return value


def _forms_of(value: str) -> set[str]:
    encoded = value.encode("utf-8", "replace")
    return {
        value,
        json.dumps(value)[1:-1],
        json.dumps(value, ensure_ascii=False)[1:-1],
        quote(value, safe=""),
        base64.b64encode(encoded).decode().rstrip("="),
        base64.urlsafe_b64encode(encoded).decode().rstrip("="),
    }
