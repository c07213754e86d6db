"""What e-mail is and can do."""

from __future__ import annotations

from services.domain.ports.chat import Manifest

# Mail has no limit on texts; beyond this an answer is a document and no letter.
MANIFEST = Manifest(
    kind="email",
    label="E-mail",
    max_text=100_000,
    text_unit="chars",
    has_threads=True,
    typing_ttl_s=None,
    source="https://www.rfc-editor.org/rfc/rfc5322",
    has_webhook=False,
    setup=(
        "Make a mailbox for the agent alone: whatever comes into it is a message to the agent.",
        "Link it with the servers, the user name and the password; where the provider has app passwords, make one.",
        "In the source of any mail there, find the name with which Authentication-Results begins, and enter it as the "
        "server that is trusted to check senders. Without it every sender counts as unverified.",
    ),
)
