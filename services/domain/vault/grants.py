"""What the work of an agent gets: values for its environment, and placeholders for those that stay outside."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from services.domain.agents.models import Agent
from services.domain.identity.models import Membership
from services.domain.tasks.models import Task
from services.domain.vault.accesses import Access, Used, record_accesses
from services.domain.vault.keyring import open_text
from services.domain.vault.models import AccessWay, Secret, SecretMode, SecretPlaceholder, SecretVersion
from services.kit.clock import now

PLACEHOLDER_PREFIX = "swp_"
_PLACEHOLDER_BYTES = 24
# For every turn: written out, as the ORM takes longer to make it than the server to run it.
_GRANTED = """
SELECT * FROM secret WHERE (owner_id IS NULL OR owner_id = %s)
    AND (agent_ids IS NULL OR agent_ids @> ARRAY[%s]::uuid[]) AND (expires_at IS NULL OR expires_at > %s)
"""


def list_granted_secrets(agent: Agent, user_id: uuid.UUID | None) -> list[Secret]:
    """Return what an agent's work for a person may use now, one of each name; in the tenant's transaction.

    A person's own secret goes before the organisation's of the same name, and is for that person's work only.
    """
    rows = list(Secret.objects.raw(_GRANTED, [user_id, agent.id, now()]))
    by_name = {secret.name: secret for secret in rows if secret.owner_id is None}
    personal = [secret for secret in rows if secret.owner_id is not None]
    if user_id is not None and personal and Membership.objects.filter(user_id=user_id).exists():
        # What agents make is named or gets nothing: no person has read its instructions.
        is_own = agent.owner_id == user_id and agent.made_by_id is None
        by_name |= {secret.name: secret for secret in personal if is_own or secret.agent_ids is not None}
    return [by_name[name] for name in sorted(by_name)]


def open_secret(secret: Secret) -> str:
    """Open the value in use, in the tenant's transaction. Raises: VaultError."""
    version = SecretVersion.objects.get(secret=secret, number=secret.version)
    return open_text(version.sealed, version.key_id, version.id)


@dataclass(frozen=True, slots=True)
class Equipment:
    """What a turn gets. With placeholders in it, TLS is ended at the proxy for some hosts."""

    environment: dict[str, str] = field(repr=False)
    has_placeholders: bool


def equip_task(task: Task) -> Equipment:
    """Return what a task's turn gets, and log what it opens; inside the caller's transaction.

    A brokered secret is there as a placeholder, which stays the same when a turn is issued again.
    """
    granted = list_granted_secrets(task.agent, task.user_id)
    held = [secret for secret in granted if secret.mode == SecretMode.BROKERED]
    environment = _stand_ins(task, held) if held else {}
    accesses = []
    for secret in granted:
        if secret.mode == SecretMode.ENV:
            environment[secret.name] = open_secret(secret)
            accesses.append(access_of(secret, task, AccessWay.ENV))
    record_accesses(task.org_id, accesses)
    return Equipment(environment, bool(held))


def _stand_ins(task: Task, held: Sequence[Secret]) -> dict[str, str]:
    """Return the placeholders of a task's brokered secrets by their names, made where they are missing."""
    SecretPlaceholder.objects.bulk_create(
        (
            SecretPlaceholder(org_id=task.org_id, task=task, secret=secret, text=make_placeholder())
            for secret in held
        ),
        ignore_conflicts=True,
    )
    placeholders = SecretPlaceholder.objects.filter(task=task, secret__in=held)
    return {row.secret.name: row.text for row in placeholders.select_related("secret")}


def access_of(secret: Secret, task: Task, way: AccessWay, **where: Any) -> Access:
    """Return one use of a secret by a task."""
    return Access.by_task(task, Used.of(secret), way, **where)


def make_placeholder() -> str:
    """Return a new text that stands for a secret: recognisable, and worth nothing."""
    return PLACEHOLDER_PREFIX + secrets.token_hex(_PLACEHOLDER_BYTES)
