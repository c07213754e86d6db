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
    setup=(
        "Install the BlueBubbles server on a Mac that stays on, sign in to Messages there with an account for the bot, "
        "and set a long password.",
        "Make the server reachable by https at a public name. For typing and reactions set up its Private API.",
        "Link it with the server's address and password. The webhook is made then.",
    ),
)
