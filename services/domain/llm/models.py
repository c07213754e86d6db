"""The rules of an organisation for models, its keys, its budgets, its call logs; the platform's bounds and prices."""

from __future__ import annotations

from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.db import models

from services.domain.identity.models import User
from services.domain.tasks.models import Task
from services.domain.tenancy.models import TenantModel
from services.kit.clock import now
from services.kit.ids import uuid7

MAX_MODEL_CHARS = 100


class LlmVendor(models.TextChoices):
    """Whose API is spoken. An OpenAI-compatible server elsewhere is an `openai` key with a base URL."""

    ANTHROPIC = "anthropic"
    OPENAI = "openai"


class KeySource(models.TextChoices):
    """Whose key pays. With `own_first` the platform's pays only for a vendor of which there is no own key at all."""

    PLATFORM = "platform"
    OWN = "own"
    OWN_FIRST = "own_first"


class Effort(models.TextChoices):
    """How hard a model thinks; empty leaves it to the model."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    MAX = "max"


def any_model() -> list[str]:
    """Return the patterns that allow every model."""
    return ["*"]


class LlmPolicy(TenantModel):
    """What an organisation's agents may ask of models. `version` grows with every change of it or of the keys.

    `allowed` are patterns in which `*` stands for anything. `fallbacks` are `{"model": pattern, "use": model}`.
    """

    allowed = ArrayField(models.CharField(max_length=MAX_MODEL_CHARS), default=any_model)
    key_source = models.CharField(max_length=10, choices=KeySource.choices, default=KeySource.OWN_FIRST)
    default_anthropic = models.CharField(max_length=MAX_MODEL_CHARS, blank=True)
    default_openai = models.CharField(max_length=MAX_MODEL_CHARS, blank=True)
    default_effort = models.CharField(max_length=6, choices=Effort.choices, blank=True)
    transcriber = models.CharField(max_length=MAX_MODEL_CHARS, blank=True, default="", db_default="")
    retries = models.PositiveSmallIntegerField(default=0)
    fallbacks = models.JSONField(default=list, blank=True)
    logs_calls = models.BooleanField(default=False)
    log_hides_emails = models.BooleanField(default=True)
    log_max_bytes = models.PositiveIntegerField(default=65_536)
    log_keep_days = models.PositiveSmallIntegerField(default=7)
    version = models.PositiveIntegerField(default=1)
    updated_at = models.DateTimeField(default=now)

    class Meta:
        db_table = "llm_policy"
        constraints = [models.UniqueConstraint(fields=["org_id"], name="llm_policy_once")]


class KeyStatus(models.TextChoices):
    """What was found when a key was used or asked about last. A refused one is not used until somebody checks it."""

    UNCHECKED = "unchecked"
    OK = "ok"
    UNREACHABLE = "unreachable"
    REFUSED = "refused"


class LlmKey(TenantModel):
    """A key of the organisation's own. The lowest `priority` is tried first."""

    vendor = models.CharField(max_length=10, choices=LlmVendor.choices)
    name = models.CharField(max_length=80)
    base_url = models.CharField(max_length=500, blank=True)
    sealed = models.BinaryField()
    key_id = models.CharField(max_length=40)
    hint = models.CharField(max_length=12)
    priority = models.PositiveSmallIntegerField(default=100)
    is_enabled = models.BooleanField(default=True)
    status = models.CharField(max_length=12, choices=KeyStatus.choices, default=KeyStatus.UNCHECKED)
    last_error = models.CharField(max_length=300, blank=True)
    created_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    checked_at = models.DateTimeField(null=True)
    last_used_at = models.DateTimeField(null=True)
    updated_at = models.DateTimeField(default=now)

    class Meta:
        db_table = "llm_key"
        constraints = [models.UniqueConstraint(fields=["org_id", "name"], name="llm_key_name_once")]


class BudgetLevel(models.TextChoices):
    """Whose spending a budget bounds. A task's own budget stands with the task."""

    ORGANISATION = "organisation"
    PERSON = "person"
    AGENT = "agent"
    PLAYBOOK = "playbook"


