"""What tools return, as text."""

from __future__ import annotations

import json
from typing import Any


def text_of(content: str | list[dict[str, Any]] | None) -> str:
    """Return a tool result as text; what is not text is named in brackets."""
    if content is None or isinstance(content, str):
        return content or ""
    parts = []
    for block in content:
        kind = block.get("type")
        if kind == "text":
            parts.append(str(block.get("text", "")))
        elif kind in ("image", "document"):
            parts.append(f"[{kind}]")
        else:
            parts.append(json.dumps(block, ensure_ascii=False))
    return "\n".join(parts)
