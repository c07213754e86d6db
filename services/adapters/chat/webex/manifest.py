"""What Webex is and can do."""

from __future__ import annotations

from services.domain.ports.chat import Manifest

MANIFEST = Manifest(
    kind="webex",
    label="Webex",
    max_text=7439,
    text_unit="bytes",
    has_threads=True,
    typing_ttl_s=None,
    source="https://developer.webex.com/docs/api/v1/messages/create-a-message",
    setup=(
        "At developer.webex.com/my-apps/new/bot, make a bot.",
        "Link it with its access token, which is shown once. Its webhooks are made then.",
        "Add the bot to a room, or write to it: in a room it hears only what mentions it.",
    ),
)
