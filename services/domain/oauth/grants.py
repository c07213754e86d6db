"""Codes and refresh tokens, traded for tokens. One that is shown a second time ends the whole family."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import uuid
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from services.domain.actors import Actor, require
from services.domain.audit.models import AuditAction
from services.domain.audit.recording import Subject, record_audit
from services.domain.errors import ConnectedAppMissing, OAuthRefused
from services.domain.events.log import record_event
from services.domain.events.types import AppConnected, AppDisconnected
from services.domain.identity.models import User
from services.domain.identity.queries import is_suspended
from services.domain.oauth.models import AppToken, AuthorizationCode, ConnectedApp, OAuthClient, TokenKind
from services.domain.oauth.queries import ADMINS
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now
from services.kit.tokens import ACCESS_TOKEN_PREFIX, REFRESH_TOKEN_PREFIX, hash_token, make_token

ACCESS_LIFE = timedelta(minutes=15)
REFRESH_LIFE = timedelta(days=30)
FAMILY_LIFE = timedelta(days=365)
_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")

Reason = Literal["person", "client", "reuse"]


@dataclass(frozen=True, slots=True)
class Issued:
    """Tokens, shown this once."""

    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    expires_in: int
    scopes: list[str]
    resource: str


@dataclass(frozen=True, slots=True)
class CodeTrade:
    """What a client shows beside itself to get its first tokens."""

    code: str = field(repr=False)
    verifier: str = field(repr=False)
    redirect_uri: str
    resource: str


def all_tenants_trade_code(client: OAuthClient, shown: CodeTrade) -> Issued:
    """Trade a code for tokens, once. A wrong verifier spends it; a second use ends what came of the first.

    All tenants, because the code is what tells the tenant. Locks: the app. Emits: AppConnected, AppDisconnected.
    Raises: OAuthRefused, alike for all reasons.
    """
    row = (
        AuthorizationCode.objects.using("operator")
        .filter(code_hash=hash_token(shown.code), app__client_id=client.id)
        .values("org_id", "app_id")
        .first()
    )
    if row is None:
        raise _invalid_grant()
    with tenant_transaction(row["org_id"]):
        app = _lock(row["app_id"])
        code = AuthorizationCode.objects.filter(code_hash=hash_token(shown.code)).first()
        issued = _first_tokens(app, code, shown) if app is not None and code is not None else None
    if issued is None:
        raise _invalid_grant()
    OAuthClient.objects.using("operator").filter(id=client.id).update(last_used_at=now())
    return issued


def _first_tokens(app: ConnectedApp, code: AuthorizationCode, shown: CodeTrade) -> Issued | None:
    moment = now()
    if code.used_at is not None:
        _revoke(app, "reuse")
        return None
    code.used_at = moment
    code.save(update_fields=["used_at"])
    is_good = (
        code.expires_at > moment
        and hmac.compare_digest(code.redirect_uri, shown.redirect_uri)
        and hmac.compare_digest(code.challenge, _challenge_of(shown.verifier))
        and app.resource == shown.resource.removesuffix("/")
        and _is_open(app)
    )
    if not is_good:
        return None
    app.connected_at = app.last_used_at = moment
    app.save(update_fields=["connected_at", "last_used_at"])
    record_event(
        f"user:{app.user_id}",
        AppConnected(app_id=str(app.id), name=app.client_name, resource=app.resource, scopes=app.scopes),
    )
    return _issue(app, moment)


def all_tenants_refresh(client: OAuthClient, token: str, *, resource: str = "", scope: str = "") -> Issued:
    """Trade a refresh token for new tokens; it is spent then. One that was spent before ends the family.

    Locks: the app. Emits: AppDisconnected. Raises: OAuthRefused.
    """
    row = (
        AppToken.objects.using("operator")
        .filter(token_hash=hash_token(token), kind=TokenKind.REFRESH, app__client_id=client.id)
        .values("org_id", "app_id", "app__resource", "app__scopes")
        .first()
    )
    if row is None:
        raise _invalid_grant()
    if resource and resource.removesuffix("/") != row["app__resource"]:
        raise OAuthRefused("invalid_target", "The token is for another resource.")
    if not set(scope.split()) <= {*row["app__scopes"], "offline_access"}:
        raise OAuthRefused("invalid_scope", "More than was allowed cannot be had by refreshing.")
    with tenant_transaction(row["org_id"]):
        app = _lock(row["app_id"])
        found = AppToken.objects.filter(token_hash=hash_token(token)).first()
        issued = _next_tokens(app, found) if app is not None and found is not None else None
    if issued is None:
        raise _invalid_grant()
    OAuthClient.objects.using("operator").filter(id=client.id).update(last_used_at=now())
    return issued


def _next_tokens(app: ConnectedApp, token: AppToken) -> Issued | None:
    moment = now()
    if token.used_at is not None:
        _revoke(app, "reuse")
        return None
    if token.expires_at <= moment or not _is_open(app):
        return None
    token.used_at = moment
    token.save(update_fields=["used_at"])
    return _issue(app, moment)


def all_tenants_revoke_token(client: OAuthClient, token: str) -> None:
    """End the family of a token that a client gives back; an unknown one is no error. Source: RFC 7009, section 2.

    Locks: the app. Emits: AppDisconnected.
    """
    row = (
        AppToken.objects.using("operator")
        .filter(token_hash=hash_token(token), app__client_id=client.id)
        .values("org_id", "app_id")
        .first()
    )
    if row is None:
        return
    with tenant_transaction(row["org_id"]):
        app = _lock(row["app_id"])
        if app is not None:
            _revoke(app, "client")


def disconnect_app(actor: Actor, app_id: uuid.UUID) -> None:
    """End what a person allowed a program, at once. Members end their own, admins anybody's.

    Locks: the app. Emits: AppDisconnected. Raises: ConnectedAppMissing.
    """
    require(actor, "tokens:write")
    with tenant_transaction(actor.org_id):
        app = _lock(app_id)
        if app is None or (actor.role not in ADMINS and app.user_id != actor.user_id):
            raise ConnectedAppMissing("There is no such connected app.")
        _revoke(app, "person")
        subject = Subject("app", app.id, app.client_name, app.user_id)
        record_audit(actor, AuditAction.APP_DISCONNECTED, subject)


def _revoke(app: ConnectedApp, reason: Reason) -> None:
    app.revoked_at, app.revoked_because = now(), reason
    app.save(update_fields=["revoked_at", "revoked_because"])
    AppToken.objects.filter(app=app).delete()
    AuthorizationCode.objects.filter(app=app).delete()
    record_event(
        f"user:{app.user_id}", AppDisconnected(app_id=str(app.id), name=app.client_name, reason=reason)
    )


def _lock(app_id: uuid.UUID) -> ConnectedApp | None:
    return ConnectedApp.objects.select_for_update(of=("self",)).filter(id=app_id, revoked_at=None).first()


def _is_open(app: ConnectedApp) -> bool:
    """Say whether the person and the organisation are still there; the membership is, or the app were gone."""
    is_active = User.objects.using("operator").filter(pk=app.user_id, is_active=True).exists()
    return is_active and not is_suspended(app.org_id) and app.created_at > now() - FAMILY_LIFE


def _issue(app: ConnectedApp, moment: datetime) -> Issued:
    access, refresh = make_token(ACCESS_TOKEN_PREFIX), make_token(REFRESH_TOKEN_PREFIX)
    for kind, text, life in (
        (TokenKind.ACCESS, access, ACCESS_LIFE),
        (TokenKind.REFRESH, refresh, REFRESH_LIFE),
    ):
        AppToken.objects.create(
            org_id=app.org_id, app=app, kind=kind, token_hash=hash_token(text), expires_at=moment + life
        )
    return Issued(access, refresh, int(ACCESS_LIFE.total_seconds()), app.scopes, app.resource)


def _challenge_of(verifier: str) -> str:
    if not _VERIFIER.fullmatch(verifier):
        return ""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")


def _invalid_grant() -> OAuthRefused:
    return OAuthRefused("invalid_grant", "The grant is unknown, expired, spent, or not for this.")
