"""What iMessage is and can do."""

from __future__ import annotations

from services.domain.ports.chat import Manifest

# Apple names no limit; longer messages arrive badly.
MANIFEST = Manifest(
    kind="imessage",
    label="iMessage (experimental)",
    max_text=4_000,
    text_unit="chars",
    has_threads=False,
    typing_ttl_s=20.0,
    source="https://docs.bluebubbles.app/server/developer-guides/rest-api-and-webhooks",
)
