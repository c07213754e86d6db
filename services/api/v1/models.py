"""Models over REST: the rules, the organisation's own keys, what may be used at which price, and what is logged."""

from __future__ import annotations

import uuid
from typing import Any, Self

from pydantic import Field

from services.api.http.operations import Call, Endpoint, operation
from services.api.http.paging import PageQuery, page_of
from services.api.http.shapes import Changes, Moment, Page, Shape
from services.api.models import add_key, check_again
from services.api.v1.accesses import AccessShape
from services.domain.errors import (
    CallLogMissing,
    Invalid,
    LlmKeyMissing,
    LlmKeyRefused,
    ModelNotAllowed,
    NameTaken,
    QueueFull,
)
from services.domain.llm.actions import Fallback, PolicyFields, update_policy
from services.domain.llm.catalogue import UsableModel, list_usable_models
from services.domain.llm.keys import (
    KeyFields,
    NewKey,
    delete_key,
    get_key,
    list_key_accesses,
    list_keys,
    update_key,
)
from services.domain.llm.logs import delete_call_logs, get_call_log, list_call_logs, texts_of
from services.domain.llm.models import CallLog, KeySource, KeyStatus, LlmKey, LlmPolicy, LlmVendor
from services.domain.llm.policy import get_policy


class PolicyChanges(PolicyFields, Changes):
    """The rules to change; those that are not sent stay as they are."""


class PolicyShape(Shape):
    """The organisation's rules for models. They hold from the next call on."""

    allowed: list[str]
    key_source: KeySource
    default_anthropic: str | None
    default_openai: str | None
    default_effort: str | None
    transcriber: str | None
    retries: int
    fallbacks: list[Fallback]
    logs_calls: bool
    log_hides_emails: bool
    log_max_bytes: int
    log_keep_days: int
    version: int
    updated_at: Moment

    @classmethod
    def of(cls, policy: LlmPolicy) -> Self:
        """Show a row."""
        values = {name: getattr(policy, name) for name in cls.model_fields}
        for name in ("default_anthropic", "default_openai", "default_effort", "transcriber"):
            values[name] = values[name] or None
        return cls.model_validate(values)


class KeyChanges(KeyFields, Changes):
    """The fields to change. A key keeps its address."""

    name: str = Field(default="", min_length=1, max_length=80)


class KeyShape(Shape):
    """A key without its text. One that is `refused` is not used until a check finds it good."""

    id: uuid.UUID
    vendor: LlmVendor
    name: str
    base_url: str
    hint: str
    priority: int
    is_enabled: bool
    status: KeyStatus
    last_error: str
    checked_at: Moment | None
    last_used_at: Moment | None
    created_at: Moment
    updated_at: Moment

    @classmethod
    def of(cls, key: LlmKey) -> Self:
        """Show a row."""
        return cls.model_validate(key)


class RatesShape(Shape):
    """Micro-dollars per million tokens."""

    input: int
    output: int
    cache_read: int
    cache_write_5m: int
    cache_write_1h: int


class TierShape(RatesShape):
    """The prices of a call whose prompt has more tokens than `after`."""

    after: int


class ModelShape(Shape):
    """A family of models that may be used, with today's prices."""

    model: str
    vendor: LlmVendor
    is_default: bool
    prices: RatesShape
    long_prompts: list[TierShape]

    @classmethod
    def of(cls, usable: UsableModel) -> Self:
        """Show a model."""
        tiers = [
            {"after": tier.after, **RatesShape.model_validate(tier.rates).model_dump()}
            for tier in usable.price.tiers
        ]
        return cls(
            model=usable.model,
            vendor=LlmVendor(usable.vendor),
            is_default=usable.is_default,
            prices=RatesShape.model_validate(usable.price.rates),
            long_prompts=[TierShape(**tier) for tier in tiers],
        )


class ModelsShape(Shape):
    """What the organisation may use. Models of no listed family cost as much as the dearest."""

    items: list[ModelShape]


class LogQuery(PageQuery):
    """Which logs."""

    task_id: uuid.UUID | None = None


class LogShape(Shape):
    """A logged call, without its texts."""

    id: uuid.UUID
    task_id: uuid.UUID
    vendor: LlmVendor
    model: str
    status: int
    size_bytes: int
    created_at: Moment
    expires_at: Moment

    @classmethod
    def of(cls, row: CallLog) -> Self:
        """Show a row."""
        return cls.model_validate(row)


