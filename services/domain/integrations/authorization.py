"""Authorizations that people give at a provider: begun here, and finished by the same person in the same browser."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction

from services.domain.actors import Actor
from services.domain.errors import AuthorizationInvalid, Conflict, NotPermitted
from services.domain.integrations.actions import lock_own_integration
from services.domain.integrations.credentials import open_sealed, seal_into
from services.domain.integrations.models import Integration, IntegrationAuthorization, IntegrationStatus
from services.domain.ports.upstreams import AuthorizationPlan, GrantedTokens, OAuthGrant
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.vault.keyring import open_json, seal_json
from services.kit.clock import now
from services.kit.ids import uuid7
from services.kit.tokens import hash_token, make_token

LIFETIME = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Begun:
    """An authorization that somebody comes back from."""

    org_id: uuid.UUID
    integration_id: uuid.UUID
    version: datetime
    plan: AuthorizationPlan


def get_connectable(actor: Actor, integration_id: uuid.UUID) -> Integration:
    """Return an account that a person may authorize. Raises: IntegrationMissing, RoleMissing, NotPermitted."""
    if actor.user_id is None:
        raise NotPermitted("Only a person can give an authorization.")
    with tenant_transaction(actor.org_id):
        return lock_own_integration(actor, integration_id)


def begin_authorization(
    actor: Actor, begun_with: Integration, plan: AuthorizationPlan, browser: str = ""
) -> str:
    """Keep a plan until its person comes back; returns the state that names it, which nobody else knows.

    `browser` is the session in which it was begun, if it was begun in one. Raises: IntegrationMissing, RoleMissing.
    """
    if actor.user_id is None:
        raise NotPermitted("Only a person can give an authorization.")
    state = make_token("")
    with tenant_transaction(actor.org_id):
        row = lock_own_integration(actor, begun_with.id)
        IntegrationAuthorization.objects.filter(expires_at__lte=now()).delete()
        row_id = uuid7()
        sealed = seal_json(plan.model_dump(mode="json"), row_id)
        IntegrationAuthorization.objects.create(
            id=row_id,
            org_id=actor.org_id,
            integration=row,
            user_id=actor.user_id,
            version=begun_with.updated_at,
            state_hash=hash_token(state),
            browser_hash=hash_token(browser) if browser else "",
            sealed=sealed.blob,
            key_id=sealed.key_id,
            expires_at=now() + LIFETIME,
        )
    return state


def all_tenants_take_authorization(user_id: uuid.UUID, state: str, browser: str) -> Begun:
    """Return what a state stands for, once, to the person and the browser that began it.

    All tenants, because the state is what tells the tenant. Raises: AuthorizationInvalid, for all reasons alike.
    """
    invalid = AuthorizationInvalid(
        "This authorization was not begun here, is over, or was used. Begin again."
    )
    if not state.isascii():
        raise invalid
    with transaction.atomic(using="operator"):
        rows = IntegrationAuthorization.objects.using("operator").select_for_update()
        row = rows.filter(state_hash=hash_token(state), user_id=user_id, expires_at__gt=now()).first()
        if row is None or row.browser_hash not in ("", hash_token(browser)):
            raise invalid
        plan = AuthorizationPlan.model_validate(open_json(row.sealed, row.key_id, row.id))
        begun = Begun(row.org_id, row.integration_id, row.version, plan)
        row.delete()
    return begun


def finish_authorization(actor: Actor, begun: Begun, granted: GrantedTokens) -> Integration:
    """Keep what a person has authorized. Locks: the account. Raises: IntegrationMissing, RoleMissing, Conflict."""
    with tenant_transaction(actor.org_id):
        row = lock_own_integration(actor, begun.integration_id)
        if row.updated_at != begun.version:
            raise Conflict("The account was changed in the meantime. Begin again.")
        expires_at = None if granted.expires_in is None else time.time() + granted.expires_in
        grant = OAuthGrant(
            server=begun.plan.server,
            client=begun.plan.client,
            access_token=granted.access_token,
            refresh_token=granted.refresh_token,
            expires_at=expires_at,
        )
        seal_into(row, open_sealed(row) | {"grant": grant.model_dump(mode="json")})
        row.refresh_claim = row.refresh_until = None
        row.status, row.last_error = IntegrationStatus.UNCHECKED, ""
        row.updated_at = now()
        row.save()
        return row
