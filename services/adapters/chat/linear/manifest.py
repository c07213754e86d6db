"""What Linear is and can do."""

from __future__ import annotations

from services.domain.ports.chat import Manifest

# No limit is told; a session that hears nothing for 30 minutes is shown as stale.
MANIFEST = Manifest(
    kind="linear",
    label="Linear",
    max_text=20_000,
    text_unit="chars",
    has_threads=True,
    typing_ttl_s=1_200.0,
    source="https://linear.app/developers/agent-interaction",
    per_link_per_s=5_000 / 3600,
    rate_source="https://linear.app/developers/rate-limiting",
    setup=(
        "At Linear, under Settings, API, Applications, create an application. Switch on Client credentials and "
        "Webhooks, and take the webhook's Agent session events.",
        "Link it with the client's ID and secret and the webhook's signing secret.",
        "Paste {hook_url} as the application's webhook URL.",
    ),
)
