"""API tokens: made, revoked."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta

from services.domain.actors import SCOPES, Actor, is_scope, require
from services.domain.audit.models import AuditAction
from services.domain.audit.recording import Subject, record_audit
from services.domain.errors import Invalid, Missing, NotPermitted
from services.domain.events.announcing import announce_change
from services.domain.events.listed import TokenChanged
from services.domain.identity.models import ApiToken
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now
from services.kit.tokens import API_TOKEN_PREFIX, hash_token, make_token

DEFAULT_TOKEN_LIFE = timedelta(days=90)
LONGEST_TOKEN_LIFE = timedelta(days=366)


def create_token(
    actor: Actor, *, name: str, scopes: list[str] | None = None, expires_at: datetime | None = None
) -> tuple[ApiToken, str]:
    """Create an API token for the acting person and return it with its text, which is shown this once.

    Raises: Invalid for unknown scopes or an expiry out of bounds, NotPermitted for scopes the actor lacks.
    """
    require(actor, "tokens:write")
    wanted = sorted(set(scopes if scopes is not None else SCOPES))
    unknown = [scope for scope in wanted if not is_scope(scope)]
    if unknown:
        raise Invalid("Unknown scopes.", fields={"scopes": f"unknown: {', '.join(unknown)}"})
    if actor.scopes is not None and not set(wanted) <= actor.scopes:
        raise NotPermitted("A token cannot grant scopes that it does not hold.")
    if actor.user_id is None:
        raise NotPermitted("Tokens belong to people.")
    moment = now()
    expires_at = expires_at or moment + DEFAULT_TOKEN_LIFE
    if not moment < expires_at <= moment + LONGEST_TOKEN_LIFE:
        raise Invalid("The expiry is out of bounds.", fields={"expires_at": "within the next 366 days"})
    text = make_token(API_TOKEN_PREFIX)
    with tenant_transaction(actor.org_id):
        row = ApiToken.objects.create(
            org_id=actor.org_id,
            user_id=actor.user_id,
            name=name,
            hint=text[:8],
            token_hash=hash_token(text),
            scopes=wanted,
            expires_at=expires_at,
        )
        record_audit(actor, AuditAction.TOKEN_CREATED, subject_of(row), scopes=wanted)
        announce_change(TokenChanged, row, "created")
    return row, text


def revoke_token(actor: Actor, token_id: uuid.UUID) -> None:
    """Revoke a token at once. Members revoke their own, admins anybody's. Raises: Missing."""
    require(actor, "tokens:write")
    with tenant_transaction(actor.org_id):
        row = lock_token(actor, token_id)
        row.revoked_at = now()
        row.save(update_fields=["revoked_at"])
        record_audit(actor, AuditAction.TOKEN_REVOKED, subject_of(row))
        announce_change(TokenChanged, row, "deleted")


def revoke_tokens_of(user_id: uuid.UUID) -> None:
    """Revoke all tokens that a person has here, in the tenant's transaction. Emits: TokenChanged."""
    rows = list(ApiToken.objects.select_for_update().filter(user_id=user_id, revoked_at=None))
    for row in rows:
        announce_change(TokenChanged, row, "deleted")
    ApiToken.objects.filter(id__in=[row.id for row in rows]).update(revoked_at=now())


def lock_token(actor: Actor, token_id: uuid.UUID) -> ApiToken:
    """Return a token that the actor may change, locked, in the tenant's transaction. Raises: Missing."""
    rows = ApiToken.objects.select_for_update().filter(id=token_id, revoked_at=None)
    if actor.role not in ("owner", "admin"):
        rows = rows.filter(user=actor.user_id)
    row = rows.first()
    if row is None:
        raise Missing("There is no such token.")
    return row


def subject_of(token: ApiToken) -> Subject:
    """Return a token as what a record is about."""
    return Subject("token", token.id, token.name, token.user_id)
