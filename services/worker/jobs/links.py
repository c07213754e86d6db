"""Looking after links."""

from __future__ import annotations

from services.adapters.chat.checking import ask_health
from services.domain.chats.health import find_check, note_health
from services.domain.outbox.jobs import CheckLink
from services.worker.jobs import chats


def check_link(job: CheckLink) -> None:
    """Ask a link's platform whether it works, and keep what it says."""
    found = find_check(job.org_id, job.link_id)
    if found is None or found.kind not in chats.adapters():
        return
    health = ask_health(chats.adapters()[found.kind], found.config, found.hook_url)
    if health is not None:
        note_health(job.org_id, job.link_id, health)
