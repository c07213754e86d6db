"""Changing an organisation's rules for models."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from services.domain.actors import Actor, require
from services.domain.errors import Invalid, ModelNotAllowed
from services.domain.events.announcing import announce
from services.domain.events.types import LlmPolicyChanged
from services.domain.llm.models import Effort, KeySource, LlmPolicy, PlatformModels
from services.domain.llm.patterns import MAX_PATTERNS, ModelName, ModelPattern, is_allowed
from services.domain.llm.policy import get_platform
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now

MAX_FALLBACKS = 20


class Fallback(BaseModel):
    """Which model is asked in place of those that fit a pattern, when their vendor cannot answer."""

    model_config = ConfigDict(extra="forbid")

    model: ModelPattern
    use: ModelName


class PolicyFields(BaseModel):
    """What an admin may set. `retries` are further tries of a call that its vendor could not take."""

    model_config = ConfigDict(extra="forbid")

    allowed: list[ModelPattern] = Field(default_factory=lambda: ["*"], max_length=MAX_PATTERNS)
    key_source: KeySource = KeySource.OWN_FIRST
    default_anthropic: ModelName | None = None
    default_openai: ModelName | None = None
    default_effort: Effort | None = None
    transcriber: ModelName | None = None
    retries: int = Field(default=0, ge=0, le=5)
    fallbacks: list[Fallback] = Field(default_factory=list, max_length=MAX_FALLBACKS)
    logs_calls: bool = False
    log_hides_emails: bool = True
    log_max_bytes: int = Field(default=65_536, ge=1_024, le=1_048_576)
    log_keep_days: int = Field(default=7, ge=1, le=365)

    def checked(self, platform: PlatformModels) -> dict[str, Any]:
        """Return the row's values. Raises: ModelNotAllowed, Invalid."""
        named = [("default_anthropic", self.default_anthropic), ("default_openai", self.default_openai)]
        named += [("transcriber", self.transcriber)]
        named += [("fallbacks", fallback.use) for fallback in self.fallbacks]
        for field, model in named:
            if model and not is_allowed(model, platform.allowed, self.allowed):
                raise ModelNotAllowed(f"The model {model} is not allowed.", fields={field: "forbidden"})
        if self.key_source == KeySource.PLATFORM and not platform.lends_key:
            raise Invalid("The platform lends no key.", fields={"key_source": "not `platform`"})
        if self.logs_calls and not platform.may_log:
            raise Invalid("The platform does not let calls be logged.", fields={"logs_calls": "not allowed"})
        if self.log_keep_days > platform.max_log_keep_days:
            most = platform.max_log_keep_days
            raise Invalid(
                f"Logs are kept for at most {most} days.", fields={"log_keep_days": f"at most {most}"}
            )
        values = self.model_dump(mode="json")
        return values | {name: values[name] or "" for name in _NAMES}


def update_policy(actor: Actor, changes: dict[str, Any]) -> LlmPolicy:
    """Change some of the rules; they hold from the next call on. Locks: the rules. Emits: LlmPolicyChanged.

    Raises: RoleMissing, ModelNotAllowed, Invalid.
    """
    require(actor, "models:write", role="admin")
    with tenant_transaction(actor.org_id):
        policy = lock_policy(actor)
        current = fields_of(policy)
        fields = PolicyFields.model_validate(current | changes)
        values = fields.checked(get_platform())
        changed = {
            name: {"before": getattr(policy, name), "after": value}
            for name, value in values.items()
            if getattr(policy, name) != value
        }
        if not changed:
            return policy
        for name, value in values.items():
            setattr(policy, name, value)
        _save(policy)
        announce(
            LlmPolicyChanged(
                actor=actor.kind, user_id=str(actor.user_id) if actor.user_id else None, changes=changed
            )
        )
        return policy


def fields_of(policy: LlmPolicy) -> dict[str, Any]:
    """Return a row as its fields have it, in which what is empty is None."""
    return {name: getattr(policy, name) or None for name in _NAMES} | {
        name: getattr(policy, name) for name in PolicyFields.model_fields if name not in _NAMES
    }


_NAMES = ("default_anthropic", "default_openai", "default_effort", "transcriber")


def lock_policy(actor: Actor) -> LlmPolicy:
    """Return the organisation's rules, locked; made first if there are none."""
    LlmPolicy.objects.bulk_create([LlmPolicy(org_id=actor.org_id)], ignore_conflicts=True)
    return LlmPolicy.objects.select_for_update().get()


def touch_policy(actor: Actor) -> None:
    """Let every gateway read rules and keys anew before the next call. Locks: the rules."""
    _save(lock_policy(actor))


def _save(policy: LlmPolicy) -> None:
    policy.version += 1
    policy.updated_at = now()
    policy.save()
