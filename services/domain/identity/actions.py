"""Changing organisations, members and tokens."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta

from django.db import transaction

from services.domain.actors import SCOPES, Actor, is_scope, require
from services.domain.errors import Invalid, Missing, NameTaken, NotPermitted
from services.domain.identity.models import ApiToken, Membership, Organisation, Role, User
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now
from services.kit.redisbus import nudge
from services.kit.tokens import API_TOKEN_PREFIX, hash_token, make_token

DEFAULT_TOKEN_LIFE = timedelta(days=90)
LONGEST_TOKEN_LIFE = timedelta(days=366)


def all_tenants_create_organisation(*, slug: str, name: str, owner: User) -> Organisation:
    """Create a tenant and its first owner. Raises: NameTaken."""
    with transaction.atomic(using="operator"):
        organisation, is_new = Organisation.objects.using("operator").get_or_create(
            slug=slug, defaults={"name": name}
        )
        if not is_new:
            raise NameTaken("An organisation with this name exists.")
        Membership.objects.using("operator").create(org_id=organisation.id, user_id=owner.pk, role=Role.OWNER)
    return organisation


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
    return row, text


def revoke_token(actor: Actor, token_id: uuid.UUID) -> None:
    """Revoke a token at once. Members revoke their own, admins anybody's. Raises: Missing."""
    require(actor, "tokens:write")
    with tenant_transaction(actor.org_id):
        rows = ApiToken.objects.filter(id=token_id, revoked_at=None)
        if actor.role not in ("owner", "admin"):
            rows = rows.filter(user=actor.user_id)
        if not rows.update(revoked_at=now()):
            raise Missing("There is no such token.")


def remove_member(actor: Actor, user_id: uuid.UUID) -> None:
    """Remove a member; their tokens die at once. Raises: Missing, NotPermitted for the last owner."""
    require(actor, "members:write", role="admin")
    with tenant_transaction(actor.org_id):
        members = list(Membership.objects.select_for_update().order_by("id"))
        leaving = next((member for member in members if member.user_id == user_id), None)
        if leaving is None:
            raise Missing("There is no such member.")
        owners = [member for member in members if member.role == Role.OWNER]
        if leaving in owners and len(owners) == 1:
            raise NotPermitted("The last owner cannot leave.")
        ApiToken.objects.filter(user_id=user_id, revoked_at=None).update(revoked_at=now())
        leaving.delete()


def change_role(actor: Actor, user_id: uuid.UUID, role: str) -> Membership:
    """Give a member another role. Only owners make owners, or take it from one; the last owner stays one.

    Locks: all members. Raises: RoleMissing, Invalid, Missing, NotPermitted.
    """
    require(actor, "members:write", role="admin")
    if role not in Role.values:
        raise Invalid("There is no such role.", fields={"role": "owner, admin, member or viewer"})
    with tenant_transaction(actor.org_id):
        members = list(
            Membership.objects.select_for_update(of=("self",)).select_related("user").order_by("id")
        )
        member = next((one for one in members if one.user_id == user_id), None)
        if member is None:
            raise Missing("There is no such member.")
        if Role.OWNER in (role, member.role) and role != member.role:
            require(actor, "members:write", role="owner")
        owners = [one for one in members if one.role == Role.OWNER]
        if owners == [member] and role != Role.OWNER:
            raise NotPermitted("The last owner stays one.")
        member.role = role
        member.save(update_fields=["role"])
        return member


def add_member(actor: Actor, user: User, role: str) -> Membership:
    """Make a person a member. Raises: RoleMissing, Invalid."""
    require(actor, "members:write", role="admin")
    if role not in Role.values or (role == Role.OWNER and actor.role != "owner"):
        raise Invalid("This role cannot be given.", fields={"role": "owner, admin, member or viewer"})
    with tenant_transaction(actor.org_id):
        member, _ = Membership.objects.get_or_create(org_id=actor.org_id, user=user, defaults={"role": role})
        return member


def all_tenants_suspend_organisation(org_id: uuid.UUID) -> None:
    """Suspend an organisation: its tokens and sessions open nothing, its queue stands still. Twice is fine."""
    Organisation.objects.using("operator").filter(id=org_id, suspended_at=None).update(suspended_at=now())
    # Gateways remember whose token was good: they are to look again.
    transaction.on_commit(lambda: nudge("tokens", "all"), using="operator", robust=True)


def all_tenants_resume_organisation(org_id: uuid.UUID) -> None:
    """End a suspension. Twice is fine."""
    Organisation.objects.using("operator").filter(id=org_id).update(suspended_at=None)


def all_tenants_set_active(user_id: uuid.UUID, *, is_active: bool) -> None:
    """Close a person's account everywhere, or open it again."""
    User.objects.using("operator").filter(pk=user_id).update(is_active=is_active)
