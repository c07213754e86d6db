"""What Google Chat is and can do."""

from __future__ import annotations

from services.domain.ports.chat import Manifest

# Google takes 32,000 bytes for a message with its cards; the cards' share is left free.
MANIFEST = Manifest(
    kind="googlechat",
    label="Google Chat",
    max_text=24_000,
    text_unit="bytes",
    has_threads=True,
    typing_ttl_s=None,
    source="https://developers.google.com/workspace/chat/api/reference/rest/v1/spaces.messages",
)
