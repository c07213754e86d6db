"""What Telegram is and can do."""

from __future__ import annotations

from services.domain.ports.chat import Manifest

MANIFEST = Manifest(
    kind="telegram",
    label="Telegram",
    max_text=4096,
    text_unit="utf16",
    has_threads=True,
    typing_ttl_s=5.0,
    source="https://core.telegram.org/bots/api#sendmessage",
)
