"""Fetching the files that people send: from the platform, read within bounds, into object storage."""

from __future__ import annotations

import datetime
import io
import uuid

from services.adapters.media.reading import read_file
from services.adapters.models.transcribing import Recording
from services.domain.errors import FileTooLarge, Invalid, ObjectMissing, Permanent, SlipwayError, Temporary
from services.domain.media.fetching import FileDue, Kept, note_delayed, note_failed, note_kept, take_file
from services.domain.outbox.jobs import FetchFile, ForgetObjects
from services.domain.ports.chat import ChatAdapter
from services.domain.ports.chat_abilities import FetchesFiles
from services.kit.clock import now
from services.worker.jobs import chats
from services.worker.jobs.volumes import storage
from services.worker.transcribing import Heard, hear

KEEP_DAYS = 30
_FOLDER = "incoming/"


def fetch_file(job: FetchFile) -> None:
    """Fetch a file that an agent is to read. Whatever becomes of it, its message goes on with it or with the reason."""
    due = take_file(job.org_id, job.file_id)
    if due is None:
        return
    try:
        data = _fetch(chats.adapters().get(due.kind), due)
        kept = _keep(job.org_id, due, data)
    except FileTooLarge:
        note_failed(job.org_id, due.file_id, too_large_for(due))
    except Temporary as error:
        note_delayed(job.org_id, due, _words(error), error.retry_after_s)
    except (Permanent, Invalid) as error:
        note_failed(job.org_id, due.file_id, _words(error))
    else:
        note_kept(job.org_id, due.file_id, kept)


def forget_old_files() -> None:
    """Remove the bytes of files that came long ago: what agents were asked about lies in their workspaces."""
    oldest = f"{_FOLDER}{now() - datetime.timedelta(days=KEEP_DAYS):%Y%m%d}"
    for key in storage().list(_FOLDER):
        if key >= oldest:
            return
        storage().delete(key)


def forget_objects(job: ForgetObjects) -> None:
    """Remove what a row that is gone had in object storage; what is not there is no error."""
    for key in job.keys:
        storage().delete(key)
    for folder in job.folders:
        for key in list(storage().list(folder)):
            storage().delete(key)


def too_large_for(due: FileDue) -> str:
    """Say that a file turned out to be too large."""
    return f"it is larger than the {due.max_bytes:,} bytes that are taken"


def _fetch(adapter: ChatAdapter | None, due: FileDue) -> bytes:
    data = _stored(due) if due.stored_key else _fetched(adapter, due)
    if not data:
        raise Invalid("it is empty")
    return data


def _stored(due: FileDue) -> bytes:
    try:
        with storage().open(due.stored_key) as stream:
            data = stream.read(due.max_bytes + 1)
    except ObjectMissing as error:
        raise Invalid("it is not kept any more") from error
    if len(data) > due.max_bytes:
        raise FileTooLarge("The file is too large.", max_bytes=due.max_bytes)
    return data


def _fetched(adapter: ChatAdapter | None, due: FileDue) -> bytes:
    if adapter is None or not isinstance(adapter, FetchesFiles):
        raise Invalid("files of this platform cannot be fetched")
    config = adapter.config_model.model_validate(due.config)
    return adapter.fetch_file(config, due.ref, due.max_bytes)


def _keep(org_id: uuid.UUID, due: FileDue, data: bytes) -> Kept:
    found = read_file(data, due.name)
    heard = Heard(note=found.note)
    if due.is_voice:
        heard = hear(org_id, due.charged, Recording(due.name, found.content_type, found.data))
    # One name whoever fetches it, so that a repeat leaves nothing behind. By day, so that old ones are found.
    key = f"{_FOLDER}{now():%Y%m%d}/{org_id}/{due.file_id}"
    storage().put(key, io.BytesIO(found.data))
    text, text_key = heard.text or found.text, ""
    if text:
        text_key = f"{key}.txt"
        storage().put(text_key, io.BytesIO(text.encode()))
    return Kept(found.content_type, len(found.data), key, text_key, heard.text, heard.note)


def _words(error: SlipwayError) -> str:
    """Return an error's message as what follows a colon."""
    return error.message.rstrip(".")
