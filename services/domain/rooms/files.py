"""Files of rooms: those that people bring in, and those that agents send, which lie in object storage and stay."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from django.db import transaction

from services.domain.actors import Actor
from services.domain.chats.models import Chat, Delivery, DeliveryKind
from services.domain.errors import FileMissing, FileTooLarge, Invalid
from services.domain.media.offering import max_bytes_of
from services.domain.outbox.jobs import ForgetObjects, enqueue
from services.domain.ports.chat import InboundFile
from services.domain.rooms.models import RoomFile
from services.domain.rooms.people import require_person
from services.domain.rooms.queries import get_room
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now
from services.kit.file_names import clean_name
from services.kit.ids import uuid7
from services.kit.storable import storable

MAX_FILES = 10
"""Of one message."""
_UNSAID_LIFE = timedelta(days=1)
_BATCH = 500


@dataclass(frozen=True, slots=True)
class Upload:
    """A file whose bytes are stored. `content_type` is what these say."""

    key: str
    name: str
    content_type: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file to download."""

    name: str
    content_type: str
    size_bytes: int
    key: str


def folder_of(room: Chat) -> str:
    """Return where the files lie that people bring into a room."""
    return f"rooms/{room.org_id}/{room.id}/"


def plan_file(actor: Actor, room_id: uuid.UUID, size_bytes: int) -> str:
    """Return the key under which a file may be stored, before its bytes are taken.

    Raises: ChatMissing, FileTooLarge, Invalid for an empty one, NotPermitted for who is no person.
    """
    require_person(actor)
    with tenant_transaction(actor.org_id):
        room = get_room(actor, room_id)
        most = max_bytes_of(actor.org_id)
    if size_bytes > most:
        raise FileTooLarge(f"The file is larger than {most} bytes.", max_bytes=most)
    if size_bytes < 1:
        raise Invalid("The file is empty.", fields={"file": "empty"})
    return f"{folder_of(room)}{uuid7()}"


def add_file(actor: Actor, room_id: uuid.UUID, upload: Upload) -> RoomFile:
    """Note a file whose bytes are stored; it is in the room with the message that names it.

    Raises: ChatMissing, NotPermitted.
    """
    user_id = require_person(actor)
    with tenant_transaction(actor.org_id):
        room = get_room(actor, room_id)
        return RoomFile.objects.create(
            org_id=actor.org_id,
            chat=room,
            user_id=user_id,
            name=clean_name(storable(upload.name), "file"),
            content_type=upload.content_type[:120],
            size_bytes=upload.size_bytes,
            key=upload.key,
        )


def lock_unsaid(
    room: Chat, user_id: uuid.UUID, file_ids: Sequence[uuid.UUID], message_id: str
) -> list[RoomFile]:
    """Return the files that a message is to have, in the order of their ids; also when it has them already.

    Inside the tenant's transaction. Raises: FileMissing for one that is not the writer's, or was said before; Invalid.
    """
    if len(set(file_ids)) > MAX_FILES:
        raise Invalid(
            f"A message has at most {MAX_FILES} files.", fields={"file_ids": f"at most {MAX_FILES}"}
        )
    files = list(
        RoomFile.objects.select_for_update()
        .filter(id__in=file_ids, chat=room, user_id=user_id, message_id__in=("", message_id))
        .order_by("id")
    )
    if len(files) != len(set(file_ids)):
        raise FileMissing("There is no such file to send.")
    return files


def incoming_of(file: RoomFile) -> InboundFile:
    """Return a file as a platform would tell of it; `ref` is its place in object storage. Pure."""
    return InboundFile(file.key, file.name, file.content_type, file.size_bytes)


def get_file(actor: Actor, room_id: uuid.UUID, file_id: uuid.UUID) -> StoredFile:
    """Return a file of a room's messages, a person's or an agent's. In the tenant's transaction.

    Raises: ChatMissing, FileMissing.
    """
    room = get_room(actor, room_id)
    file = RoomFile.objects.filter(chat=room, id=file_id).first()
    if file is not None:
        return StoredFile(file.name, file.content_type, file.size_bytes, file.key)
    sent = Delivery.objects.filter(chat=room, id=file_id, kind=DeliveryKind.FILE)
    row = sent.exclude(changes__kind=DeliveryKind.DELETE).first()
    if row is None or row.payload is None:
        raise FileMissing("There is no such file.")
    payload = row.payload
    return StoredFile(payload["name"], payload["content_type"], payload["size_bytes"], payload["key"])


def forget_files_of(room: Chat) -> None:
    """Have the bytes removed of all files of a room that is being deleted. Queues: ForgetObjects."""
    sent = Delivery.objects.filter(chat=room, kind=DeliveryKind.FILE).values_list("payload__key", flat=True)
    keys = sorted(key for key in sent if key)
    enqueue(ForgetObjects(folders=(folder_of(room),)))
    for start in range(0, len(keys), _BATCH):
        enqueue(ForgetObjects(keys=tuple(keys[start : start + _BATCH])))


def all_tenants_forget_unsaid_files() -> None:
    """Remove files that were uploaded a day ago and never sent. Queues: ForgetObjects."""
    rows = RoomFile.objects.using("operator").filter(message_id="", created_at__lt=now() - _UNSAID_LIFE)
    with transaction.atomic(using="operator"):
        old = list(rows.select_for_update(skip_locked=True).order_by("created_at")[:_BATCH])
        if old:
            RoomFile.objects.using("operator").filter(id__in=[row.id for row in old]).delete()
            enqueue(ForgetObjects(keys=tuple(row.key for row in old)), using="operator")
