"""Requests that count once: whoever sends one again with its key gets the first one's answer.

What changes only our own database does so in one transaction with its answer, so that no crash can come between. What
asks somebody outside cannot: it is announced first, and a crash in its middle lets a repeat do it again after a while.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import timedelta

from django.db import connection, models

from services.domain.actors import Actor
from services.domain.errors import IdempotencyKeyInUse, IdempotencyKeyReused
from services.domain.idempotency.models import KeptAnswer
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.vault.keyring import open_text, seal_text
from services.kit.clock import now

KEPT = timedelta(hours=24)
# Longer than a request that asks somebody outside can take.
ABANDONED = timedelta(minutes=3)


@dataclass(frozen=True, slots=True)
class Keyed:
    """A request with its key: who sends it, and a hash of all that it asks for."""

    actor: Actor
    key: str
    request_hash: str


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer: its status, and its body as it was sent."""

    status: int
    body: str


def hash_of(*parts: bytes) -> str:
    """Return a hash of all that a request asks for."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


def find_answer(keyed: Keyed) -> Answered | None:
    """Return what was answered to this request before; None when it is new. In the tenant's transaction.

    Locks: the key, until the transaction ends. Raises: IdempotencyKeyInUse, IdempotencyKeyReused.
    """
    name = f"idempotency/{keyed.actor.org_id}/{keyed.actor.key}/{keyed.key}"
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 0))", [name])
        if not cursor.fetchone()[0]:
            raise IdempotencyKeyInUse("A request with this Idempotency-Key is under way.")
    row = _rows(keyed).first()
    if row is None:
        return None
    if row.request_hash != keyed.request_hash:
        raise IdempotencyKeyReused("This Idempotency-Key was used with another request.")
    if row.status is not None and row.sealed is not None:
        return Answered(row.status, open_text(row.sealed, row.key_id, row.id))
    if row.begun_at > now() - ABANDONED:
        raise IdempotencyKeyInUse("A request with this Idempotency-Key is under way.")
    row.delete()
    return None


def keep_answer(keyed: Keyed, answered: Answered) -> None:
    """Keep an answer for those who ask again. In the tenant's transaction."""
    row = _rows(keyed).first() or _row(keyed)
    sealed = seal_text(answered.body, row.id)
    row.status, row.sealed, row.key_id = answered.status, sealed.blob, sealed.key_id
    row.save()


def announce(keyed: Keyed) -> Answered | None:
    """Say that a request which asks somebody outside begins; returns its answer if it was answered before.

    Raises: IdempotencyKeyInUse, IdempotencyKeyReused.
    """
    with tenant_transaction(keyed.actor.org_id):
        found = find_answer(keyed)
        if found is None:
            _row(keyed).save(force_insert=True)
        return found


def take_back(keyed: Keyed) -> None:
    """Forget an announced request that was refused: it may be tried again at once."""
    with tenant_transaction(keyed.actor.org_id):
        _rows(keyed).filter(status=None).delete()


def all_tenants_forget_answers() -> int:
    """Delete the answers that are older than a day; returns how many."""
    old = KeptAnswer.objects.using("operator").filter(begun_at__lt=now() - KEPT)
    return old.delete()[0]


def _rows(keyed: Keyed) -> models.QuerySet[KeptAnswer]:
    return KeptAnswer.objects.filter(actor_key=keyed.actor.key, key=keyed.key)


def _row(keyed: Keyed) -> KeptAnswer:
    return KeptAnswer(
        org_id=keyed.actor.org_id, actor_key=keyed.actor.key, key=keyed.key, request_hash=keyed.request_hash
    )
