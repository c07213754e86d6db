"""What a webhook is and can do."""

from __future__ import annotations

from services.domain.ports.chat import Manifest

MANIFEST = Manifest(
    kind="webhook",
    label="Webhook",
    max_text=100_000,
    text_unit="chars",
    has_threads=True,
    typing_ttl_s=None,
    source="https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md",
    setup=(
        "Make a secret with `openssl rand -base64 32`, and give it to the other system and to this link.",
        "Linking posts the address of this link, {hook_url}, to the other system, which posts its events there.",
    ),
)
