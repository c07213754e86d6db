"""Authorizations that people give: begun here, given elsewhere, and finished by the same person in the same browser."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from services.domain.actors import Actor
from services.domain.errors import Conflict, NotPermitted
from services.domain.oauth_grants.authorizations import all_tenants_take_plan, keep_granted, keep_plan
from services.domain.oauth_grants.keeping import open_sealed
from services.domain.ports.upstreams import AuthorizationPlan, GrantedTokens
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.upstreams.in_sandbox import refuse_in_sandbox
from services.domain.upstreams.models import (
    UpstreamAuth,
    UpstreamAuthorization,
    UpstreamServer,
)
from services.domain.upstreams.review import lock_own_upstream


@dataclass(frozen=True, slots=True)
class Connectable:
    """A server that a person may connect, and the OAuth client that was registered by hand, if one was."""

    url: str
    client_id: str
    client_secret: str | None


@dataclass(frozen=True, slots=True)
class Begun:
    """An authorization that somebody comes back from."""

    org_id: uuid.UUID
    server_id: uuid.UUID
    plan: AuthorizationPlan


def get_connectable(actor: Actor, server_id: uuid.UUID) -> Connectable:
    """Return what is needed to ask for an authorization.

    Raises: UpstreamMissing, RoleMissing, UpstreamInSandbox, Conflict.
    """
    if actor.user_id is None:
        raise NotPermitted("Only a person can give an authorization.")
    with tenant_transaction(actor.org_id):
        server = lock_own_upstream(actor, server_id)
        refuse_in_sandbox(server)
        if server.auth != UpstreamAuth.OAUTH:
            raise Conflict("This server is not connected by OAuth.")
        return Connectable(server.url, server.client_id, open_sealed(server).get("client_secret"))


def begin_authorization(
    actor: Actor, server_id: uuid.UUID, plan: AuthorizationPlan, browser: str = ""
) -> str:
    """Keep a plan until its person comes back; returns the state that names it, which nobody else knows.

    `browser` is the session in which it was begun, if it was begun in one. Raises: UpstreamMissing, RoleMissing.
    """
    if actor.user_id is None:
        raise NotPermitted("Only a person can give an authorization.")
    with tenant_transaction(actor.org_id):
        server = lock_own_upstream(actor, server_id)
        return keep_plan(
            UpstreamAuthorization,
            plan,
            browser=browser,
            org_id=actor.org_id,
            server=server,
            user_id=actor.user_id,
        )


def all_tenants_take_authorization(user_id: uuid.UUID, state: str, browser: str) -> Begun:
    """Return what a state stands for, once, to whoever began it, where it was begun. Raises: AuthorizationInvalid."""
    row, plan = all_tenants_take_plan(UpstreamAuthorization, user_id, state, browser)
    return Begun(row.org_id, row.server_id, plan)


def finish_authorization(
    actor: Actor, server_id: uuid.UUID, plan: AuthorizationPlan, granted: GrantedTokens
) -> UpstreamServer:
    """Keep what a person has authorized. Locks: the server. Raises: UpstreamMissing, RoleMissing, Conflict."""
    with tenant_transaction(actor.org_id):
        server = lock_own_upstream(actor, server_id)
        if server.auth != UpstreamAuth.OAUTH or server.url != plan.server_url:
            raise Conflict("The server was changed in the meantime. Begin again.")
        keep_granted(server, plan, granted)
        return server
