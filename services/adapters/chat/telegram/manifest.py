"""What Telegram is and can do."""

from __future__ import annotations

from services.domain.ports.chat import Manifest

MANIFEST = Manifest(
    kind="telegram",
    label="Telegram",
    max_text=4096,
    text_unit="utf16",
    has_threads=True,
    typing_ttl_s=5.0,
    source="https://core.telegram.org/bots/api#sendmessage",
    per_link_per_s=30.0,
    per_chat_per_s=1.0,
    per_group_per_s=20 / 60,
    chat_burst=3,
    rate_source="https://core.telegram.org/bots/faq#my-bot-is-hitting-limits-how-do-i-avoid-this",
    setup=(
        "Talk to @BotFather, send /newbot, and link the bot with the token that it gives you.",
        "There is nothing to paste: linking has Telegram send the bot's messages to {hook_url}.",
        "To let the bot hear everything in a group, send /setprivacy to @BotFather and add the bot to the group again.",
    ),
)
