"""Which events webhooks can be told of: those of the registry that an organisation's admin may see."""

from __future__ import annotations

import uuid
from collections.abc import Collection

from services.domain.events.registry import KINDS

WEBHOOK_TYPES = tuple(sorted(name for name, kind in KINDS.items() if kind.streams != ("user",)))


def is_for_webhooks(event_type: str, stream: str, readers: Collection[uuid.UUID] | None) -> bool:
    """Say whether webhooks are told of an event: once, and not of what is a person's own.

    What is said in a workspace's stream and in the organisation's is told from the latter.
    """
    kind = KINDS.get(event_type)
    if kind is None or stream.partition(":")[0] != ("org" if "org" in kind.streams else "workspace"):
        return False
    return readers is None or kind.admins_read
