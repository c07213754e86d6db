"""The audit log: one row for each change of who may do what, and for each attempt to sign in."""

from __future__ import annotations

from django.db import models

from services.domain.tenancy.models import TenantModel


class AuditAction(models.TextChoices):
    """What happened, as `<what>.<past tense>`."""

    ORGANISATION_CREATED = "organisation.created"
    ORGANISATION_RENAMED = "organisation.renamed"
    ORGANISATION_SUSPENDED = "organisation.suspended"
    ORGANISATION_RESUMED = "organisation.resumed"
    ORGANISATION_EXPORTED = "organisation.exported"
    ORGANISATION_DELETION_PLANNED = "organisation.deletion_planned"
    ORGANISATION_DELETION_CANCELLED = "organisation.deletion_cancelled"
    MEMBER_ADDED = "member.added"
    MEMBER_ROLE_CHANGED = "member.role_changed"
    MEMBER_REMOVED = "member.removed"
    MEMBER_LEFT = "member.left"
    INVITATION_CREATED = "invitation.created"
    INVITATION_ACCEPTED = "invitation.accepted"
    INVITATION_REVOKED = "invitation.revoked"
    TOKEN_CREATED = "token.created"  # noqa: S105  # a word
    TOKEN_ROTATED = "token.rotated"  # noqa: S105
    TOKEN_REVOKED = "token.revoked"  # noqa: S105
    SIGN_IN_SUCCEEDED = "sign_in.succeeded"
    SIGN_IN_FAILED = "sign_in.failed"
    SIGNED_OUT = "session.ended"
    SESSION_REVOKED = "session.revoked"
    PASSWORD_CHANGED = "password.changed"  # noqa: S105
    FACTOR_ADDED = "factor.added"
    FACTOR_REMOVED = "factor.removed"
    RECOVERY_CODES_MADE = "recovery_codes.made"
    IDENTITY_LINKED = "identity.linked"
    IDENTITY_UNLINKED = "identity.unlinked"
    ACCOUNT_CLOSED = "account.closed"
    ACCOUNT_REOPENED = "account.reopened"
    ACCOUNT_DELETION_PLANNED = "account.deletion_planned"
    ACCOUNT_DELETION_CANCELLED = "account.deletion_cancelled"
    AGENT_ROLE_GIVEN = "agent_role.given"
    AGENT_ROLE_REMOVED = "agent_role.removed"
    SECRET_CREATED = "secret.created"  # noqa: S105
    SECRET_CHANGED = "secret.changed"  # noqa: S105
    SECRET_DELETED = "secret.deleted"  # noqa: S105
    ACCESS_CONNECTED = "integration.connected"
    ACCESS_CHANGED = "integration.changed"
    ACCESS_REMOVED = "integration.removed"
    MCP_SERVER_REGISTERED = "mcp_server.registered"
    MCP_SERVER_CHANGED = "mcp_server.changed"
    MCP_SERVER_REMOVED = "mcp_server.removed"
    MODEL_KEY_CREATED = "model_key.created"
    MODEL_KEY_CHANGED = "model_key.changed"
    MODEL_KEY_REMOVED = "model_key.removed"
    APPROVAL_RULE_CHANGED = "approval_rule.changed"
    APPROVAL_RULE_DELETED = "approval_rule.deleted"
    APP_CONNECTED = "app.connected"
    APP_DISCONNECTED = "app.disconnected"
    CLIENT_CREATED = "oauth_client.created"
    CLIENT_DELETED = "oauth_client.deleted"
    PLATFORM_ACCOUNT_LINKED = "platform_account.linked"
    PLATFORM_ACCOUNT_UNLINKED = "platform_account.unlinked"
    SENDER_DECIDED = "sender.decided"
    SENDER_FORGOTTEN = "sender.forgotten"


class AuditRecord(TenantModel):
    """One change or attempt. The database's roles may add and read rows, and neither change nor delete them.

    Plain ids and the names of that time, because what they name may be gone. `user_id` is the account that it is about
    or whose doing it was; `reason` is a code, for what was refused.
    """

    action = models.CharField(max_length=40, choices=AuditAction.choices)
    actor_kind = models.CharField(max_length=10)
    actor_id = models.UUIDField(null=True)
    actor_name = models.CharField(max_length=254, blank=True)
    token_id = models.UUIDField(null=True)
    user_id = models.UUIDField(null=True)
    subject_kind = models.CharField(max_length=30, blank=True)
    subject_id = models.CharField(max_length=80, blank=True)
    subject_name = models.CharField(max_length=254, blank=True)
    reason = models.CharField(max_length=60, blank=True)
    details = models.JSONField(default=dict)
    address = models.CharField(max_length=45, blank=True)
    device = models.CharField(max_length=300, blank=True)
    request_id = models.CharField(max_length=100, blank=True)

    class Meta:
        db_table = "audit_record"
        indexes = [
            models.Index(fields=["org_id", "-id"], name="audit_newest"),
            models.Index(fields=["org_id", "action", "-id"], name="audit_of_action"),
            models.Index(fields=["org_id", "user_id", "-id"], name="audit_of_person"),
            models.Index(fields=["org_id", "subject_id", "-id"], name="audit_of_subject"),
            models.Index(fields=["created_at"], name="audit_old"),
        ]
