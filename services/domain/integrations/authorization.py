"""Authorizations that people give at a provider: begun here, and finished by the same person in the same browser."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime

from services.domain.actors import Actor
from services.domain.errors import Conflict, NotPermitted
from services.domain.integrations.actions import lock_own_integration
from services.domain.integrations.models import Integration, IntegrationAuthorization
from services.domain.oauth_grants.authorizations import all_tenants_take_plan, keep_granted, keep_plan
from services.domain.ports.upstreams import AuthorizationPlan, GrantedTokens
from services.domain.tenancy.transaction import tenant_transaction


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
    with tenant_transaction(actor.org_id):
        row = lock_own_integration(actor, begun_with.id)
        return keep_plan(
            IntegrationAuthorization,
            plan,
            browser=browser,
            org_id=actor.org_id,
            integration=row,
            user_id=actor.user_id,
            version=begun_with.updated_at,
        )


def all_tenants_take_authorization(user_id: uuid.UUID, state: str, browser: str) -> Begun:
    """Return what a state stands for, once, to whoever began it, where it was begun. Raises: AuthorizationInvalid."""
    row, plan = all_tenants_take_plan(IntegrationAuthorization, user_id, state, browser)
    return Begun(row.org_id, row.integration_id, row.version, plan)


def finish_authorization(actor: Actor, begun: Begun, granted: GrantedTokens) -> Integration:
    """Keep what a person has authorized. Locks: the account. Raises: IntegrationMissing, RoleMissing, Conflict."""
    with tenant_transaction(actor.org_id):
        row = lock_own_integration(actor, begun.integration_id)
        if row.updated_at != begun.version:
            raise Conflict("The account was changed in the meantime. Begin again.")
        keep_granted(row, begun.plan, granted)
        return row
