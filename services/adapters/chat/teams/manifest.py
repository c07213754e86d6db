"""What Teams is and can do."""

from __future__ import annotations

from services.domain.ports.chat import Manifest

# Teams takes about 100 KB for a whole message, counted as UTF-16. 20,000 units are 40 KB; written as JSON, each may
# become two, and what is around the text needs room as well.
MANIFEST = Manifest(
    kind="teams",
    label="Microsoft Teams",
    max_text=20_000,
    text_unit="utf16",
    has_threads=True,
    typing_ttl_s=3.0,
    source="https://learn.microsoft.com/microsoftteams/platform/bots/how-to/format-your-bot-messages",
    # 50 calls a second of one app in one tenant; in one thread 7 in a second and 1,800 in an hour.
    per_link_per_s=50.0,
    per_chat_per_s=0.5,
    chat_burst=7,
    rate_source="https://learn.microsoft.com/microsoftteams/platform/bots/how-to/rate-limit",
    setup=(
        "In the Azure portal make an Azure Bot of one tenant, and follow Manage beside its app ID to make a client "
        "secret under Certificates & secrets.",
        "Link it with the app ID, the secret and the tenant's ID.",
        "Under Configuration of the Azure Bot, paste {hook_url} as the messaging endpoint. Under Channels, add "
        "Microsoft Teams.",
        "Make a Teams app whose manifest names the app ID as a bot in the scopes personal, team and groupChat, and "
        "upload it, for yourself or in the admin centre.",
    ),
)
