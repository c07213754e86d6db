"""Registers the domain's models at the desk."""

from __future__ import annotations

import uuid
from typing import Any

from django.apps import apps
from django.contrib import admin
from django.db.models import Model, QuerySet
from django.http import HttpRequest

from services.api.admin_desk.base import DeskAdmin, button, shown
from services.api.admin_desk.hosts import HostAdmin, VolumeAdmin
from services.api.admin_desk.models import register as register_models
from services.domain.actors import Actor, system_actor
from services.domain.agents.models import Agent
from services.domain.chats.actions import retry_delivery
from services.domain.chats.models import Chat, Delivery, InboundMessage, Link, Wiring
from services.domain.events.models import Event
from services.domain.identity.actions import (
    all_tenants_resume_organisation,
    all_tenants_set_active,
    all_tenants_suspend_organisation,
)
from services.domain.identity.models import ApiToken, Membership, Organisation, User
from services.domain.outbox.dead import all_tenants_put_back
from services.domain.outbox.models import DeadJob, OutboxJob
from services.domain.plane.actions import all_tenants_order_stop
from services.domain.plane.models import Host, Sandbox, Volume
from services.domain.playbooks.models import Playbook, PlaybookRun
from services.domain.tasks.again import all_tenants_retry_task
from services.domain.tasks.models import Task, UsageRecord
from services.domain.tasks.submit import cancel_task
from services.domain.vault.models import Secret
from services.domain.workspaces.models import Workspace

LIMITS = ("name", "max_queued_tasks", "max_running_tasks", "max_inbound_file_bytes", "chat_keep_days")
TONES = {
    "succeeded": "success",
    "sent": "success",
    "running": "info",
    "starting": "info",
    "sending": "info",
    "busy": "info",
    "failed": "danger",
    "expired": "danger",
    "queued": "warning",
    "waiting": "warning",
}


# How people sign in is theirs: the desk shows neither factors nor sessions, and changes no address.
for _model in apps.get_models():
    if _model._meta.app_label in (
        "account",
        "mfa",
        "socialaccount",
        "usersessions",
    ) and admin.site.is_registered(_model):
        admin.site.unregister(_model)


def _actor(row: Any) -> Actor:
    """Return the platform as an actor of the row's organisation."""
    org_id: uuid.UUID = row.org_id
    return system_actor(org_id)


@admin.register(Organisation)
class OrganisationAdmin(DeskAdmin):
    """Limits can be typed; suspending is a button."""

    list_display = ("slug", "name", "max_queued_tasks", "max_running_tasks", "suspended_at", "created_at")
    list_filter = (("suspended_at", admin.EmptyFieldListFilter),)
    search_fields = ("slug", "name")
    actions = ("suspend", "resume")

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> list[str]:
        """Open the limits for typing."""
        return [name for name in self.get_fields(request, obj) if name not in LIMITS]

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Ask the account's own rights."""
        return bool(self.has_operate_permission(request))

    @button("Suspend")
    def suspend(self, request: HttpRequest, rows: QuerySet[Organisation]) -> None:
        """Suspend the chosen organisations."""
        self.run_each(request, rows, lambda row: all_tenants_suspend_organisation(row.pk), "Suspended")

    @button("Resume")
    def resume(self, request: HttpRequest, rows: QuerySet[Organisation]) -> None:
        """End the suspension of the chosen organisations."""
        self.run_each(request, rows, lambda row: all_tenants_resume_organisation(row.pk), "Resumed")


@admin.register(User)
class UserAdmin(DeskAdmin):
    """People; an account can be closed and opened again."""

    list_display = ("email", "display_name", "is_active", "is_staff", "last_login", "created_at")
    list_filter = ("is_active", "is_staff")
    search_fields = ("email", "display_name")
    actions = ("close", "reopen")

    @button("Close the accounts")
    def close(self, request: HttpRequest, rows: QuerySet[User]) -> None:
        """Close the chosen accounts, but not one's own."""
        others = rows.exclude(email=request.user.get_username())
        self.run_each(request, others, lambda row: all_tenants_set_active(row.pk, is_active=False), "Closed")

    @button("Open the accounts again")
    def reopen(self, request: HttpRequest, rows: QuerySet[User]) -> None:
        """Open the chosen accounts again."""
        self.run_each(request, rows, lambda row: all_tenants_set_active(row.pk, is_active=True), "Opened")


@admin.register(Task)
class TaskAdmin(DeskAdmin):
    """Tasks of all organisations, by state."""

    list_display = (
        "short_prompt",
        "state",
        "source",
        "org",
        "created_at",
        "started_at",
        "finished_at",
        "attempt",
    )
    list_filter = ("status", "source", "mode")
    search_fields = ("id", "org_id", "workspace__id", "error_code")
    actions = ("cancel", "retry")

    @shown("Prompt")
    def short_prompt(self, row: Task) -> str:
        """Show how the prompt begins."""
        return " ".join(row.prompt.split())[:60] or "(empty)"

    @shown("State", ordering="status", label=TONES)
    def state(self, row: Task) -> str:
        """Show the state as a label."""
        return row.status

    @button("Cancel")
    def cancel(self, request: HttpRequest, rows: QuerySet[Task]) -> None:
        """Cancel the chosen tasks."""
        self.run_each(request, rows, lambda row: cancel_task(_actor(row), row.pk), "Cancelled")

    @button("Retry as new task")
    def retry(self, request: HttpRequest, rows: QuerySet[Task]) -> None:
        """Submit the chosen tasks once more."""
        self.run_each(request, rows, lambda row: all_tenants_retry_task(row.pk), "Submitted again")


