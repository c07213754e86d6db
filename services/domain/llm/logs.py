"""Prompts and answers: redacted, sealed, bounded in size and in time; kept only where an organisation wants it."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db.models import QuerySet

from services.domain.actors import Actor, require
from services.domain.errors import CallLogMissing
from services.domain.integrations.models import Integration
from services.domain.llm.answers import assemble
from services.domain.llm.keys import open_key
from services.domain.llm.models import BudgetPeriod, BudgetSpent, CallLog, LlmKey
from services.domain.llm.policy import find_policy, get_platform
from services.domain.llm.redaction import Redactor
from services.domain.llm.rules import LogRules
from services.domain.tasks.models import Task
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.upstreams.models import UpstreamServer
from services.domain.vault.keyring import open_json, open_text, seal_json
from services.domain.vault.models import SecretVersion
from services.kit.clock import now
from services.kit.environment import environment
from services.kit.ids import uuid7

MAX_RAW_BYTES = 4 * 1024**2
"""Longer ones are not redacted and so not kept: a text that is cut before could end in half of a secret."""
TOO_LARGE = "[too large to be kept]"
_BATCH = 1_000
_LONG_CHARS = 12
_PUBLIC = frozenset({"url", "token_endpoint", "resource", "issuer", "scope", "client_id"})
_KEPT_RUNS = timedelta(days=100)


@dataclass(frozen=True, slots=True)
class RawCall:
    """A call as it went out and came back; None where it was too large."""

    org_id: uuid.UUID
    task_id: uuid.UUID
    record_id: uuid.UUID
    vendor: str
    model: str
    status: int
    prompt: bytes | None
    answer: bytes | None
    size_bytes: int


def store_call(raw: RawCall, rules: LogRules) -> bool:
    """Keep a call, redacted, unless the organisation has switched that off meanwhile; says whether it is kept."""
    with tenant_transaction(raw.org_id):
        policy = find_policy()
        if policy is None or not policy.logs_calls or not Task.objects.filter(id=raw.task_id).exists():
            return False
        redactor = Redactor(_secrets(), hides_emails=rules.hides_emails)
    texts = {
        "prompt": _shown(_parsed(raw.prompt), redactor, rules.max_bytes),
        "answer": _shown(assemble(raw.answer) if raw.answer is not None else None, redactor, rules.max_bytes),
    }
    with tenant_transaction(raw.org_id):
        row_id = uuid7()
        sealed = seal_json(texts, row_id)
        CallLog.objects.create(
            id=row_id,
            org_id=raw.org_id,
            task_id=raw.task_id,
            record_id=raw.record_id,
            vendor=raw.vendor,
            model=raw.model[:100],
            status=raw.status,
            sealed=sealed.blob,
            key_id=sealed.key_id,
            size_bytes=raw.size_bytes,
            expires_at=now() + timedelta(days=rules.keep_days),
        )
    return True


def list_call_logs(actor: Actor, task_id: uuid.UUID | None = None) -> QuerySet[CallLog]:
    """Return what is kept and has not expired, without the texts; in the tenant's transaction. Raises: RoleMissing."""
    require(actor, "models:read", role="admin")
    rows = CallLog.objects.filter(expires_at__gt=now()).defer("sealed")
    return rows.filter(task_id=task_id) if task_id is not None else rows


def get_call_log(actor: Actor, log_id: uuid.UUID) -> CallLog:
    """Return one, in the tenant's transaction. Raises: CallLogMissing, RoleMissing."""
    row = list_call_logs(actor).filter(id=log_id).first()
    if row is None:
        raise CallLogMissing("There is no such log.")
    return row


def texts_of(row: CallLog) -> dict[str, str]:
    """Open a row's prompt and answer."""
    texts: dict[str, str] = open_json(row.sealed, row.key_id, row.id)
    return texts


def delete_call_logs(actor: Actor) -> int:
    """Forget all that is kept; returns how much there was. Raises: RoleMissing."""
    require(actor, "models:write", role="admin")
    with tenant_transaction(actor.org_id):
        return CallLog.objects.all().delete()[0]


def all_tenants_forget_call_logs() -> None:
    """Delete what has expired or is older than the operators allow now, and sums of days and runs long over."""
    moment = now()
    longest = timedelta(days=get_platform().max_log_keep_days)
    logs = CallLog.objects.using("operator")
    for rows in (logs.filter(expires_at__lte=moment), logs.filter(created_at__lte=moment - longest)):
        rows.filter(id__in=list(rows.values_list("id", flat=True)[:_BATCH])).delete()
    BudgetSpent.objects.using("operator").filter(
        budget__period__in=[BudgetPeriod.RUN, BudgetPeriod.DAY],
        created_at__lte=moment - _KEPT_RUNS,
        reserved_microusd=0,
    ).delete()


def _secrets() -> list[str]:
    """Return every value that must not be read: the vault's, also earlier ones, all credentials, all model keys."""
    values = [open_text(row.sealed, row.key_id, row.id) for row in SecretVersion.objects.all()]
    values += [open_key(row).get_secret_value() for row in LlmKey.objects.all()]
    for model in (UpstreamServer, Integration):
        for row in model.objects.all():
            if row.sealed is not None:
                values += _texts_in(open_json(row.sealed, row.key_id, row.id))
    env = environment()
    values += [key.get_secret_value() for key in (env.anthropic_api_key, env.openai_api_key) if key]
    return values


def _texts_in(value: Any) -> list[str]:
    """Return the long texts of a credential: tokens and keys, and not its kind or its scope."""
    if isinstance(value, str):
        return [value] if len(value) >= _LONG_CHARS else []
    if isinstance(value, dict):
        return [text for name, item in value.items() if name not in _PUBLIC for text in _texts_in(item)]
    return [text for item in value for text in _texts_in(item)] if isinstance(value, list) else []


def _parsed(body: bytes | None) -> Any:
    if body is None:
        return None
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return body.decode("utf-8", "replace")


def _shown(value: Any, redactor: Redactor, max_bytes: int) -> str:
    """Return a value as a text without secrets, and of a long one its beginning and its end."""
    if value is None:
        return TOO_LARGE
    redacted = redactor.value(value)
    text = redacted if isinstance(redacted, str) else json.dumps(redacted, ensure_ascii=False)
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= max_bytes:
        return encoded.decode()
    half = max_bytes // 2
    head, tail = encoded[:half].decode(errors="ignore"), encoded[-half:].decode(errors="ignore")
    return f"{head}\n[… {len(encoded) - 2 * half} bytes left out …]\n{tail}"
