"""What Discord is and can do."""

from __future__ import annotations

from services.domain.ports.chat import Manifest

# Discord counts characters and does not say which; no count is larger than that of UTF-16 units.
MANIFEST = Manifest(
    kind="discord",
    label="Discord",
    max_text=2000,
    text_unit="utf16",
    has_threads=True,
    typing_ttl_s=9.0,
    source="https://docs.discord.com/developers/resources/message#create-message",
    per_link_per_s=50.0,
    per_chat_per_s=1.0,
    chat_burst=5,
    rate_source="https://docs.discord.com/developers/topics/rate-limits",
    setup=(
        "At discord.com/developers/applications, create an application. Under Bot, reset and copy the token, and "
        "switch on the Message Content Intent.",
        "Under OAuth2, make an address with the scopes bot and applications.commands and the permissions View "
        "Channels, Send Messages, Send Messages in Threads, Create Public Threads, Read Message History, Add "
        "Reactions and Attach Files. Open it and add the bot to a server.",
        "Link it with its token. Nothing has to be pasted at Discord: messages come over a connection of ours.",
    ),
)
