"""What Slack is and can do."""

from __future__ import annotations

from services.domain.ports.chat import Manifest

# Slack takes 40,000 characters and cuts off the rest, but advises 4,000 and shows more than that badly.
MANIFEST = Manifest(
    kind="slack",
    label="Slack",
    max_text=4000,
    text_unit="chars",
    has_threads=True,
    typing_ttl_s=120.0,
    source="https://docs.slack.dev/reference/methods/chat.postMessage",
    per_chat_per_s=1.0,
    chat_burst=3,
    rate_source="https://docs.slack.dev/apis/web-api/rate-limits",
    setup=(
        "At api.slack.com/apps, create an app. Under OAuth & Permissions add the bot scopes chat:write, "
        "app_mentions:read, im:history, im:write, channels:history, groups:history, mpim:history, assistant:write, "
        "reactions:write, files:read and files:write, then install it.",
        "Link it with its bot token (xoxb-…) and, from Basic Information, its signing secret.",
        "Under Event Subscriptions, paste {hook_url} as the request URL, and subscribe to the bot events app_mention, "
        "message.im, message.channels, message.groups and message.mpim.",
        "Under Interactivity & Shortcuts, switch it on and paste {hook_url} once more.",
    ),
)