@admin.register(Sandbox)
class SandboxAdmin(DeskAdmin):
    """Sandboxes of all hosts."""

    using = "plane"
    list_display = ("id", "label", "host_id", "org", "link_until", "state_at", "error")
    list_filter = ("state",)
    search_fields = ("id", "org_id", "workspace_id", "task_id", "host__name")
    actions = ("stop",)

    @shown("State", ordering="state", label=TONES)
    def label(self, row: Sandbox) -> str:
        """Show the state as a label."""
        return row.state

    @button("Stop")
    def stop(self, request: HttpRequest, rows: QuerySet[Sandbox]) -> None:
        """Have the chosen sandboxes destroyed by their hosts."""
        self.run_each(request, rows, lambda row: all_tenants_order_stop(row.pk), "Ordered to stop")


@admin.register(Delivery)
class DeliveryAdmin(DeskAdmin):
    """Parts of answers on their way."""

    list_display = ("id", "state", "org", "attempts", "error", "created_at", "sent_at")
    list_filter = ("status",)
    search_fields = ("id", "org_id", "batch", "error")
    actions = ("send_again",)

    @shown("State", ordering="status", label=TONES)
    def state(self, row: Delivery) -> str:
        """Show the state as a label."""
        return row.status

    @button("Send again")
    def send_again(self, request: HttpRequest, rows: QuerySet[Delivery]) -> None:
        """Send the chosen failed deliveries again."""
        self.run_each(request, rows, lambda row: retry_delivery(_actor(row), row.pk), "Queued again")


@admin.register(OutboxJob)
class OutboxJobAdmin(DeskAdmin):
    """Jobs that wait for the relay."""

    list_display = ("id", "type", "queue", "org", "attempt", "not_before", "created_at")
    list_filter = ("type",)
    search_fields = ("org_id", "type", "queue")


@admin.register(DeadJob)
class DeadJobAdmin(DeskAdmin):
    """Jobs that failed for good, with the reason."""

    list_display = ("id", "type", "queue", "org", "attempt", "last_line", "died_at", "retried_at")
    list_filter = ("type", ("retried_at", admin.EmptyFieldListFilter))
    search_fields = ("org_id", "type", "error")
    actions = ("put_back",)

    @shown("Error")
    def last_line(self, row: DeadJob) -> str:
        """Show the last line of the error."""
        return (row.error.strip().splitlines() or [""])[-1][:120]

    @button("Put back")
    def put_back(self, request: HttpRequest, rows: QuerySet[DeadJob]) -> None:
        """Give the chosen jobs a fresh start."""
        self.run_each(request, rows, lambda row: all_tenants_put_back(row.pk), "Put back")


@admin.register(Agent)
class AgentAdmin(DeskAdmin):
    """Agents of all organisations."""

    list_display = ("name", "provider", "model", "org", "archived_at", "created_at")
    list_filter = ("provider", ("archived_at", admin.EmptyFieldListFilter))
    search_fields = ("id", "org_id", "name", "slug")


@admin.register(Workspace)
class WorkspaceAdmin(DeskAdmin):
    """Workspaces of all organisations."""

    list_display = ("id", "name", "source", "sandbox_state", "turn_count", "org", "last_active_at")
    list_filter = ("source", "sandbox_state", "is_persistent")
    search_fields = ("id", "org_id", "name")


@admin.register(Playbook)
class PlaybookAdmin(DeskAdmin):
    """Playbooks of all organisations."""

    list_display = ("name", "cron", "timezone", "is_enabled", "next_run_at", "org")
    list_filter = ("is_enabled",)
    search_fields = ("id", "org_id", "name")


@admin.register(Link)
class LinkAdmin(DeskAdmin):
    """Bots of all organisations; their configuration is sealed."""

    list_display = ("name", "kind", "status", "platform_identity", "last_error", "unknown_updates", "org")
    list_filter = ("kind", "status")
    search_fields = ("id", "org_id", "name", "platform_identity")


@admin.register(Secret)
class SecretAdmin(DeskAdmin):
    """Names of secrets; their values are sealed."""

    list_display = ("name", "org", "mode", "version", "expires_at", "updated_at", "last_used_at")
    list_filter = ("mode",)
    search_fields = ("org_id", "name")


@admin.register(ApiToken)
class ApiTokenAdmin(DeskAdmin):
    """API tokens, of which only a hash is kept."""

    list_display = ("name", "hint", "user", "org", "expires_at", "last_used_at", "revoked_at")
    list_select_related = ("user",)
    search_fields = ("org_id", "name", "user__email")


@admin.register(Membership)
class MembershipAdmin(DeskAdmin):
    """Who is a member of what."""

    list_display = ("user", "role", "org", "created_at")
    list_select_related = ("user",)
    list_filter = ("role",)
    search_fields = ("org_id", "user__email")


@admin.register(Event)
class EventAdmin(DeskAdmin):
    """Durable events, for reading only."""

    list_display = ("id", "type", "stream", "seq", "task_id", "turn", "at")
    list_filter = ("type",)
    search_fields = ("stream", "task_id", "org_id")


@admin.register(UsageRecord)
class UsageRecordAdmin(DeskAdmin):
    """What model calls used."""

    list_display = (
        "id",
        "kind",
        "model",
        "input_tokens",
        "output_tokens",
        "cost_microusd",
        "org",
        "created_at",
    )
    list_filter = ("kind", "model")
    search_fields = ("org_id", "task__id")


@admin.register(Chat, Wiring, InboundMessage, PlaybookRun)
class RecordAdmin(DeskAdmin):
    """Rows that are looked up now and then."""

    list_display = ("id", "org", "created_at")
    search_fields = ("id", "org_id")


admin.site.register(Host, HostAdmin)
admin.site.register(Volume, VolumeAdmin)
register_models()
admin.site.index_template = "admin_desk/index.html"
