"""Files of rooms, over REST and on the pages: taken into object storage, and given out of it."""

from __future__ import annotations

import functools
import io
import uuid
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from services.adapters.media.sniffing import sniff
from services.adapters.storage.registry import storage_of
from services.api.http.downloads import attached
from services.api.http.operations import Download
from services.domain.actors import Actor
from services.domain.errors import FileMissing, FileTooLarge, ObjectMissing
from services.domain.ports.storage import ObjectStorage
from services.domain.rooms.files import Upload, add_file, get_file, plan_file
from services.domain.rooms.models import RoomFile
from services.domain.rooms.queries import PICTURES
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.environment import environment

_CHUNK_BYTES = 128 * 1024


@functools.cache
def _storage() -> ObjectStorage:
    return storage_of(environment())


def keep_upload(
    actor: Actor, room_id: uuid.UUID, name: str, chunks: Iterable[bytes], size_bytes: int
) -> RoomFile:
    """Store a file of `size_bytes` that a message is going to have.

    Raises: ChatMissing, FileTooLarge, Invalid, NotPermitted, StorageAway.
    """
    key = plan_file(actor, room_id, size_bytes)
    data = bytearray()
    for chunk in chunks:
        data += chunk
        if len(data) > size_bytes:
            raise FileTooLarge("The file is larger than was said.", max_bytes=size_bytes)
    found = bytes(data)
    _storage().put(key, io.BytesIO(found))
    try:
        return add_file(actor, room_id, Upload(key, name, sniff(found, name), len(found)))
    except BaseException:
        _storage().delete(key)
        raise


def download_file(actor: Actor, room_id: uuid.UUID, file_id: uuid.UUID) -> Download:
    """Give a file of a room's messages out. Raises: ChatMissing, FileMissing."""
    with tenant_transaction(actor.org_id):
        file = get_file(actor, room_id, file_id)
    try:
        stream = _storage().open(file.key)
    except ObjectMissing as error:
        raise FileMissing("The file is not kept any more.") from error
    content_type = file.content_type if file.content_type in PICTURES else "application/octet-stream"
    headers = {"Content-Length": str(file.size_bytes), **attached(file.name, content_type)}
    return Download(_pieces(stream), headers=headers)


def _pieces(stream: BinaryIO) -> Iterator[bytes]:
    with stream:
        while chunk := stream.read(_CHUNK_BYTES):
            yield chunk
