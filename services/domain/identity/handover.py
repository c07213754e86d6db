"""Handing an actor, and the trace that it acts in, from one Slipway service to another: signed and short-lived.

An actor is checked again on arrival. A `traceparent` without our signature is anybody's word.
"""

from __future__ import annotations

import json
import uuid
from datetime import timedelta

from django.core import signing

from services.domain.actors import Actor
from services.domain.errors import Missing, TokenInvalid
from services.domain.identity.models import ApiToken, User
from services.domain.identity.queries import all_tenants_actor_of
from services.kit.clock import now

HANDOVER_HEADER = "X-Slipway-Actor"
HANDOVER_LIFE = timedelta(seconds=30)
TRACE_HEADER = "X-Slipway-Trace"
_SALT = "slipway.identity.handover"
_TRACE_SALT = "slipway.trace.handover"


def dump_actor(actor: Actor) -> str:
    """Return a person's or a token's actor as text. Raises: ValueError for an agent or the platform itself."""
    if actor.user_id is None or actor.kind not in ("user", "token"):
        raise ValueError("only people and their tokens are handed over")
    return json.dumps(
        {
            "org": str(actor.org_id),
            "user": str(actor.user_id),
            "token": str(actor.token_id) if actor.token_id else None,
        },
        separators=(",", ":"),
    )


def all_tenants_load_actor(text: str) -> Actor:
    """Return the actor that `dump_actor` described, with the role and scopes of this moment. Raises: TokenInvalid.

    Only who it is travels. What they may do is read anew, so a member who was removed meanwhile, and a token that
    was revoked, arrive nowhere.
    """
    fields = json.loads(text)
    org_id, user_id = uuid.UUID(fields["org"]), uuid.UUID(fields["user"])
    token_id = uuid.UUID(fields["token"]) if fields["token"] else None
    return _actor_now(org_id, user_id, token_id)


def all_tenants_refresh_actor(actor: Actor) -> Actor:
    """Return the actor as it stands now. Raises: TokenInvalid when its token or its place is gone."""
    return all_tenants_load_actor(dump_actor(actor))


def _actor_now(org_id: uuid.UUID, user_id: uuid.UUID, token_id: uuid.UUID | None) -> Actor:
    user = User.objects.using("operator").filter(pk=user_id, is_active=True).first()
    if user is None:
        raise TokenInvalid("The account is closed.")
    try:
        person = all_tenants_actor_of(user, org_id)
    except Missing as error:
        raise TokenInvalid("The membership has ended.") from error
    if token_id is None:
        return person
    token = (
        ApiToken.objects.using("operator")
        .filter(id=token_id, org_id=org_id, user_id=user_id, revoked_at=None, expires_at__gt=now())
        .first()
    )
    if token is None:
        raise TokenInvalid("The token is unknown, expired or revoked.")
    return Actor(
        org_id=org_id,
        kind="token",
        role=person.role,
        user_id=user_id,
        scopes=frozenset(token.scopes),
        token_id=token_id,
        agent_ids=frozenset(token.agent_ids) if token.agent_ids is not None else None,
    )


def sign_actor(actor: Actor) -> str:
    """Return the value of the header `X-Slipway-Actor`: another service's word that it has authenticated the actor."""
    return signing.TimestampSigner(salt=_SALT).sign_object(json.loads(dump_actor(actor)))


def unsign_actor(text: str) -> Actor:
    """Return the actor that a sibling service vouches for, as it stands now. Raises: TokenInvalid."""
    try:
        fields = signing.TimestampSigner(salt=_SALT).unsign_object(text, max_age=HANDOVER_LIFE)
    except signing.BadSignature as error:
        raise TokenInvalid("The handover is forged or too old.") from error
    return all_tenants_load_actor(json.dumps(fields))


def sign_traceparent(traceparent: str) -> str:
    """Return the value of the header `X-Slipway-Trace`."""
    return signing.TimestampSigner(salt=_TRACE_SALT).sign(traceparent)


def unsign_traceparent(text: str) -> str:
    """Return the traceparent that a sibling service sent; empty for what is forged, too old or not there."""
    try:
        return signing.TimestampSigner(salt=_TRACE_SALT).unsign(text, max_age=HANDOVER_LIFE)
    except signing.BadSignature:
        return ""
