"""Connecting, changing and removing accounts elsewhere, and keeping what they were found to be."""

from __future__ import annotations

import re
import uuid
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, transaction
from pydantic import BaseModel, ConfigDict, Field

from services.domain.actors import Actor, require
from services.domain.agents.models import Agent
from services.domain.agents.queries import visible_agents
from services.domain.audit.models import AuditAction
from services.domain.audit.recording import Subject, record_audit
from services.domain.errors import (
    AccountUnauthorised,
    AgentMissing,
    IntegrationMissing,
    NameTaken,
    NotPermitted,
    QueueFull,
    SlipwayError,
)
from services.domain.events.announcing import announce_change
from services.domain.events.listed import IntegrationChanged
from services.domain.integrations.credentials import ACCOUNT_GRANTS
from services.domain.integrations.models import Integration, IntegrationStatus
from services.domain.integrations.queries import ADMINS
from services.domain.integrations.telling import (
    notify_person,
    tell_state,
)
from services.domain.oauth_grants.keeping import seal_into
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now

MAX_INTEGRATIONS = 500
MAX_AGENTS = 1_000
_NOTED_EVERY = timedelta(minutes=1)
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


class NewIntegration(BaseModel):
    """An account to connect. `settings` and `credentials` are as the kind's own models have read them."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    kind: str = Field(max_length=40)
    name: str = Field(min_length=1, max_length=80)
    settings: dict[str, Any] = Field(default_factory=dict)
    credentials: dict[str, Any] = Field(default_factory=dict, repr=False)
    agent_ids: list[uuid.UUID] | None = Field(default=None, max_length=MAX_AGENTS)
    is_personal: bool = True


class IntegrationChanges(BaseModel):
    """What is to be changed: only fields that were set. `binding` names settings that say where credentials go."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    name: str = Field(default="", min_length=1, max_length=80)
    settings: dict[str, Any] = Field(default_factory=dict)
    credentials: dict[str, Any] = Field(default_factory=dict, repr=False)
    agent_ids: list[uuid.UUID] | None = Field(default=None, max_length=MAX_AGENTS)
    is_enabled: bool = True


def connect_integration(actor: Actor, fields: NewIntegration) -> Integration:
    """Keep an account with what opens it; nothing is asked of it yet. Emits: IntegrationChanged.

    Raises: RoleMissing, ScopeMissing, NotPermitted, NameTaken, AgentMissing, QueueFull.
    """
    require(actor, "integrations:write", role="member" if fields.is_personal else "admin")
    if fields.is_personal and actor.user_id is None:
        raise NotPermitted("Only a person has personal accounts.")
    with tenant_transaction(actor.org_id):
        if Integration.objects.count() >= MAX_INTEGRATIONS:
            raise QueueFull(
                f"An organisation has at most {MAX_INTEGRATIONS} accounts.", limit=MAX_INTEGRATIONS
            )
        _refuse_foreign_agents(actor, fields.agent_ids)
        row = Integration(
            org_id=actor.org_id,
            kind=fields.kind,
            name=fields.name,
            owner_id=actor.user_id if fields.is_personal else None,
            created_by_id=actor.user_id,
            agent_ids=fields.agent_ids,
            settings=fields.settings,
        )
        seal_into(row, {"credentials": fields.credentials})
        _save_named(row, force_insert=True)
        announce_change(IntegrationChanged, row, "created")
        record_audit(actor, AuditAction.ACCESS_CONNECTED, Subject.of("integration", row), kind=row.kind)
        return row


def update_integration(
    actor: Actor, integration_id: uuid.UUID, changes: IntegrationChanges, binding: Collection[str] = ()
) -> Integration:
    """Change the fields that are set. Another place to send the credentials to loses them, unless others come along.

    Locks: the account. Emits: IntegrationChanged. Raises: IntegrationMissing, RoleMissing, NameTaken, AgentMissing.
    """
    given = changes.model_fields_set
    with tenant_transaction(actor.org_id):
        row = lock_own_integration(actor, integration_id)
        if "agent_ids" in given:
            # What is granted already stays, also to an agent that was archived since.
            _refuse_foreign_agents(actor, set(changes.agent_ids or ()) - set(row.agent_ids or ()))
            row.agent_ids = changes.agent_ids
        if "name" in given:
            row.name = changes.name
        if "is_enabled" in given:
            row.is_enabled = changes.is_enabled
        if "settings" in given:
            if any(row.settings.get(name) != changes.settings.get(name) for name in binding):
                _forget_credentials(row)
            row.settings = changes.settings
        if "credentials" in given:
            _forget_credentials(row)
            seal_into(row, {"credentials": changes.credentials})
        if given & {"settings", "credentials"}:
            row.status, row.last_error = IntegrationStatus.UNCHECKED, ""
        row.updated_at = now()
        _save_named(row)
        announce_change(IntegrationChanged, row)
        record_audit(
            actor,
            AuditAction.ACCESS_CHANGED,
            Subject.of("integration", row),
            agents=None if row.agent_ids is None else [str(each) for each in row.agent_ids],
            is_enabled=row.is_enabled,
        )
        return row


