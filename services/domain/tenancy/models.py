"""What every row of a tenant has. The tables themselves belong to the other apps."""

from __future__ import annotations

from django.db import models

from services.kit.clock import now
from services.kit.ids import uuid7


class TenantModel(models.Model):
    """A row of one organisation: a time-ordered id, the organisation, the time of creation.

    Row-level security keeps the rows of two organisations apart; `org_id` is set by the actions, and a policy
    refuses any other organisation than the transaction's own.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    org_id = models.UUIDField(editable=False)
    created_at = models.DateTimeField(default=now, editable=False)

    class Meta:
        abstract = True
