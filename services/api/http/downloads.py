"""What a file that people download is sent with."""

from __future__ import annotations

import re
from urllib.parse import quote

_PLAIN_NAME = re.compile(r"[^A-Za-z0-9._ -]")


def attached(name: str, content_type: str = "application/octet-stream") -> dict[str, str]:
    """Return headers that make a browser keep a file and never show it as a page of ours. Source: RFC 6266."""
    plain = _PLAIN_NAME.sub("_", name)[:150]
    disposition = f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name[:150], safe='')}"
    return {
        "Content-Type": content_type,
        "Content-Disposition": disposition,
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "sandbox; default-src 'none'",
    }
