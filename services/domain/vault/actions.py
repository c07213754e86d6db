"""Keeping secrets, granting them to agents, and moving them under a newer key."""

from __future__ import annotations

import re
import uuid

from django.db.models import Q, QuerySet

from services.domain.actors import Actor, require
from services.domain.agents.models import Agent
from services.domain.errors import AgentMissing, Invalid, Missing, NameTaken
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.vault.keyring import open_text, seal_text
from services.domain.vault.models import Secret
from services.kit.clock import now
from services.kit.ids import uuid7

_NAME = re.compile(r"^[A-Z_][A-Z0-9_]{0,79}$")
_FORBIDDEN = ("ANTHROPIC_", "SLIPWAY_", "LD_", "PYTHON", "CLAUDE_", "OPENAI_")
_FORBIDDEN_NAMES = frozenset({"PATH", "HOME", "IFS", "ENV", "BASH_ENV", "SHELL", "USER"})
MAX_VALUE_BYTES = 32_768


def create_secret(actor: Actor, *, name: str, value: str, agent_ids: list[uuid.UUID] | None = None) -> Secret:
    """Seal a value under a name that becomes an environment variable. Raises: Invalid, NameTaken, AgentMissing."""
    require(actor, "secrets:write")
    _check(name, value)
    with tenant_transaction(actor.org_id):
        _check_agents(agent_ids)
        if Secret.objects.filter(name=name).exists():
            raise NameTaken("A secret with this name exists.", fields={"name": "taken"})
        row_id = uuid7()
        sealed = seal_text(value, row_id)
        return Secret.objects.create(
            id=row_id,
            org_id=actor.org_id,
            name=name,
            sealed=sealed.blob,
            key_id=sealed.key_id,
            agent_ids=agent_ids,
            created_by_id=actor.user_id,
        )


def update_secret(
    actor: Actor,
    secret_id: uuid.UUID,
    *,
    value: str | None = None,
    agent_ids: list[uuid.UUID] | None = None,
    changes_agents: bool = False,
) -> Secret:
    """Replace the value, the grants, or both. `changes_agents` tells a new None (all agents) from no change."""
    require(actor, "secrets:write")
    with tenant_transaction(actor.org_id):
        secret = Secret.objects.select_for_update().filter(id=secret_id).first()
        if secret is None:
            raise Missing("There is no such secret.")
        if value is not None:
            _check(secret.name, value)
            sealed = seal_text(value, secret.id)
            secret.sealed, secret.key_id = sealed.blob, sealed.key_id
        if changes_agents:
            _check_agents(agent_ids)
            secret.agent_ids = agent_ids
        secret.updated_at = now()
        secret.save()
        return secret


def delete_secret(actor: Actor, secret_id: uuid.UUID) -> None:
    """Delete a secret. Raises: Missing."""
    require(actor, "secrets:write")
    with tenant_transaction(actor.org_id):
        deleted, _ = Secret.objects.filter(id=secret_id).delete()
        if not deleted:
            raise Missing("There is no such secret.")


def list_secrets(actor: Actor) -> QuerySet[Secret]:
    """Return the secrets, whose values are never read back; to be read in the tenant's transaction."""
    require(actor, "secrets:read")
    return Secret.objects.defer("sealed")


def open_granted_secrets(agent_id: uuid.UUID) -> dict[str, str]:
    """Open what is granted to an agent, by name, in the tenant's transaction, and note the use."""
    rows = list(Secret.objects.filter(Q(agent_ids=None) | Q(agent_ids__contains=[agent_id])))
    Secret.objects.filter(id__in=[row.id for row in rows]).update(last_used_at=now())
    return {row.name: open_text(row.sealed, row.key_id, row.id) for row in rows}


def _check(name: str, value: str) -> None:
    if not _NAME.match(name):
        raise Invalid("The name is not usable.", fields={"name": "capital letters, digits and _ only"})
    if name in _FORBIDDEN_NAMES or name.startswith(_FORBIDDEN):
        raise Invalid("The name is reserved.", fields={"name": "reserved"})
    if "\x00" in value or len(value.encode()) > MAX_VALUE_BYTES:
        raise Invalid(
            "The value is not usable.", fields={"value": f"at most {MAX_VALUE_BYTES} bytes, no NUL"}
        )


def _check_agents(agent_ids: list[uuid.UUID] | None) -> None:
    if agent_ids and Agent.objects.filter(id__in=agent_ids).count() != len(set(agent_ids)):
        raise AgentMissing("There is no such agent.")
