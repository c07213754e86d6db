"""People who come by an organisation's own identity provider."""

from __future__ import annotations

from django.db import transaction

from services.domain.actors import system_actor
from services.domain.audit.models import AuditAction
from services.domain.audit.recording import record_audit
from services.domain.events.announcing import all_tenants_announce_change
from services.domain.events.listed import MemberChanged
from services.domain.identity.members import subject_of
from services.domain.identity.models import Membership, Organisation, User


def all_tenants_join_by_provider(user: User, slug: str, role: str, *, provider: str) -> bool:
    """Make a new account a member of the organisation that an operator has tied to a provider; say whether it was.

    Nothing happens when the organisation is gone or suspended.
    """
    with transaction.atomic(using="operator"):
        found = Organisation.objects.using("operator").filter(
            slug=slug, suspended_at=None, deletion_due_at=None
        )
        organisation = found.first()
        if organisation is None:
            return False
        members = Membership.objects.using("operator")
        member, is_new = members.get_or_create(
            org_id=organisation.id, user_id=user.pk, defaults={"role": role}
        )
        if is_new:
            record_audit(
                system_actor(organisation.id),
                AuditAction.MEMBER_ADDED,
                subject_of(user),
                using="operator",
                role=role,
                provider=provider,
            )
            all_tenants_announce_change(organisation.id, MemberChanged, member, "created")
        return is_new
