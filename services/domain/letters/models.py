"""Mail that waits to be sent."""

from __future__ import annotations

from django.db import models

from services.kit.clock import now
from services.kit.ids import uuid7


class OutgoingLetter(models.Model):
    """One mail of the platform's. Sealed, as it may hold a link that opens an account; deleted once it is sent."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    to = models.EmailField()
    sealed = models.BinaryField()
    key_id = models.CharField(max_length=40)
    created_at = models.DateTimeField(default=now, editable=False)

    class Meta:
        db_table = "outgoing_letter"

    def __str__(self) -> str:
        return str(self.id)