class BudgetPeriod(models.TextChoices):
    """When a budget begins anew: at midnight UTC, on the first of the month, or with each run of its playbook."""

    DAY = "day"
    MONTH = "month"
    RUN = "run"


class Budget(TenantModel):
    """The most that may be spent on models by something in a period. Money is in micro-dollars."""

    level = models.CharField(max_length=12, choices=BudgetLevel.choices)
    period = models.CharField(max_length=6, choices=BudgetPeriod.choices)
    subject_id = models.UUIDField(null=True)
    limit_microusd = models.BigIntegerField()
    updated_at = models.DateTimeField(default=now)

    class Meta:
        db_table = "llm_budget"
        constraints = [
            models.UniqueConstraint(
                fields=["org_id", "level", "period", "subject_id"],
                name="llm_budget_once",
                nulls_distinct=False,
            )
        ]


class BudgetSpent(TenantModel):
    """What is spent and set aside of one budget in one period. `bucket` is a day, a month, or the id of a run.

    `noticed` is the highest share, in per cent, of which people were told.
    """

    budget = models.ForeignKey(Budget, on_delete=models.CASCADE, related_name="spent")
    bucket = models.CharField(max_length=36)
    spent_microusd = models.BigIntegerField(default=0)
    reserved_microusd = models.BigIntegerField(default=0)
    noticed = models.PositiveSmallIntegerField(default=0)

    class Meta:
        db_table = "llm_budget_spent"
        constraints = [models.UniqueConstraint(fields=["budget", "bucket"], name="llm_budget_spent_once")]


class CallLog(TenantModel):
    """A prompt and its answer, redacted and sealed; kept only where an organisation has switched this on."""

    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="+")
    record_id = models.UUIDField()
    vendor = models.CharField(max_length=10)
    model = models.CharField(max_length=MAX_MODEL_CHARS)
    status = models.PositiveSmallIntegerField()
    sealed = models.BinaryField()
    key_id = models.CharField(max_length=40)
    size_bytes = models.PositiveIntegerField()
    expires_at = models.DateTimeField()

    class Meta:
        db_table = "llm_call_log"
        indexes = [
            models.Index(fields=["org_id", "id"], name="llm_call_log_of_org"),
            models.Index(fields=["expires_at"], name="llm_call_log_expiry"),
        ]


class PlatformModels(models.Model):
    """The operators' bounds for all organisations: one row. `version` grows with every change of it or of prices."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1, editable=False)
    allowed = ArrayField(models.CharField(max_length=MAX_MODEL_CHARS), default=any_model)
    lends_key = models.BooleanField(default=True, help_text="Organisations may use the platform's keys.")
    may_log = models.BooleanField(default=True, help_text="Organisations may log prompts and answers.")
    max_log_keep_days = models.PositiveSmallIntegerField(default=30)
    version = models.PositiveIntegerField(default=1, editable=False)

    class Meta:
        db_table = "llm_platform"
        verbose_name_plural = "platform models"
        constraints = [models.CheckConstraint(condition=models.Q(id=1), name="llm_platform_one_row")]

    def __str__(self) -> str:
        return "Models of this installation"


class ModelPrice(models.Model):
    """An operator's price of a family of models from a moment on. Micro-dollars per million tokens.

    `tiers` are `{"after": tokens, …the same five prices}`, for prompts longer than that.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    family = models.CharField(max_length=MAX_MODEL_CHARS)
    effective_from = models.DateTimeField()
    input = models.BigIntegerField()
    output = models.BigIntegerField()
    cache_read = models.BigIntegerField()
    cache_write_5m = models.BigIntegerField()
    cache_write_1h = models.BigIntegerField()
    tiers: Any = models.JSONField(default=list, blank=True)
    created_at = models.DateTimeField(default=now, editable=False)

    class Meta:
        db_table = "llm_price"
        constraints = [
            models.UniqueConstraint(fields=["family", "effective_from"], name="llm_price_once"),
        ]

    def __str__(self) -> str:
        return f"{self.family} from {self.effective_from:%Y-%m-%d}"
