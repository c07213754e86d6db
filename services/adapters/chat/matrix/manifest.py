"""What Matrix is and can do."""

from __future__ import annotations

from services.domain.ports.chat import Manifest

# An event has at most 65,536 bytes. An edit holds the text four times, plain and as HTML, and what the server adds;
# encrypted, all of it is a third longer.
MANIFEST = Manifest(
    kind="matrix",
    label="Matrix",
    max_text=11_000,
    text_unit="bytes",
    has_threads=True,
    typing_ttl_s=20.0,
    source="https://spec.matrix.org/v1.11/client-server-api/#size-limits",
    has_webhook=False,
    setup=(
        "On your homeserver, register an account for the bot and give it a name to show.",
        "Sign in as the bot once to get an access token of its own, and keep that session: signing out ends the token.",
        "Link it with the token and the homeserver's address, then invite the bot into a room, encrypted or not.",
    ),
)
