"""Members: how one comes in, which role one has, how one goes."""

from __future__ import annotations

import uuid

from services.domain.actors import Actor, require
from services.domain.audit.models import AuditAction
from services.domain.audit.recording import Subject, record_audit
from services.domain.errors import Invalid, LastOwner, Missing, NotPermitted
from services.domain.events.announcing import announce_change
from services.domain.events.listed import MemberChanged
from services.domain.identity.models import Invitation, Membership, Role, User
from services.domain.identity.tokens import revoke_tokens_of
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now


def subject_of(user: User) -> Subject:
    """Return a person as what a record is about."""
    return Subject("member", user.pk, user.email, user.pk)


def add_member(actor: Actor, user: User, role: str) -> Membership:
    """Make a person a member; who is one stays what they are. Raises: RoleMissing, Invalid."""
    require(actor, "members:write", role="admin")
    require_givable(actor, role)
    with tenant_transaction(actor.org_id):
        member, is_new = Membership.objects.get_or_create(
            org_id=actor.org_id, user=user, defaults={"role": role}
        )
        if is_new:
            record_audit(actor, AuditAction.MEMBER_ADDED, subject_of(user), role=role)
            announce_change(MemberChanged, member, "created")
        return member


def require_givable(actor: Actor, role: str) -> None:
    """Refuse a role that there is not, or that the actor cannot give. Raises: Invalid."""
    if role not in Role.values or (role == Role.OWNER and actor.role != "owner"):
        raise Invalid("This role cannot be given.", fields={"role": "owner, admin, member or viewer"})


def change_role(actor: Actor, user_id: uuid.UUID, role: str) -> Membership:
    """Give a member another role. Only owners make owners, or take it from one; the last owner stays one.

    Locks: all members. Raises: RoleMissing, Invalid, Missing, LastOwner.
    """
    require(actor, "members:write", role="admin")
    if role not in Role.values:
        raise Invalid("There is no such role.", fields={"role": "owner, admin, member or viewer"})
    with tenant_transaction(actor.org_id):
        members = _lock_members()
        member = _find(members, user_id)
        before = member.role
        if role == before:
            return member
        if Role.OWNER in (role, before):
            require(actor, "members:write", role="owner")
        _require_another_owner(members, member, "The last owner stays one.")
        member.role = role
        member.save(update_fields=["role"])
        announce_change(MemberChanged, member)
        if role not in (Role.OWNER, Role.ADMIN):
            _revoke_invitations_of(user_id)
        record_audit(
            actor, AuditAction.MEMBER_ROLE_CHANGED, subject_of(member.user), role=role, role_before=before
        )
        return member


def remove_member(actor: Actor, user_id: uuid.UUID) -> None:
    """Remove a member; their tokens and the invitations they gave die at once. Oneself anybody may remove.

    Locks: all members. Raises: Missing, RoleMissing, LastOwner.
    """
    if user_id == actor.user_id:
        leave_organisation(actor)
        return
    require(actor, "members:write", role="admin")
    with tenant_transaction(actor.org_id):
        members = _lock_members()
        leaving = _find(members, user_id)
        if leaving.role == Role.OWNER:
            require(actor, "members:write", role="owner")
        _end(actor, members, leaving, AuditAction.MEMBER_REMOVED)


def leave_organisation(actor: Actor) -> None:
    """End the acting person's own membership. Locks: all members. Raises: NotPermitted, ScopeMissing, LastOwner."""
    if actor.user_id is None or actor.kind == "agent":
        raise NotPermitted("Only people leave.")
    # A viewer may do nothing that writes, and may go all the same.
    require(actor, "members:read" if actor.scopes is None else "members:write")
    with tenant_transaction(actor.org_id):
        members = _lock_members()
        _end(actor, members, _find(members, actor.user_id), AuditAction.MEMBER_LEFT)


def _lock_members() -> list[Membership]:
    return list(Membership.objects.select_for_update(of=("self",)).select_related("user").order_by("id"))


def _find(members: list[Membership], user_id: uuid.UUID) -> Membership:
    for member in members:
        if member.user_id == user_id:
            return member
    raise Missing("There is no such member.")


def _require_another_owner(members: list[Membership], leaving: Membership, message: str) -> None:
    if [member for member in members if member.role == Role.OWNER] == [leaving]:
        raise LastOwner(message)


def _end(actor: Actor, members: list[Membership], leaving: Membership, action: AuditAction) -> None:
    _require_another_owner(
        members, leaving, "The last owner cannot leave. Make somebody else an owner first."
    )
    revoke_tokens_of(leaving.user_id)
    _revoke_invitations_of(leaving.user_id)
    record_audit(actor, action, subject_of(leaving.user), role=leaving.role)
    announce_change(MemberChanged, leaving, "deleted")
    leaving.delete()


def _revoke_invitations_of(user_id: uuid.UUID) -> None:
    pending = Invitation.objects.filter(invited_by_id=user_id, accepted_at=None, revoked_at=None)
    pending.update(revoked_at=now())
