"""Streams and their durable events, numbered without gaps; and how far each runner's journal is stored."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models

from services.kit.clock import now
from services.kit.ids import uuid7


class Stream(models.Model):
    """The head of one stream. Its row lock makes the order of commits the order of numbers.

    A person's stream has the same name in each of their organisations, and is another stream in each.
    """

    id = models.BigAutoField(primary_key=True)
    name = models.CharField(max_length=80)
    org_id = models.UUIDField(editable=False)
    head = models.BigIntegerField(default=0)
    oldest = models.BigIntegerField(default=1)

    class Meta:
        db_table = "stream"
        constraints = [models.UniqueConstraint(fields=["org_id", "name"], name="stream_once")]


class Event(models.Model):
    """One durable entry of a stream. Its `readers` alone may see it; null: whoever holds its type's scope."""

    id = models.BigAutoField(primary_key=True)
    org_id = models.UUIDField(editable=False)
    stream = models.CharField(max_length=80)
    seq = models.BigIntegerField()
    type = models.CharField(max_length=40)
    at = models.DateTimeField(default=now)
    task_id = models.UUIDField(null=True)
    turn = models.PositiveIntegerField(null=True)
    data = models.JSONField(default=dict)
    readers = ArrayField(models.UUIDField(), null=True)

    class Meta:
        db_table = "event"
        constraints = [
            models.UniqueConstraint(fields=["org_id", "stream", "seq"], name="event_numbered_once")
        ]
        indexes = [models.Index(fields=["task_id"], name="event_of_task")]


class RunnerJournal(models.Model):
    """How far the journal of one runner is stored. `journal` is the id that the runner made when it started."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    org_id = models.UUIDField(editable=False)
    sandbox_id = models.UUIDField()
    journal = models.UUIDField()
    stored_n = models.BigIntegerField(default=0)
    updated_at = models.DateTimeField(default=now)

    class Meta:
        db_table = "runner_journal"
        constraints = [models.UniqueConstraint(fields=["sandbox_id", "journal"], name="journal_once")]
