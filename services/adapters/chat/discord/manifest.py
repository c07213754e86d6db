"""What Discord is and can do."""

from __future__ import annotations

from services.domain.ports.chat import Manifest

# Discord counts characters and does not say which; no count is larger than that of UTF-16 units.
MANIFEST = Manifest(
    kind="discord",
    label="Discord",
    max_text=2000,
    text_unit="utf16",
    has_threads=True,
    typing_ttl_s=9.0,
    source="https://docs.discord.com/developers/resources/message#create-message",
    per_link_per_s=50.0,
    per_chat_per_s=1.0,
    chat_burst=5,
    rate_source="https://docs.discord.com/developers/topics/rate-limits",
)
