"""Makes what a stranger's JSON holds fit for PostgreSQL's: it has no NUL, no half of a surrogate pair, no NaN."""

from __future__ import annotations

import math
import re
from typing import Any

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def storable(value: Any) -> Any:
    """Return the value with what `jsonb` refuses replaced: characters by U+FFFD, numbers that are none by null.

    Source: PostgreSQL documentation, "JSON Types"; RFC 8259, section 6.
    """
    if isinstance(value, str):
        return _UNSTORABLE.sub("\ufffd", value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {storable(key): storable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [storable(item) for item in value]
    return value
