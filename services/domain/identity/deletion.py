"""Deleting organisations and accounts: planned, undone within a grace, then done for good."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from datetime import timedelta

from django.db import connections, transaction

from services.domain.actors import Actor, require, system_actor
from services.domain.audit.models import AuditAction
from services.domain.audit.queries import all_tenants_forget_audit_of
from services.domain.audit.recording import Subject, record_audit
from services.domain.errors import LastOwner, SlipwayError
from services.domain.events.announcing import all_tenants_announce_change
from services.domain.events.listed import MemberChanged
from services.domain.identity.accounts import all_tenants_record_account
from services.domain.identity.exports import tenant_models
from services.domain.identity.models import ApiToken, Membership, Organisation, Role, User
from services.domain.identity.organisations import all_tenants_suspend_organisation, subject_of
from services.domain.tasks.models import Task
from services.domain.tasks.submit import cancel_task
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.workspaces.actions import delete_workspace
from services.domain.workspaces.models import Workspace
from services.kit.clock import now
from services.kit.environment import environment

log = logging.getLogger(__name__)

# What opens an account, in tables of the library that signs people in; only the api has its models.
_WAYS_IN = (
    "mfa_authenticator",
    "socialaccount_socialaccount",
    "usersessions_usersession",
    "account_emailaddress",
)


def plan_deletion(actor: Actor) -> Organisation:
    """Have the organisation deleted after the grace; it goes on until then. Owners only. Raises: RoleMissing."""
    require(actor, "members:write", role="owner")
    with tenant_transaction(actor.org_id):
        row = Organisation.objects.select_for_update().get(id=actor.org_id)
        if row.deletion_due_at is None:
            row.deletion_due_at = now() + _grace()
            row.save(update_fields=["deletion_due_at"])
            due = row.deletion_due_at.isoformat()
            record_audit(actor, AuditAction.ORGANISATION_DELETION_PLANNED, subject_of(row), due_at=due)
        return row


def cancel_deletion(actor: Actor) -> Organisation:
    """Keep the organisation after all. Twice is fine. Raises: RoleMissing."""
    require(actor, "members:write", role="owner")
    with tenant_transaction(actor.org_id):
        row = Organisation.objects.select_for_update().get(id=actor.org_id)
        if row.deletion_due_at is not None:
            row.deletion_due_at = None
            row.save(update_fields=["deletion_due_at"])
            record_audit(actor, AuditAction.ORGANISATION_DELETION_CANCELLED, subject_of(row))
        return row


def all_tenants_delete_due_organisations() -> int:
    """Delete the organisations whose grace is over, as far as their work has stopped; returns how many are gone."""
    due = (
        Organisation.objects.using("operator").filter(deletion_due_at__lte=now()).values_list("id", flat=True)
    )
    return sum(_delete(org_id) for org_id in due)


def _delete(org_id: uuid.UUID) -> bool:
    """Stop and remove an organisation's workspaces, then every row; False when work has yet to end."""
    all_tenants_suspend_organisation(org_id)
    actor = system_actor(org_id)
    for task_id in (
        Task.objects.using("operator").filter(org_id=org_id, finished_at=None).values_list("id", flat=True)
    ):
        _try(cancel_task, actor, task_id)
    workspaces = Workspace.objects.using("operator").filter(org_id=org_id)
    for workspace_id in workspaces.values_list("id", flat=True):
        _try(delete_workspace, actor, workspace_id)
    if workspaces.exists():
        return False
    with transaction.atomic(using="operator"), connections["operator"].cursor() as cursor:
        # References within the organisation are checked at the end, when both sides are gone.
        cursor.execute("SET LOCAL statement_timeout = 0")
        cursor.execute("SET CONSTRAINTS ALL DEFERRED")
        all_tenants_forget_audit_of(org_id)
        for model in tenant_models():
            if model._meta.db_table != "audit_record":
                quoted = connections["operator"].ops.quote_name(model._meta.db_table)
                cursor.execute(f"DELETE FROM {quoted} WHERE org_id = %s", [org_id])  # noqa: S608  # our own names
        cursor.execute("DELETE FROM organisation WHERE id = %s", [org_id])
    return True


def all_tenants_plan_account_deletion(user: User) -> User:
    """Have a person's account deleted after the grace; signing in meanwhile is possible, and undoing it.

    Raises: LastOwner while they are the only owner of an organisation.
    """
    _refuse_last_owner(user)
    if user.deletion_due_at is None:
        user.deletion_due_at = now() + _grace()
        user.save(using="operator", update_fields=["deletion_due_at"])
        all_tenants_record_account(user, AuditAction.ACCOUNT_DELETION_PLANNED)
    return user


def all_tenants_cancel_account_deletion(user: User) -> User:
    """Keep an account after all. Twice is fine."""
    if user.deletion_due_at is not None:
        user.deletion_due_at = None
        user.save(using="operator", update_fields=["deletion_due_at"])
        all_tenants_record_account(user, AuditAction.ACCOUNT_DELETION_CANCELLED)
    return user


def all_tenants_delete_due_accounts() -> int:
    """Delete the accounts whose grace is over: their places, tokens, ways in, address and name go.

    The row stays without any of that, as work and records of others point at it. Returns how many.
    """
    due = User.objects.using("operator").filter(deletion_due_at__lte=now())
    return sum(_delete_account(user) for user in due)


def _delete_account(user: User) -> bool:
    with transaction.atomic(using="operator"):
        try:
            _refuse_last_owner(user)
        except LastOwner:
            return False
        for member in Membership.objects.using("operator").select_related("user").filter(user_id=user.pk):
            all_tenants_announce_change(member.org_id, MemberChanged, member, "deleted")
            record_audit(
                system_actor(member.org_id),
                AuditAction.MEMBER_REMOVED,
                Subject("member", user.pk, "a deleted account", user.pk),
                using="operator",
                role=member.role,
            )
            member.delete(using="operator")
        ApiToken.objects.using("operator").filter(user_id=user.pk, revoked_at=None).update(revoked_at=now())
        with connections["operator"].cursor() as cursor:
            for table in _WAYS_IN:
                cursor.execute(f"DELETE FROM {table} WHERE user_id = %s", [user.pk])  # noqa: S608  # our own names
        user.email, user.display_name, user.language = f"deleted-{user.pk}@invalid", "", ""
        user.is_active, user.is_staff, user.is_superuser, user.deletion_due_at = False, False, False, None
        user.set_unusable_password()
        user.save(using="operator")
    return True


def _refuse_last_owner(user: User) -> None:
    owned = Membership.objects.using("operator").filter(user_id=user.pk, role=Role.OWNER)
    for org_id in owned.values_list("org_id", flat=True):
        others = (
            Membership.objects.using("operator")
            .filter(org_id=org_id, role=Role.OWNER)
            .exclude(user_id=user.pk)
        )
        if not others.exists():
            raise LastOwner(
                "You are the only owner of an organisation. Make somebody else an owner, or delete it first."
            )


def _try(action: Callable[[Actor, uuid.UUID], object], actor: Actor, target: uuid.UUID) -> None:
    """Do it, if it can be done now; the next round tries again."""
    try:
        action(actor, target)
    except SlipwayError as error:
        log.info("%s of %s waits: %s", action.__name__, target, error.code)


def _grace() -> timedelta:
    return timedelta(days=environment().deletion_grace_days)
