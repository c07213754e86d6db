"""Which files a workspace is to have before a turn, and that it has them."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import Q

from services.domain.chats.models import InboundMessage
from services.domain.media.models import FileState, InboundFile, InboxFile
from services.domain.tasks.models import Task
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now


@dataclass(frozen=True, slots=True)
class Part:
    """One file to write: its place in the workspace, and in object storage."""

    path: str
    key: str


@dataclass(frozen=True, slots=True)
class Due:
    """A file that is not in its workspace yet, with its text, if it has one."""

    id: uuid.UUID
    parts: tuple[Part, ...]


def put_in_inbox(task: Task, messages: Sequence[InboundMessage]) -> None:
    """Have the files of messages in a task's workspace before its turn begins, or goes on with one of them.

    Inside the tenant's transaction.
    """
    files = InboundFile.objects.filter(message__in=messages, state=FileState.KEPT)
    InboxFile.objects.bulk_create(
        [
            InboxFile(org_id=task.org_id, workspace_id=task.workspace_id, task=task, file=file)
            for file in files
        ],
        ignore_conflicts=True,
    )


def pass_file(org_id: uuid.UUID, workspace_id: uuid.UUID, path: str, key: str) -> bool:
    """Have a file of another agent's in a workspace, once for each path; says whether it is new there.

    Inside the transaction in which the other agent is told of it.
    """
    _, is_new = InboxFile.objects.get_or_create(
        workspace_id=workspace_id, file=None, path=path, defaults={"org_id": org_id, "key": key}
    )
    return is_new


def list_due(org_id: uuid.UUID, task_id: uuid.UUID) -> list[Due]:
    """List what the workspace of a task is to have and may not have yet, in order.

    What was placed for this very task is among it: its turn may be given out again, in a sandbox with older files.
    """
    with tenant_transaction(org_id):
        workspace = Task.objects.filter(id=task_id).values("workspace_id")
        rows = (
            InboxFile.objects.select_related("file__message")
            .filter(Q(placed_at=None) | Q(task=task_id), workspace__in=workspace)
            .order_by("id")
        )
        return [Due(row.id, _parts(row)) for row in rows]


def note_placed(org_id: uuid.UUID, row_id: uuid.UUID, *, error: str = "") -> None:
    """Record that a file is in its workspace, or why it cannot be."""
    with tenant_transaction(org_id):
        InboxFile.objects.filter(id=row_id).update(placed_at=now(), error=error[:200])


def _parts(row: InboxFile) -> tuple[Part, ...]:
    file = row.file
    if file is None:
        return (Part(row.path, row.key),)
    parts = [Part(file.path, file.key)]
    if file.text_key:
        parts.append(Part(file.text_path, file.text_key))
    return tuple(parts)
