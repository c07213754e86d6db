"""Slack's own notation in texts that people write: `<@U1>`, `<url|label>`, `&amp;`. Pure.

Source: https://docs.slack.dev/messaging/formatting-message-text
"""

from __future__ import annotations

import re
from collections.abc import Collection

_REFERENCE = re.compile(r"<([^<>|]+)(?:\|([^<>]*))?>")


def without_mention(text: str, own_ids: Collection[str]) -> tuple[str, bool]:
    """Take the mentions of the bot out, and say whether there was one. A mention alone stays as it is."""
    if not own_ids:
        return text, False
    names = "|".join(re.escape(own_id) for own_id in own_ids)
    rest, count = re.subn(rf"<@(?:{names})(?:\|[^<>]*)?>[:,]?", "", text)
    if not count:
        return text, False
    rest = re.sub(r"(?<=\S) {2,}(?=\S)", " ", rest).strip()
    return rest or text, True


def readable(text: str) -> str:
    """Write references as people see them, and undo the escapes."""
    text = _REFERENCE.sub(lambda found: _shown(found[1], found[2] or ""), text)
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&").strip()


def _shown(target: str, label: str) -> str:
    match target[0]:
        case "@" | "#":
            return target[0] + (label or target[1:])
        case "!" if target.startswith("!date^"):
            return label
        case "!":
            return label or "@" + target[1:].partition("^")[0]
    address = target.removeprefix("mailto:").removeprefix("tel:")
    return address if label in ("", target, address) else f"{label} ({target})"