class LogTextShape(LogShape):
    """A logged call with its prompt and its answer, redacted."""

    prompt: str
    answer: str

    @classmethod
    def of(cls, row: CallLog) -> Self:
        """Show a row and open it."""
        values: dict[str, Any] = {name: getattr(row, name) for name in LogShape.model_fields}
        return cls(**values, **texts_of(row))


class Policy(Endpoint):
    """The organisation's rules for models."""

    tag = "models"

    @operation()
    def get(self, call: Call) -> PolicyShape:
        """Show the rules."""
        return PolicyShape.of(get_policy(call.actor))

    @operation(errors=(ModelNotAllowed, Invalid))
    def patch(self, call: Call, body: PolicyChanges) -> PolicyShape:
        """Change some of the rules."""
        return PolicyShape.of(update_policy(call.actor, body.model_dump(exclude_unset=True)))


class Keys(Endpoint):
    """All keys of the organisation's own."""

    tag = "models"

    @operation()
    def get(self, call: Call, query: PageQuery) -> Page[KeyShape]:
        """List the keys, newest first, without their texts."""
        return page_of(list_keys(call.actor), query, KeyShape.of)

    @operation(status=201, errors=(LlmKeyRefused, NameTaken, Invalid, QueueFull), is_waiting=True)
    def post(self, call: Call, body: NewKey) -> KeyShape:
        """Keep a key, after asking its vendor whether it is good."""
        return KeyShape.of(add_key(call.actor, body))


class OneKey(Endpoint):
    """One key."""

    tag = "models"

    @operation(errors=(LlmKeyMissing,))
    def get(self, call: Call, llm_key_id: uuid.UUID) -> KeyShape:
        """Show a key without its text."""
        return KeyShape.of(get_key(call.actor, llm_key_id))

    @operation(errors=(LlmKeyMissing, NameTaken, Invalid))
    def patch(self, call: Call, llm_key_id: uuid.UUID, body: KeyChanges) -> KeyShape:
        """Change a key's name or priority, or switch it off or on."""
        return KeyShape.of(update_key(call.actor, llm_key_id, body.model_dump(exclude_unset=True)))

    @operation(errors=(LlmKeyMissing,))
    def delete(self, call: Call, llm_key_id: uuid.UUID) -> None:
        """Forget a key."""
        delete_key(call.actor, llm_key_id)


class KeyCheck(Endpoint):
    """Asking the vendor of one key."""

    tag = "models"

    @operation(errors=(LlmKeyMissing,), is_waiting=True)
    def post(self, call: Call, llm_key_id: uuid.UUID) -> KeyShape:
        """Ask whether the key is good now; `status` and `last_error` say what came of it."""
        return KeyShape.of(check_again(call.actor, llm_key_id))


class KeyAccesses(Endpoint):
    """The uses of one key."""

    tag = "models"

    @operation(errors=(LlmKeyMissing,))
    def get(self, call: Call, llm_key_id: uuid.UUID, query: PageQuery) -> Page[AccessShape]:
        """List for whom and when the key was used."""
        return page_of(list_key_accesses(call.actor, llm_key_id), query, AccessShape.of)


class Models(Endpoint):
    """The models that may be used."""

    tag = "models"

    @operation()
    def get(self, call: Call) -> ModelsShape:
        """List the models that the organisation may use, with their prices."""
        return ModelsShape(items=[ModelShape.of(usable) for usable in list_usable_models(call.actor)])


class Logs(Endpoint):
    """Prompts and answers, where the organisation has them logged. For admins only."""

    tag = "models"

    @operation()
    def get(self, call: Call, query: LogQuery) -> Page[LogShape]:
        """List what is kept, newest first."""
        return page_of(list_call_logs(call.actor), query, LogShape.of)

    @operation()
    def delete(self, call: Call) -> None:
        """Forget all that is kept."""
        delete_call_logs(call.actor)


class OneLog(Endpoint):
    """One logged call."""

    tag = "models"

    @operation(errors=(CallLogMissing,))
    def get(self, call: Call, llm_log_id: uuid.UUID) -> LogTextShape:
        """Show a prompt and its answer, redacted."""
        return LogTextShape.of(get_call_log(call.actor, llm_log_id))
