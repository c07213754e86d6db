"""Secrets: their sealed versions, who may have them, what stands for them in a sandbox, and who had them when."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from services.domain.identity.models import User
from services.domain.tasks.models import Task
from services.domain.tenancy.models import TenantModel
from services.kit.clock import now


class SecretMode(models.TextChoices):
    """How a secret is used: it stands in the environment, or the egress proxy puts it into requests."""

    ENV = "env"
    BROKERED = "brokered"


class SecretApproval(models.TextChoices):
    """How often a person is asked before a brokered secret is used."""

    NEVER = "never"
    FIRST_USE = "first_use"
    EACH_USE = "each_use"


class Secret(TenantModel):
    """A named value. With an `owner` it is for that person's work only; without, it is the organisation's.

    `agent_ids` None means all agents: the owner's, or the organisation's. `version` is the number of the value in
    use, `last_version` the highest that was ever given. `trusted_agent_ids` are not asked about any more.
    """

    owner = models.ForeignKey(User, on_delete=models.CASCADE, null=True, blank=True, related_name="+")
    name = models.CharField(max_length=80)
    description = models.CharField(max_length=300, blank=True)
    mode = models.CharField(max_length=10, choices=SecretMode.choices, default=SecretMode.ENV)
    bindings = models.JSONField(default=list, blank=True)
    approval = models.CharField(max_length=10, choices=SecretApproval.choices, default=SecretApproval.NEVER)
    agent_ids = ArrayField(models.UUIDField(), null=True, blank=True)
    trusted_agent_ids = ArrayField(models.UUIDField(), default=list, blank=True)
    version = models.PositiveIntegerField(default=1)
    last_version = models.PositiveIntegerField(default=1)
    expires_at = models.DateTimeField(null=True, blank=True)
    noticed_at = models.DateTimeField(null=True, blank=True, editable=False)
    created_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    updated_at = models.DateTimeField(default=now)
    last_used_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "secret"
        constraints = [
            models.UniqueConstraint(
                fields=["org_id", "owner", "name"], name="secret_name_once", nulls_distinct=False
            )
        ]
        indexes = [models.Index(fields=["expires_at"], name="secret_expiring", condition=~Q(expires_at=None))]

    def __str__(self) -> str:
        return self.name


class SecretVersion(TenantModel):
    """One sealed value. `retired_at` is None for the one in use."""

    secret = models.ForeignKey(Secret, on_delete=models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField()
    sealed = models.BinaryField()
    key_id = models.CharField(max_length=40)
    created_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    retired_at = models.DateTimeField(null=True)
    last_used_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "secret_version"
        constraints = [models.UniqueConstraint(fields=["secret", "number"], name="secret_version_once")]
        indexes = [
            models.Index(fields=["retired_at"], name="secret_version_old", condition=~Q(retired_at=None))
        ]


class SecretPlaceholder(TenantModel):
    """The worthless text that stands for a brokered secret in the sandbox of one task."""

    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="+")
    secret = models.ForeignKey(Secret, on_delete=models.CASCADE, related_name="+")
    text = models.CharField(max_length=60)

    class Meta:
        db_table = "secret_placeholder"
        constraints = [models.UniqueConstraint(fields=["task", "secret"], name="secret_placeholder_once")]


class CredentialKind(models.TextChoices):
    """What kind of credential was used: each is a row that keeps something sealed."""

    SECRET = "secret"  # noqa: S105  # a word
    MCP_SERVER = "mcp_server"
    ACCOUNT = "account"
    MODEL_KEY = "model_key"


class AccessWay(models.TextChoices):
    """How a value was handed out.

    `env`: into a turn's environment. `egress`: into a request of the agent's, by the proxy. `upstream`: into a call
    that the gateway makes to an MCP server or an account's provider. `model`: into a call of a model. `check`: a person
    had the credential tried, `revoke`: ended it at its provider.
    """

    ENV = "env"
    EGRESS = "egress"
    UPSTREAM = "upstream"
    MODEL = "model"
    CHECK = "check"
    REVOKE = "revoke"


class CredentialAccess(TenantModel):
    """Uses of one credential, `count` of them between two moments. Append-only, and kept when the credential is gone.

    Plain ids, because what they name may be deleted while the log may not. `version` is a secret's; the others have
    none. `approval_id` is the approval that this one use has used up.
    """

    credential_kind = models.CharField(max_length=12, choices=CredentialKind.choices)
    credential_id = models.UUIDField()
    credential_name = models.CharField(max_length=80)
    version = models.PositiveIntegerField(null=True)
    way = models.CharField(max_length=10, choices=AccessWay.choices)
    user_id = models.UUIDField(null=True)
    agent_id = models.UUIDField(null=True)
    workspace_id = models.UUIDField(null=True)
    task_id = models.UUIDField(null=True)
    host = models.CharField(max_length=255, blank=True)
    method = models.CharField(max_length=20, blank=True)
    path = models.CharField(max_length=200, blank=True)
    count = models.PositiveIntegerField(default=1)
    first_at = models.DateTimeField()
    last_at = models.DateTimeField()
    approval_id = models.UUIDField(null=True)

    class Meta:
        db_table = "credential_access"
        constraints = [
            models.UniqueConstraint(
                fields=["org_id", "approval_id"],
                name="secret_approval_spent_once",
                condition=~Q(approval_id=None),
            )
        ]
        indexes = [
            models.Index(fields=["org_id", "credential_id", "-id"], name="credential_access_of_one"),
            models.Index(fields=["created_at"], name="credential_access_old"),
        ]
