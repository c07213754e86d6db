"""Authorizations that people give: begun here, given elsewhere, and finished by the same person in the same browser."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from datetime import timedelta

from django.db import transaction

from services.domain.actors import Actor
from services.domain.errors import AuthorizationInvalid, Conflict, NotPermitted
from services.domain.ports.upstreams import AuthorizationPlan, GrantedTokens, OAuthGrant
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.upstreams.credentials import open_sealed, seal_into
from services.domain.upstreams.in_sandbox import refuse_in_sandbox
from services.domain.upstreams.models import (
    UpstreamAuth,
    UpstreamAuthorization,
    UpstreamServer,
    UpstreamStatus,
)
from services.domain.upstreams.review import lock_own_upstream
from services.domain.vault.keyring import open_json, seal_json
from services.kit.clock import now
from services.kit.ids import uuid7
from services.kit.tokens import hash_token, make_token

LIFETIME = timedelta(minutes=10)


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
    state = make_token("")
    with tenant_transaction(actor.org_id):
        server = lock_own_upstream(actor, server_id)
        UpstreamAuthorization.objects.filter(expires_at__lte=now()).delete()
        row_id = uuid7()
        sealed = seal_json(plan.model_dump(mode="json"), row_id)
        UpstreamAuthorization.objects.create(
            id=row_id,
            org_id=actor.org_id,
            server=server,
            user_id=actor.user_id,
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
        rows = UpstreamAuthorization.objects.using("operator").select_for_update()
        row = rows.filter(state_hash=hash_token(state), user_id=user_id, expires_at__gt=now()).first()
        if row is None or row.browser_hash not in ("", hash_token(browser)):
            raise invalid
        plan = AuthorizationPlan.model_validate(open_json(row.sealed, row.key_id, row.id))
        begun = Begun(row.org_id, row.server_id, plan)
        row.delete()
    return begun


def finish_authorization(
    actor: Actor, server_id: uuid.UUID, plan: AuthorizationPlan, granted: GrantedTokens
) -> UpstreamServer:
    """Keep what a person has authorized. Locks: the server. Raises: UpstreamMissing, RoleMissing, Conflict."""
    with tenant_transaction(actor.org_id):
        server = lock_own_upstream(actor, server_id)
        if server.auth != UpstreamAuth.OAUTH or server.url != plan.server_url:
            raise Conflict("The server was changed in the meantime. Begin again.")
        expires_at = None if granted.expires_in is None else time.time() + granted.expires_in
        grant = OAuthGrant(
            server=plan.server,
            client=plan.client,
            access_token=granted.access_token,
            refresh_token=granted.refresh_token,
            expires_at=expires_at,
        )
        seal_into(server, open_sealed(server) | {"grant": grant.model_dump(mode="json")})
        server.refresh_claim = server.refresh_until = None
        server.status, server.last_error = UpstreamStatus.UNCHECKED, ""
        server.updated_at = now()
        server.save()
        return server
