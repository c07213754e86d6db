"""Organisations, people, their places in organisations, and API tokens."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import PermissionsMixin
from django.contrib.postgres.fields import ArrayField
from django.db import models

from services.domain.tenancy.models import TenantModel
from services.kit.clock import now
from services.kit.ids import uuid7


class Organisation(models.Model):
    """A tenant. Its own id is what row-level security compares."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    slug = models.SlugField(max_length=40, unique=True)
    name = models.CharField(max_length=120)
    created_at = models.DateTimeField(default=now, editable=False)
    suspended_at = models.DateTimeField(null=True, blank=True)
    deletion_due_at = models.DateTimeField(null=True, blank=True, editable=False)
    max_queued_tasks = models.PositiveIntegerField(default=10_000)
    max_running_tasks = models.PositiveIntegerField(default=100)
    max_idle_stop_s = models.PositiveIntegerField(default=86_400)
    max_archive_after_s = models.PositiveIntegerField(default=7_776_000)
    max_inbound_file_bytes = models.PositiveIntegerField(
        null=True,
        blank=True,
        help_text="How large a file from a chat may be; empty is the installation's limit.",
    )
    chat_keep_days = models.PositiveIntegerField(
        null=True,
        blank=True,
        help_text="For how many days what was said in chats is kept; 0 is for ever, empty is as for all.",
    )
    last_dispatched_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        db_table = "organisation"

    def __str__(self) -> str:
        return self.slug


class Accounts(BaseUserManager["User"]):
    """Creates global accounts; Django's commands call it."""

    def create_user(self, email: str, password: str | None = None, **fields: Any) -> User:
        user = self.model(email=self.normalize_email(email).lower(), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> User:
        return self.create_user(email, password, is_staff=True, is_superuser=True, **fields)


class User(AbstractBaseUser, PermissionsMixin):
    """A person's global account; one person may be a member of many organisations."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    email = models.EmailField(unique=True)
    display_name = models.CharField(max_length=120, blank=True)
    language = models.CharField(max_length=35, blank=True, db_default="", help_text="A tag such as pt-BR.")
    is_active = models.BooleanField(default=True)
    deletion_due_at = models.DateTimeField(null=True, blank=True, editable=False)
    is_staff = models.BooleanField(default=False, help_text="May open the operators' desk.")
    created_at = models.DateTimeField(default=now, editable=False)

    objects: ClassVar[Accounts] = Accounts()

    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"

    class Meta:
        db_table = "user_account"

    def __str__(self) -> str:
        return self.email

    @property
    def shown_name(self) -> str:
        """Return what others read of whose account it is."""
        return self.display_name or self.email


class Role(models.TextChoices):
    OWNER = "owner"
    ADMIN = "admin"
    MEMBER = "member"
    VIEWER = "viewer"


class Membership(TenantModel):
    """A person's place in an organisation."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=10, choices=Role.choices, default=Role.MEMBER)

    class Meta:
        db_table = "membership"
        constraints = [models.UniqueConstraint(fields=["org_id", "user"], name="membership_once")]


class Invitation(TenantModel):
    """An offer of a place, good once within seven days. Only its text's hash is kept.

    With an `email` it is for the account of that address and no other.
    """

    email = models.EmailField(blank=True)
    role = models.CharField(max_length=10, choices=Role.choices)
    token_hash = models.CharField(max_length=64, unique=True)
    invited_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    expires_at = models.DateTimeField()
    is_mailed = models.BooleanField(default=False)
    accepted_at = models.DateTimeField(null=True)
    accepted_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    revoked_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "invitation"
        constraints = [
            models.UniqueConstraint(
                fields=["org_id", "email"],
                name="invitation_pending_once",
                condition=models.Q(accepted_at=None, revoked_at=None) & ~models.Q(email=""),
            )
        ]


class ExportStatus(models.TextChoices):
    QUEUED = "queued"
    READY = "ready"


class OrganisationExport(TenantModel):
    """An archive of all that an organisation has, to be fetched until it expires. `key` is its place in storage."""

    requested_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    status = models.CharField(max_length=6, choices=ExportStatus.choices, default=ExportStatus.QUEUED)
    key = models.CharField(max_length=200, blank=True)
    size_bytes = models.BigIntegerField(null=True)
    finished_at = models.DateTimeField(null=True)
    expires_at = models.DateTimeField()

    class Meta:
        db_table = "organisation_export"


class TokenKind(models.TextChoices):
    """How a program shows that it holds a token: it sends it, or signs its requests with it (HMAC)."""

    BEARER = "bearer"
    SIGNING = "signing"


class ApiToken(TenantModel):
    """A scoped, expiring token of a member. Of a bearer token only the hash is kept, a signing key lies sealed.

    `agent_ids` None means all agents. After a rotation the text before it is good until `previous_until`.
    """

    kind = models.CharField(max_length=7, choices=TokenKind.choices, db_default=TokenKind.BEARER)
    agent_ids = ArrayField(models.UUIDField(), null=True)
    previous_hash = models.CharField(max_length=64, db_default="", blank=True)
    previous_until = models.DateTimeField(null=True)
    rotated_at = models.DateTimeField(null=True)
    sealed = models.BinaryField(null=True)
    key_id = models.CharField(max_length=40, db_default="", blank=True)
    previous_sealed = models.BinaryField(null=True)
    previous_key_id = models.CharField(max_length=40, db_default="", blank=True)

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+")
    name = models.CharField(max_length=80)
    hint = models.CharField(max_length=12, help_text="The first characters, to tell tokens apart.")
    token_hash = models.CharField(max_length=64, unique=True)
    scopes = ArrayField(models.CharField(max_length=60))
    expires_at = models.DateTimeField()
    last_used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "api_token"
        indexes = [
            models.Index(
                fields=["previous_hash"], name="api_token_before", condition=~models.Q(previous_hash="")
            )
        ]


class SignedNonce(models.Model):
    """A signed request that was taken: the same one again is refused. `digest` is of its key's id and its nonce."""

    digest = models.CharField(primary_key=True, max_length=64)
    expires_at = models.DateTimeField()

    class Meta:
        db_table = "signed_nonce"
        indexes = [models.Index(fields=["expires_at"], name="signed_nonce_old")]

    def __str__(self) -> str:
        return self.digest
