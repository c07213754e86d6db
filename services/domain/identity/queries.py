"""Reading organisations, members and tokens."""

from __future__ import annotations

import uuid
from datetime import timedelta

from django.db import connections

from services.domain.actors import Actor, require
from services.domain.errors import Missing, TokenInvalid
from services.domain.identity.models import ApiToken, Membership, Organisation, User
from services.kit.clock import now
from services.kit.tokens import API_TOKEN_PREFIX, hash_token

_LAST_USED_EVERY = timedelta(minutes=1)
# On the way of every request.
_AUTHENTICATE = """
SELECT t.id, t.org_id, t.user_id, m.role, t.scopes, t.last_used_at, t.agent_ids FROM api_token t
JOIN user_account u ON u.id = t.user_id AND u.is_active
JOIN membership m ON m.org_id = t.org_id AND m.user_id = t.user_id
JOIN organisation o ON o.id = t.org_id AND o.suspended_at IS NULL
WHERE {which} AND t.revoked_at IS NULL AND t.expires_at > %(now)s
"""
_BY_TEXT = _AUTHENTICATE.format(which="t.kind = 'bearer' AND t.token_hash = %(key)s")
_BY_TEXT_BEFORE = _AUTHENTICATE.format(
    which="t.kind = 'bearer' AND t.previous_hash = %(key)s AND t.previous_until > %(now)s"
)
_BY_ID = _AUTHENTICATE.format(which="t.kind = 'signing' AND t.id = %(key)s")


def all_tenants_authenticate(token: str) -> Actor:
    """Turn an API token into an actor. Raises: TokenInvalid, alike for unknown, expired, revoked and orphaned ones.

    All tenants, because the token is what tells the tenant. The membership is read with it: a token outlives
    neither its member's place nor the organisation's suspension.
    """
    invalid = TokenInvalid("The token is unknown, expired or revoked.")
    if not token.startswith(API_TOKEN_PREFIX):
        raise invalid
    key = hash_token(token)
    # The second look-up is for texts that were rotated, and for guesses.
    actor = _find_holder(_BY_TEXT, key) or _find_holder(_BY_TEXT_BEFORE, key)
    if actor is None:
        raise invalid
    return actor


def all_tenants_find_signer(token_id: uuid.UUID) -> Actor | None:
    """Return whose signing key has an id, None for one that opens nothing. Its use has yet to be shown."""
    return _find_holder(_BY_ID, str(token_id))


def _find_holder(sql: str, key: str) -> Actor | None:
    moment = now()
    with connections["operator"].cursor() as cursor:
        cursor.execute(sql, {"key": key, "now": moment})
        row = cursor.fetchone()
    if row is None:
        return None
    token_id, org_id, user_id, role, scopes, last_used_at, agent_ids = row
    if last_used_at is None or last_used_at < moment - _LAST_USED_EVERY:
        ApiToken.objects.using("operator").filter(id=token_id).update(last_used_at=moment)
    return Actor(
        org_id=org_id,
        kind="token",
        role=role,
        user_id=user_id,
        scopes=frozenset(scopes),
        token_id=token_id,
        agent_ids=frozenset(agent_ids) if agent_ids is not None else None,
    )


def is_suspended(org_id: uuid.UUID) -> bool:
    """Say whether the organisation is gone or suspended."""
    return not Organisation.objects.using("operator").filter(id=org_id, suspended_at=None).exists()


def all_tenants_organisations_of(user: User) -> list[tuple[Organisation, str]]:
    """List the organisations that a signed-in person is a member of, with the role in each."""
    memberships = Membership.objects.using("operator").filter(user_id=user.pk).values_list("org_id", "role")
    roles = dict(memberships)
    organisations = (
        Organisation.objects.using("operator").filter(id__in=roles, suspended_at=None).order_by("name")
    )
    return [(organisation, roles[organisation.id]) for organisation in organisations]


def all_tenants_actor_of(user: User, org_id: uuid.UUID) -> Actor:
    """Return a signed-in person as an actor of one of their organisations. Raises: Missing."""
    for organisation, role in all_tenants_organisations_of(user):
        if organisation.id == org_id and user.is_active:
            return Actor(org_id=org_id, kind="user", role=role, user_id=user.pk)
    raise Missing("There is no such organisation.")


def list_tokens(actor: Actor) -> list[ApiToken]:
    """List the actor's own tokens that are not revoked; an admin sees everybody's. In the tenant's transaction."""
    require(actor, "tokens:read")
    rows = ApiToken.objects.filter(revoked_at=None).order_by("-id")
    return list(rows if actor.role in ("owner", "admin") else rows.filter(user=actor.user_id))


def get_token(actor: Actor, token_id: uuid.UUID) -> ApiToken:
    """Return one of the tokens that `list_tokens` shows. In the tenant's transaction. Raises: Missing."""
    found = next((row for row in list_tokens(actor) if row.id == token_id), None)
    if found is None:
        raise Missing("There is no such token.")
    return found


def list_members(actor: Actor) -> list[Membership]:
    """List the members, with their accounts, in the tenant's transaction."""
    require(actor, "members:read")
    return list(Membership.objects.select_related("user").order_by("id"))


def get_member(actor: Actor, user_id: uuid.UUID) -> Membership:
    """Return one member, with the account, in the tenant's transaction. Raises: Missing."""
    require(actor, "members:read")
    found = Membership.objects.select_related("user").filter(user_id=user_id).first()
    if found is None:
        raise Missing("There is no such member.")
    return found


def get_organisation(org_id: uuid.UUID) -> Organisation:
    """Return the organisation of the tenant's transaction."""
    return Organisation.objects.get(id=org_id)


def all_tenants_slug_of(org_id: uuid.UUID) -> str:
    """Return an organisation's short name, or an empty text when it is gone."""
    return (
        Organisation.objects.using("operator").filter(id=org_id).values_list("slug", flat=True).first() or ""
    )
