"""Organisations: their names, their beginning, what operators and owners decide about them."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass

from django.db import IntegrityError, transaction

from services.domain.actors import Actor, require, system_actor
from services.domain.audit.models import AuditAction
from services.domain.audit.recording import Subject, all_tenants_record_of_account, record_audit
from services.domain.errors import Invalid, Limited, NameTaken, NotPermitted
from services.domain.identity.models import Membership, Organisation, Role, User
from services.domain.identity.queries import all_tenants_organisations_of
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now
from services.kit.environment import environment
from services.kit.redisbus import nudge

MAX_OWNED = 20
_SLUG = re.compile(r"[a-z0-9](?:[a-z0-9]|-(?!-)){1,38}[a-z0-9]")
# Names under which people would look for the platform itself.
_RESERVED = frozenset(
    {
        "about", "account", "accounts", "admin", "api", "app", "auth", "billing", "blog", "control", "dashboard",
        "docs", "help", "hooks", "internal", "join", "login", "mail", "oauth", "operator", "organisation",
        "organisations", "security", "settings", "sign-in", "sign-up", "slipway", "static", "status", "support",
        "system", "www",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class NameCheck:
    """Whether a short name can be had; `reason` says why not: `malformed`, `reserved` or `taken`."""

    slug: str
    is_available: bool
    reason: str = ""
    suggestion: str = ""


def all_tenants_check_name(slug: str) -> NameCheck:
    """Say whether an organisation could have a short name, and name one that it could have otherwise."""
    reason = _problem_of(slug) or ("taken" if _is_taken(slug) else "")
    if not reason:
        return NameCheck(slug, is_available=True)
    stem = re.sub(r"[^a-z0-9]+", "-", slug.lower()).strip("-")[:34] or "team"
    candidates = [stem, *(f"{stem}-{number}" for number in range(2, 100))]
    free = (name for name in candidates if not _problem_of(name) and not _is_taken(name))
    return NameCheck(slug, is_available=False, reason=reason, suggestion=next(free, ""))


def may_create_organisations(user: User) -> bool:
    """Say whether a person may make organisations: anybody where sign-up is open, else operators."""
    return environment().sign_up == "open" or user.is_staff


def all_tenants_open_organisation(user: User, *, slug: str, name: str) -> Organisation:
    """Make an organisation of a person's own. Raises: NotPermitted, Invalid, NameTaken, Limited."""
    if not may_create_organisations(user):
        raise NotPermitted("Organisations are made by this installation's operators.")
    problem = _problem_of(slug)
    if problem:
        reason = (
            "reserved" if problem == "reserved" else "3 to 40 lowercase letters, digits and single hyphens"
        )
        raise Invalid("The short name cannot be used.", fields={"slug": reason})
    if not name.strip() or len(name) > 120:
        raise Invalid("The name cannot be used.", fields={"name": "1 to 120 characters"})
    owned = [role for _, role in all_tenants_organisations_of(user) if role == Role.OWNER]
    if len(owned) >= MAX_OWNED:
        raise Limited(f"One person owns at most {MAX_OWNED} organisations.")
    return all_tenants_create_organisation(slug=slug, name=name.strip(), owner=user)


def all_tenants_create_organisation(*, slug: str, name: str, owner: User) -> Organisation:
    """Create a tenant and its first owner. Raises: NameTaken."""
    with transaction.atomic(using="operator"):
        organisation, is_new = Organisation.objects.using("operator").get_or_create(
            slug=slug, defaults={"name": name}
        )
        if not is_new:
            raise NameTaken("An organisation with this name exists.", fields={"slug": "taken"})
        Membership.objects.using("operator").create(org_id=organisation.id, user_id=owner.pk, role=Role.OWNER)
        all_tenants_record_of_account(
            owner.pk, owner.email, [organisation.id], AuditAction.ORGANISATION_CREATED, slug=slug, name=name
        )
    return organisation


def rename_organisation(actor: Actor, changes: dict[str, str]) -> Organisation:
    """Change an organisation's name or short name. Raises: RoleMissing, Invalid, NameTaken."""
    require(actor, "members:write", role="owner")
    with tenant_transaction(actor.org_id):
        row = Organisation.objects.select_for_update().get(id=actor.org_id)
        before = {"slug": row.slug, "name": row.name}
        row.slug, row.name = changes.get("slug", row.slug), changes.get("name", row.name).strip()
        if row.slug != before["slug"] and _problem_of(row.slug):
            raise Invalid("The short name cannot be used.", fields={"slug": _problem_of(row.slug)})
        if not row.name:
            raise Invalid("The name cannot be used.", fields={"name": "empty"})
        after = {"slug": row.slug, "name": row.name}
        if after == before:
            return row
        try:
            with transaction.atomic():
                row.save(update_fields=["slug", "name"])
        except IntegrityError as error:
            raise NameTaken("An organisation with this name exists.", fields={"slug": "taken"}) from error
        record_audit(actor, AuditAction.ORGANISATION_RENAMED, subject_of(row), before=before, after=after)
        return row


def all_tenants_suspend_organisation(org_id: uuid.UUID) -> None:
    """Suspend an organisation: its tokens and sessions open nothing, its queue stands still. Twice is fine."""
    with transaction.atomic(using="operator"):
        rows = Organisation.objects.using("operator").filter(id=org_id, suspended_at=None)
        if rows.update(suspended_at=now()):
            _record_decision(org_id, AuditAction.ORGANISATION_SUSPENDED)
        # Gateways remember whose token was good: they are to look again.
        transaction.on_commit(lambda: nudge("tokens", "all"), using="operator", robust=True)
        transaction.on_commit(lambda: nudge("access"), using="operator", robust=True)


def all_tenants_resume_organisation(org_id: uuid.UUID) -> None:
    """End a suspension. Twice is fine."""
    with transaction.atomic(using="operator"):
        rows = Organisation.objects.using("operator").filter(id=org_id).exclude(suspended_at=None)
        if rows.update(suspended_at=None):
            _record_decision(org_id, AuditAction.ORGANISATION_RESUMED)


def all_tenants_set_active(user_id: uuid.UUID, *, is_active: bool) -> None:
    """Close a person's account everywhere, or open it again."""
    action = AuditAction.ACCOUNT_REOPENED if is_active else AuditAction.ACCOUNT_CLOSED
    with transaction.atomic(using="operator"):
        rows = User.objects.using("operator").filter(pk=user_id).exclude(is_active=is_active)
        if not rows.update(is_active=is_active):
            return
        person = User.objects.using("operator").get(pk=user_id)
        orgs = Membership.objects.using("operator").filter(user_id=user_id).values_list("org_id", flat=True)
        subject = Subject("account", user_id, person.email, user_id)
        for org_id in orgs:
            record_audit(system_actor(org_id), action, subject, using="operator")


def subject_of(organisation: Organisation) -> Subject:
    """Return an organisation as what a record is about."""
    return Subject("organisation", organisation.id, organisation.name)


def _record_decision(org_id: uuid.UUID, action: AuditAction) -> None:
    row = Organisation.objects.using("operator").get(id=org_id)
    record_audit(system_actor(org_id), action, subject_of(row), using="operator")


def _problem_of(slug: str) -> str:
    if _SLUG.fullmatch(slug) is None:
        return "malformed"
    return "reserved" if slug in _RESERVED else ""


def _is_taken(slug: str) -> bool:
    return Organisation.objects.using("operator").filter(slug=slug).exists()
