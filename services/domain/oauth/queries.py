"""Reading what people connected, and who is behind an access token."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import QuerySet

from services.domain.actors import Actor, require
from services.domain.errors import ConnectedAppMissing, TokenInvalid
from services.domain.identity.models import Membership
from services.domain.identity.queries import is_suspended
from services.domain.oauth.models import AppToken, ConnectedApp, TokenKind
from services.kit.clock import now
from services.kit.tokens import ACCESS_TOKEN_PREFIX, hash_token

ADMINS = ("owner", "admin")
_LAST_USED_EVERY = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class AppAccess:
    """What an access token opens: a person's place, as it is now, and what that person allowed."""

    org_id: uuid.UUID
    user_id: uuid.UUID
    role: str
    app_id: uuid.UUID
    client_id: str
    scopes: tuple[str, ...]
    agent_id: uuid.UUID | None
    expires_at: datetime


def list_connected_apps(actor: Actor) -> QuerySet[ConnectedApp]:
    """Return the programs that are connected: the actor's own, an admin sees everybody's. In the transaction."""
    require(actor, "tokens:read")
    apps = (
        ConnectedApp.objects.filter(revoked_at=None)
        .exclude(connected_at=None)
        .select_related("user", "agent")
    )
    return apps if actor.role in ADMINS else apps.filter(user=actor.user_id)


def get_connected_app(actor: Actor, app_id: uuid.UUID) -> ConnectedApp:
    """Return one connected program, in the tenant's transaction. Raises: ConnectedAppMissing."""
    app = list_connected_apps(actor).filter(id=app_id).first()
    if app is None:
        raise ConnectedAppMissing("There is no such connected app.")
    return app


def all_tenants_authenticate_app(token: str, resource: str) -> AppAccess:
    """Turn an access token into what it opens. Raises: TokenInvalid, for all reasons alike.

    All tenants, because the token is what tells the tenant. The membership, the account and the organisation are
    looked at each time: a token outlives none of them.
    """
    invalid = TokenInvalid("The token is unknown, expired or for something else.")
    if not token.startswith(ACCESS_TOKEN_PREFIX):
        raise invalid
    moment = now()
    row = (
        AppToken.objects.using("operator")
        .select_related("app__client")
        .filter(
            token_hash=hash_token(token),
            kind=TokenKind.ACCESS,
            expires_at__gt=moment,
            app__revoked_at=None,
            app__resource=resource,
            app__user__is_active=True,
        )
        .first()
    )
    if row is None:
        raise invalid
    app = row.app
    membership = Membership.objects.using("operator").filter(id=app.membership_id).first()
    if membership is None or is_suspended(app.org_id):
        raise invalid
    if app.last_used_at is None or app.last_used_at < moment - _LAST_USED_EVERY:
        ConnectedApp.objects.using("operator").filter(id=app.id).update(last_used_at=moment)
    return AppAccess(
        org_id=app.org_id,
        user_id=app.user_id,
        role=membership.role,
        app_id=app.id,
        client_id=app.client.client_id,
        scopes=tuple(app.scopes),
        agent_id=app.agent_id,
        expires_at=row.expires_at,
    )
