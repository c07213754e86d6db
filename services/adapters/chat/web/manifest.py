"""What rooms are and can do."""

from __future__ import annotations

from services.domain.ports.chat import Manifest

MANIFEST = Manifest(
    kind="web",
    label="Rooms",
    max_text=100_000,
    text_unit="chars",
    has_threads=True,
    typing_ttl_s=None,
    source="services/adapters/chat/web/README.md",
    is_own=True,
    has_webhook=False,
)
