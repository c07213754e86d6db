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
)
