"""Handing mail over to be sent, in the transaction of whatever it tells of."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta

from django.db import connections, transaction

from services.domain.letters.models import OutgoingLetter
from services.domain.outbox.jobs import SendLetter, enqueue
from services.domain.vault.keyring import open_json, seal_json
from services.kit.clock import now
from services.kit.environment import environment
from services.kit.ids import uuid7

KEPT = timedelta(days=2)


def can_send() -> bool:
    """Say whether this installation has a mail server."""
    return environment().smtp_url is not None


def post_letter(to: str, subject: str, body: str, *, using: str = "default") -> None:
    """Have a mail sent once the open transaction has committed. Queues: SendLetter.

    Raw SQL because the tenants' role may insert and not read.
    """
    letter_id = uuid7()
    sealed = seal_json({"subject": subject, "body": body}, letter_id)
    with transaction.atomic(using=using):
        with connections[using].cursor() as cursor:
            cursor.execute(
                'INSERT INTO outgoing_letter (id, "to", sealed, key_id, created_at) VALUES (%s, %s, %s, %s, %s)',
                [letter_id, to, sealed.blob, sealed.key_id, now()],
            )
        enqueue(SendLetter(letter_id=letter_id), using=using)


def all_tenants_find_letter(letter_id: uuid.UUID) -> tuple[str, str, str] | None:
    """Return a waiting mail's recipient, subject and text; None when it was sent before."""
    row = OutgoingLetter.objects.using("operator").filter(id=letter_id).first()
    if row is None:
        return None
    content = open_json(row.sealed, row.key_id, row.id)
    return row.to, content["subject"], content["body"]


def all_tenants_forget_letter(letter_id: uuid.UUID) -> None:
    """Forget a mail that was sent. Twice is fine."""
    OutgoingLetter.objects.using("operator").filter(id=letter_id).delete()


def all_tenants_forget_old_letters(before: datetime) -> int:
    """Forget mail that could not be sent for so long that nobody waits for it any more."""
    return OutgoingLetter.objects.using("operator").filter(created_at__lt=before).delete()[0]
