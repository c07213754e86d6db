"""Invitations: good once, for seven days, mailed where there is a mail server and else shown once to who invites."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import timedelta

from django.db import transaction
from django.db.models import QuerySet

from services.domain.actors import Actor, require
from services.domain.audit.models import AuditAction
from services.domain.audit.recording import Subject, all_tenants_record_of_account, record_audit
from services.domain.errors import (
    AlreadyMember,
    Invalid,
    InvitationMissing,
    Missing,
    NotPermitted,
    QueueFull,
)
from services.domain.events.announcing import all_tenants_announce_change
from services.domain.events.listed import MemberChanged
from services.domain.identity.members import require_givable
from services.domain.identity.models import Invitation, Membership, Organisation, User
from services.domain.letters.posting import can_send, post_letter
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now
from services.kit.environment import environment
from services.kit.letters import is_address
from services.kit.tokens import INVITATION_PREFIX, hash_token, make_token

INVITATION_LIFE = timedelta(days=7)
MAX_PENDING = 200
JOIN_PATH = "/join/"


@dataclass(frozen=True, slots=True)
class Offer:
    """What an invitation offers, for whoever holds its text."""

    organisation: Organisation
    email: str
    role: str
    invited_by: str


def invite(actor: Actor, *, email: str, role: str) -> tuple[Invitation, str | None]:
    """Offer a place, and return the invitation with its text; None when it is on its way by mail instead.

    An older one for the same address is revoked. Locks: the pending ones. Queues: SendLetter.
    Raises: RoleMissing, Invalid, AlreadyMember, QueueFull.
    """
    require(actor, "members:write", role="admin")
    require_givable(actor, role)
    address = email.strip().lower()
    if address and (not is_address(address) or "<" in address):
        raise Invalid("This is no e-mail address.", fields={"email": "not an address"})
    text = make_token(INVITATION_PREFIX)
    with tenant_transaction(actor.org_id):
        pending = list(pending_invitations().select_for_update(of=("self",)))
        if address and Membership.objects.filter(user__email=address).exists():
            raise AlreadyMember("This person is a member already.", fields={"email": "a member already"})
        for older in pending:
            if address and older.email == address:
                _revoke(actor, older)
        if len(pending) >= MAX_PENDING:
            raise QueueFull("Too many invitations are open. Revoke some first.")
        # One that has run out unaccepted would stand in the way of a new one.
        Invitation.objects.filter(email=address, accepted_at=None, revoked_at=None).exclude(email="").update(
            revoked_at=now()
        )
        row = Invitation.objects.create(
            org_id=actor.org_id,
            email=address,
            role=role,
            token_hash=hash_token(text),
            invited_by_id=actor.user_id,
            expires_at=now() + INVITATION_LIFE,
            is_mailed=bool(address) and can_send(),
        )
        record_audit(
            actor, AuditAction.INVITATION_CREATED, _subject_of(row), role=role, is_mailed=row.is_mailed
        )
        if row.is_mailed:
            post_letter(address, *_letter(Organisation.objects.get(id=actor.org_id), row, text))
    return row, None if row.is_mailed else text


def pending_invitations() -> QuerySet[Invitation]:
    """Return the invitations that can still be accepted; of a tenant, in its transaction."""
    return Invitation.objects.filter(accepted_at=None, revoked_at=None, expires_at__gt=now())


def list_invitations(actor: Actor) -> QuerySet[Invitation]:
    """Return the pending invitations, for admins, in the tenant's transaction. Raises: RoleMissing."""
    require(actor, "members:read", role="admin")
    return pending_invitations().select_related("invited_by")


def revoke_invitation(actor: Actor, invitation_id: uuid.UUID) -> None:
    """Take an offer back. Raises: RoleMissing, Missing."""
    require(actor, "members:write", role="admin")
    with tenant_transaction(actor.org_id):
        row = pending_invitations().select_for_update(of=("self",)).filter(id=invitation_id).first()
        if row is None:
            raise Missing("There is no such invitation.")
        _revoke(actor, row)


def all_tenants_find_offer(text: str) -> Offer:
    """Return what an invitation offers. Raises: InvitationMissing, alike for unknown, used, revoked and old ones."""
    row = _open_row(text, is_locking=False)
    inviter = User.objects.using("operator").filter(id__in=[row.invited_by_id]).first()
    return Offer(_organisation_of(row), row.email, row.role, inviter.shown_name if inviter else "")


def all_tenants_accept_invitation(user: User, text: str) -> Organisation:
    """Make a person a member by an invitation, which is then used up. Locks: the invitation.

    Raises: InvitationMissing, AlreadyMember, NotPermitted for another person's.
    """
    with transaction.atomic(using="operator"):
        row = _open_row(text, is_locking=True)
        organisation = _organisation_of(row)
        if row.email and row.email != user.email:
            raise NotPermitted("This invitation is for another e-mail address. Sign in with that account.")
        members = Membership.objects.using("operator")
        member, is_new = members.get_or_create(
            org_id=row.org_id, user_id=user.pk, defaults={"role": row.role}
        )
        if not is_new:
            raise AlreadyMember("You are a member already.")
        all_tenants_announce_change(row.org_id, MemberChanged, member, "created")
        row.accepted_at, row.accepted_by_id = now(), user.pk
        row.save(using="operator", update_fields=["accepted_at", "accepted_by"])
        all_tenants_record_of_account(
            user.pk,
            user.email,
            [row.org_id],
            AuditAction.INVITATION_ACCEPTED,
            role=row.role,
            invitation=str(row.id),
            invited_by=str(row.invited_by_id),
        )
    return organisation


def _open_row(text: str, *, is_locking: bool) -> Invitation:
    rows = Invitation.objects.using("operator")
    if is_locking:
        rows = rows.select_for_update()
    row = rows.filter(
        token_hash=hash_token(text), accepted_at=None, revoked_at=None, expires_at__gt=now()
    ).first()
    if row is None:
        raise InvitationMissing("This invitation is unknown, used, revoked or too old. Ask for a new one.")
    return row


def _organisation_of(row: Invitation) -> Organisation:
    found = Organisation.objects.using("operator").filter(
        id=row.org_id, suspended_at=None, deletion_due_at=None
    )
    organisation = found.first()
    if organisation is None:
        raise InvitationMissing("This invitation is unknown, used, revoked or too old. Ask for a new one.")
    return organisation


def _revoke(actor: Actor, row: Invitation) -> None:
    row.revoked_at = now()
    row.save(update_fields=["revoked_at"])
    record_audit(actor, AuditAction.INVITATION_REVOKED, _subject_of(row))


def _subject_of(row: Invitation) -> Subject:
    return Subject("invitation", row.id, row.email or "by link")


def join_address(text: str) -> str:
    """Return the page at which an invitation is accepted."""
    return f"{environment().public_url.rstrip('/')}{JOIN_PATH}{text}"


def _letter(organisation: Organisation, row: Invitation, text: str) -> tuple[str, str]:
    name = " ".join(organisation.name.split())
    body = (
        f"You are invited to join {name} on Slipway, as {row.role}.\n\n"
        f"Accept within seven days:\n{join_address(text)}\n\n"
        "The link works once. If you did not expect this, ignore it: nothing happens without you.\n"
    )
    return f"Join {name} on Slipway", body
