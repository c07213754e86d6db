"""Files that people sent, put into the workspace of a task before its runner hears of them."""

from __future__ import annotations

import functools
import logging
import uuid

from services.adapters.storage.registry import storage_of
from services.domain.errors import FileExists, ObjectMissing, SlipwayError, Temporary
from services.domain.media.inbox import list_due, note_placed
from services.domain.ports.storage import ObjectStorage
from services.kit.environment import environment
from services.mcp_gateway.sandbox_files import FILES
from services.mcp_gateway.threads import run_in_thread

log = logging.getLogger(__name__)


@functools.cache
def _storage() -> ObjectStorage:
    return storage_of(environment())


async def fill_inbox(org_id: uuid.UUID, task_id: uuid.UUID, sandbox_id: uuid.UUID) -> list[str]:
    """Write what is due; what is there already stays. What can never be written is recorded and left out.

    Returns what the agent is to be told of that, a line for each file. Raises: Temporary when it may work later.
    """
    missing = []
    for due in await run_in_thread(list_due, org_id, task_id):
        error = ""
        for part in due.parts:
            try:
                content = await run_in_thread(_read, part.key)
                await FILES.write_new(sandbox_id, part.path, content)
            except FileExists:
                continue
            except Temporary:
                raise
            except SlipwayError as refusal:
                log.warning("a file for task %s is not put into its workspace: %s", task_id, refusal)
                error = refusal.message
                missing.append(f"[{part.path} could not be put into the workspace: {error}]")
                break
        await run_in_thread(note_placed, org_id, due.id, error=error)
    return missing


def _read(key: str) -> bytes:
    try:
        with _storage().open(key) as stream:
            return stream.read()
    except ObjectMissing as error:
        raise ObjectMissing("The file is not kept any more.") from error
