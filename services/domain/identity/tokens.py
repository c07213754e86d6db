"""API tokens: made, rotated, revoked."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta

from django.db import transaction

from services.domain.actors import OF_ONE_AGENT, SCOPES, Actor, is_scope, require
from services.domain.audit.models import AuditAction
from services.domain.audit.recording import Subject, record_audit
from services.domain.errors import Invalid, Missing, NotPermitted
from services.domain.events.announcing import announce_change
from services.domain.events.listed import TokenChanged
from services.domain.identity.models import ApiToken, TokenKind
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.vault.keyring import seal_text
from services.kit.clock import now
from services.kit.redisbus import nudge
from services.kit.tokens import API_TOKEN_PREFIX, SIGNING_KEY_PREFIX, hash_token, make_token

DEFAULT_TOKEN_LIFE = timedelta(days=90)
LONGEST_TOKEN_LIFE = timedelta(days=366)
ROTATION_GRACE = timedelta(hours=24)
LONGEST_GRACE = timedelta(days=7)


def create_token(
    actor: Actor,
    *,
    name: str,
    scopes: list[str] | None = None,
    expires_at: datetime | None = None,
    kind: str = TokenKind.BEARER,
    agent_ids: list[uuid.UUID] | None = None,
) -> tuple[ApiToken, str]:
    """Create an API token for the acting person and return it with its text, which is shown this once.

    Raises: Invalid for unknown scopes or an expiry out of bounds, NotPermitted for scopes or agents the actor lacks.
    """
    require(actor, "tokens:write")
    every = SCOPES if agent_ids is None else OF_ONE_AGENT
    wanted = sorted(set(scopes if scopes is not None else every))
    unknown = [scope for scope in wanted if not is_scope(scope)]
    if unknown:
        raise Invalid("Unknown scopes.", fields={"scopes": f"unknown: {', '.join(unknown)}"})
    if agent_ids is not None and not set(wanted) <= OF_ONE_AGENT:
        wide = ", ".join(sorted(set(wanted) - OF_ONE_AGENT))
        raise Invalid("These scopes are not of one agent.", fields={"scopes": f"not with agent_ids: {wide}"})
    if actor.scopes is not None and not set(wanted) <= actor.scopes:
        raise NotPermitted("A token cannot grant scopes that it does not hold.")
    if actor.agent_ids is not None and (agent_ids is None or not set(agent_ids) <= actor.agent_ids):
        raise NotPermitted("A token cannot reach agents that its maker does not reach.")
    if actor.user_id is None:
        raise NotPermitted("Tokens belong to people.")
    moment = now()
    expires_at = expires_at or moment + DEFAULT_TOKEN_LIFE
    if not moment < expires_at <= moment + LONGEST_TOKEN_LIFE:
        raise Invalid("The expiry is out of bounds.", fields={"expires_at": "within the next 366 days"})
    row = ApiToken(
        org_id=actor.org_id,
        user_id=actor.user_id,
        name=name,
        scopes=wanted,
        expires_at=expires_at,
        kind=kind,
        agent_ids=sorted(set(agent_ids)) if agent_ids is not None else None,
    )
    text = _give_text(row)
    with tenant_transaction(actor.org_id):
        row.save(force_insert=True)
        agents = None if row.agent_ids is None else [str(each) for each in row.agent_ids]
        record_audit(
            actor, AuditAction.TOKEN_CREATED, subject_of(row), scopes=wanted, kind=kind, agents=agents
        )
        announce_change(TokenChanged, row, "created")
    return row, text


def rotate_token(
    actor: Actor, token_id: uuid.UUID, *, grace: timedelta = ROTATION_GRACE
) -> tuple[ApiToken, str]:
    """Give a token another text; the one before is good for a while yet. Two are good at once, never three.

    Who holds a narrower token than the one that is rotated would widen its own rights, and is refused.
    Raises: Missing, NotPermitted, Invalid for a grace beyond a week.
    """
    require(actor, "tokens:write")
    if not timedelta(0) <= grace <= LONGEST_GRACE:
        raise Invalid("The grace is out of bounds.", fields={"grace_s": "0 to 604800"})
    with tenant_transaction(actor.org_id):
        row = lock_token(actor, token_id)
        if row.user_id != actor.user_id:
            raise NotPermitted("A token is rotated by the person whose it is.")
        if actor.scopes is not None and not set(row.scopes) <= actor.scopes:
            raise NotPermitted("A token cannot rotate one with scopes that it does not hold.")
        if actor.agent_ids is not None and (
            row.agent_ids is None or not set(row.agent_ids) <= actor.agent_ids
        ):
            raise NotPermitted("A token cannot rotate one with agents that it does not reach.")
        row.previous_hash = row.token_hash
        row.previous_sealed, row.previous_key_id = row.sealed, row.key_id
        row.rotated_at, row.previous_until = now(), now() + grace
        text = _give_text(row)
        row.save()
        record_audit(actor, AuditAction.TOKEN_ROTATED, subject_of(row), grace_s=int(grace.total_seconds()))
        announce_change(TokenChanged, row, "updated")
        # Gateways remember whose token was good: they are to look again.
        transaction.on_commit(lambda: nudge("tokens", "all"), robust=True)
    return row, text


def _give_text(row: ApiToken) -> str:
    """Make a new text and keep of it what its kind needs: a signing key has to be known to check a signature."""
    prefix = API_TOKEN_PREFIX if row.kind == TokenKind.BEARER else SIGNING_KEY_PREFIX
    text = make_token(prefix)
    row.hint, row.token_hash = text[:8], hash_token(text)
    if row.kind == TokenKind.SIGNING:
        sealed = seal_text(text, row.id)
        row.sealed, row.key_id = sealed.blob, sealed.key_id
    return text


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
