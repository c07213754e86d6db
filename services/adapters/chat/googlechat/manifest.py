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
    # 3,000 writes a minute of a project, and 60 in one space, which all its apps share.
    per_link_per_s=50.0,
    per_chat_per_s=1.0,
    chat_burst=10,
    rate_source="https://developers.google.com/workspace/chat/limits",
    setup=(
        "In a project of the Google Cloud console switch on the Google Chat API. Make a service account without a "
        "role, and for it a key of type JSON.",
        "Link it with the whole key and the project's number, which the console's dashboard shows.",
        "Under Configuration of the Google Chat API name the app, let it join spaces, choose HTTP endpoint URL and "
        "paste {hook_url}; as authentication audience choose Project Number.",
        "If there is no such choice, the app is an add-on: paste {hook_url} here too, as the HTTP endpoint URL.",
    ),
)
