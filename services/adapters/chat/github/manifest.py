"""What GitHub is and can do."""

from __future__ import annotations

from services.domain.ports.chat import Manifest

# 65,536 characters are taken; a comment of ours carries a hidden line as well.
MANIFEST = Manifest(
    kind="github",
    label="GitHub",
    max_text=65_000,
    text_unit="chars",
    has_threads=True,
    typing_ttl_s=None,
    source="https://docs.github.com/en/rest/issues/comments#create-an-issue-comment",
    # 80 comments a minute; of the 500 an hour GitHub tells when they are used up.
    per_link_per_s=80 / 60,
    rate_source="https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api",
    setup=(
        "At GitHub, under Settings, Developer settings, GitHub Apps, create an app that may read and write issues"
        " and pull requests, with the events Issues, Issue comment, Pull request, Pull request review and Pull "
        "request review comment, and a webhook secret of your own. Generate a private key.",
        "Install the app for the repositories; the number at the end of the installation's address is the "
        "installation.",
        "Link it with these, then paste {hook_url} as the app's webhook URL.",
    ),
)
