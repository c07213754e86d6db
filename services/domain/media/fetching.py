"""Fetching a file, as far as the database knows of it: what is due, and how it ended."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from services.domain.chats.actions import read_link_config
from services.domain.chats.models import InboundMessage
from services.domain.contacts.accounts import find_person
from services.domain.llm.spending import Charged
from services.domain.media.models import FileState, InboundFile
from services.domain.media.offering import max_bytes_of
from services.domain.outbox.jobs import FetchFile, RouteMessage, enqueue
from services.domain.ports.chat import ChatKind
from services.domain.rooms.telling import KIND as ROOMS_KIND
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now

MAX_ATTEMPTS = 5
LEASE = timedelta(seconds=60)
MAX_TRANSCRIPT_CHARS = 20_000


@dataclass(frozen=True, slots=True)
class FileDue:
    """A file to fetch. `config` is open: do not log it."""

    file_id: uuid.UUID
    kind: str
    config: dict[str, Any]
    ref: str
    name: str
    is_voice: bool
    max_bytes: int
    attempts: int
    charged: Charged
    stored_key: str = ""
    """Where it lies in object storage already: nobody has to be asked for it."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What was found in a file's bytes, and where they lie."""

    content_type: str
    size_bytes: int
    key: str
    text_key: str = ""
    transcript: str = ""
    note: str = ""


def take_file(org_id: uuid.UUID, file_id: uuid.UUID) -> FileDue | None:
    """Return a file that is to be fetched now, None when it is settled or not due; one out of time is given up.

    Until the lease is over nobody else fetches it: the sweep then asks again.
    """
    with tenant_transaction(org_id):
        file = (
            InboundFile.objects.select_for_update(of=("self",))
            .select_related("message__link", "message__chat")
            .filter(id=file_id, state=FileState.AWAITED, next_attempt_at__lte=now())
            .first()
        )
        if file is None:
            return None
        if file.give_up_at is not None and file.give_up_at <= now():
            _settle(file, error=file.error or "it could not be fetched in time")
            return None
        file.attempts += 1
        file.next_attempt_at = now() + LEASE
        file.save(update_fields=["attempts", "next_attempt_at"])
        link = file.message.link
        return FileDue(
            file.id,
            link.kind,
            read_link_config(link),
            file.ref,
            file.name,
            file.is_voice,
            max_bytes_of(org_id),
            file.attempts,
            _charged(file),
            # Only our own rooms say where a file lies; what a platform calls one is the platform's.
            file.ref if link.kind == ROOMS_KIND else "",
        )


def note_kept(org_id: uuid.UUID, file_id: uuid.UUID, kept: Kept) -> None:
    """Record where a file lies. Queues: RouteMessage with the last one of its message."""
    with tenant_transaction(org_id):
        file = _lock(file_id)
        if file is not None:
            file.content_type, file.size_bytes = kept.content_type[:120], kept.size_bytes
            file.key, file.text_key, file.note = kept.key, kept.text_key, kept.note[:200]
            file.transcript = kept.transcript[:MAX_TRANSCRIPT_CHARS]
            _settle(file)


def note_failed(org_id: uuid.UUID, file_id: uuid.UUID, error: str) -> None:
    """Record that a file cannot be had, in words for the agent. Queues: RouteMessage with the last one."""
    with tenant_transaction(org_id):
        file = _lock(file_id)
        if file is not None:
            _settle(file, error=error)


def note_delayed(org_id: uuid.UUID, due: FileDue, error: str, retry_after_s: float) -> None:
    """Put a file back for later; after the last attempt, or when later is too late, it has failed."""
    with tenant_transaction(org_id):
        file = _lock(due.file_id)
        if file is None:
            return
        again_at = now() + timedelta(seconds=max(retry_after_s, 2.0 ** (due.attempts - 1)))
        if due.attempts >= MAX_ATTEMPTS or (file.give_up_at is not None and again_at >= file.give_up_at):
            _settle(file, error=error)
            return
        file.next_attempt_at, file.error = again_at, error[:200]
        file.save(update_fields=["next_attempt_at", "error"])
        enqueue(FetchFile(org_id=org_id, file_id=file.id), not_before=again_at)


def all_tenants_due_files(*, limit: int = 200) -> list[tuple[uuid.UUID, uuid.UUID]]:
    """List the files that should have been fetched by now: their job was lost, or its worker died."""
    rows = InboundFile.objects.using("operator").filter(state=FileState.AWAITED, next_attempt_at__lte=now())
    return list(rows.order_by("next_attempt_at").values_list("org_id", "id")[:limit])


def _charged(file: InboundFile) -> Charged:
    """Return whose budgets reading a file is held against: as for its message's work, a person's own if direct."""
    message = file.message
    person = find_person(message.link_id, message.sender_id) if message.chat.kind == ChatKind.DIRECT else None
    return Charged(file.agent_id, person.user_id if person is not None else None, message.chat_id)


def _lock(file_id: uuid.UUID) -> InboundFile | None:
    """Return a file that is still awaited, its message locked first, so that two last files see each other."""
    message = (
        InboundMessage.objects.select_for_update(of=("self",)).filter(files__id=file_id).only("id").first()
    )
    if message is None:
        return None
    return (
        InboundFile.objects.select_for_update(of=("self",))
        .select_related("message")
        .filter(id=file_id, state=FileState.AWAITED)
        .first()
    )


def _settle(file: InboundFile, *, error: str = "") -> None:
    """End the wait for a file; when it was its message's last, that message and those behind it are routed."""
    file.state, file.error = FileState.FAILED if error else FileState.KEPT, error[:200]
    file.save()
    if InboundFile.objects.filter(message=file.message_id, state=FileState.AWAITED).exists():
        return
    waiting = InboundMessage.objects.filter(chat=file.message.chat_id, routed_at=None).order_by("-id")
    # The last one's job routes all before it.
    newest = waiting.values_list("id", flat=True).first()
    if newest is not None:
        enqueue(RouteMessage(org_id=file.org_id, message_id=newest))