def remove_integration(actor: Actor, integration_id: uuid.UUID) -> None:
    """Forget an account and what opens it. Locks: it. Emits: IntegrationChanged. Raises: IntegrationMissing."""
    with tenant_transaction(actor.org_id):
        row = lock_own_integration(actor, integration_id)
        announce_change(IntegrationChanged, row, "deleted")
        record_audit(actor, AuditAction.ACCESS_REMOVED, Subject.of("integration", row), kind=row.kind)
        row.delete()


def tell_not_revoked(row: Integration, reason: str) -> None:
    """Tell the person of a removed account that the provider was not told. Emits: NotificationCreated."""
    with tenant_transaction(row.org_id):
        notify_person(
            row,
            f"Account {row.name} ({row.kind}) is removed here, but the provider was not told: {reason} "
            "Take the access back there.",
        )


def lock_own_integration(actor: Actor, integration_id: uuid.UUID) -> Integration:
    """Return an account that the actor may change, locked: an admin any, a member a personal one.

    Raises: IntegrationMissing, RoleMissing, ScopeMissing.
    """
    require(actor, "integrations:write", role="member")
    row = Integration.objects.select_for_update().filter(id=integration_id).first()
    is_own = row is not None and row.owner_id is not None and row.owner_id == actor.user_id
    if row is None or (row.owner_id is not None and not is_own and actor.role not in ADMINS):
        raise IntegrationMissing("There is no such account.")
    if not is_own:
        require(actor, "integrations:write", role="admin")
    return row


def record_found(org_id: uuid.UUID, integration_id: uuid.UUID, version: datetime, identity: str) -> None:
    """Keep that an account is open to us, and whose it is. Locks: the account. Emits: IntegrationChanged."""
    with tenant_transaction(org_id):
        row = _lock_version(integration_id, version)
        if row is None:
            return
        was = row.status
        row.status, row.last_error, row.checked_at = IntegrationStatus.OK, "", now()
        row.identity = _UNSTORABLE.sub("\ufffd", identity[:200])
        row.save(update_fields=["status", "last_error", "checked_at", "identity"])
        if was != row.status:
            tell_state(row)


def record_failure(
    org_id: uuid.UUID, integration_id: uuid.UUID, version: datetime, error: SlipwayError
) -> None:
    """Keep why an account could not be used, if it is still the one that was tried. Locks: the account.

    Emits: IntegrationChanged, NotificationCreated.
    """
    is_refusal = isinstance(error, AccountUnauthorised)
    status = IntegrationStatus.UNAUTHORISED if is_refusal else IntegrationStatus.BROKEN
    with tenant_transaction(org_id):
        row = _lock_version(integration_id, version)
        if row is None:
            return
        words = ACCOUNT_GRANTS.words(error.message, row.name) if is_refusal else error.message
        moment, reason, was = now(), _UNSTORABLE.sub("\ufffd", words[:500]), row.status
        is_fresh = row.checked_at is not None and row.checked_at > moment - _NOTED_EVERY
        if was == status and (is_fresh or is_refusal):
            return
        row.status, row.last_error, row.checked_at = status, reason, moment
        row.save(update_fields=["status", "last_error", "checked_at"])
        if was != status:
            tell_state(row)


def _lock_version(integration_id: uuid.UUID, version: datetime) -> Integration | None:
    return Integration.objects.select_for_update().filter(id=integration_id, updated_at=version).first()


def _forget_credentials(row: Integration) -> None:
    """Forget all that opens an account; a refresh under way is dropped."""
    seal_into(row, {})
    row.refresh_claim = row.refresh_until = None
    row.identity = ""


def _refuse_foreign_agents(actor: Actor, agent_ids: Collection[uuid.UUID] | None) -> None:
    if agent_ids:
        known = Agent.objects.filter(visible_agents(actor), id__in=agent_ids, archived_at=None).count()
        if known != len(set(agent_ids)):
            raise AgentMissing("There is no such agent.")


def _save_named(row: Integration, *, force_insert: bool = False) -> None:
    try:
        with transaction.atomic():
            row.save(force_insert=force_insert)
    except IntegrityError as error:
        if "integration_name_once" not in str(error):
            raise
        raise NameTaken("An account of this kind has this name.", fields={"name": "taken"}) from error
