"""The tool about files: one out of the workspace, to a chat."""

from __future__ import annotations

import functools
import io
import uuid
from dataclasses import dataclass

from pydantic import Field

from services.adapters.storage.registry import storage_of
from services.domain.actors import require
from services.domain.chats.models import DeliveryKind
from services.domain.chats.sending import SAID_BY_AGENT, Piece, batch_key, find_batch, write_message
from services.domain.contacts.destinations import find_agent_of
from services.domain.errors import DestinationMissing, Invalid
from services.domain.media.inbox import pass_file
from services.domain.ports.chat_abilities import Ability, SendsFiles
from services.domain.ports.storage import ObjectStorage
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now
from services.kit.environment import environment
from services.kit.file_names import content_type_of
from services.mcp_gateway.callers import Caller
from services.mcp_gateway.mcp_servers.chat.messages import is_for_asker, say_to_other, spot_for
from services.mcp_gateway.mcp_servers.chat.models import Key, Sent, Thread, To
from services.mcp_gateway.mcp_servers.chat.platforms import require_ability
from services.mcp_gateway.mcp_servers.tools import Tool, ToolInput
from services.mcp_gateway.threads import run_in_thread
from services.mcp_gateway.workspace_files import WorkspaceFile, read_files

# What a person is asked about is read before it is known whether the chat's platform takes so much.
MOST_FILE_BYTES = 50_000_000


class FileInput(ToolInput):
    to: To = "here"
    path: str = Field(
        min_length=1, max_length=1_000, description="A file of your workspace, relative to it. No other file."
    )
    caption: str = Field(default="", max_length=1_000, description="A word about it. Markdown.")
    thread: Thread = None
    key: Key = None


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is known before the file is read."""

    max_bytes: int
    caption: str


@functools.cache
def _storage() -> ObjectStorage:
    return storage_of(environment())


def _plan(caller: Caller, given: FileInput) -> _Plan:
    require(caller.actor, "tasks:write")
    with tenant_transaction(caller.actor.org_id):
        kind = spot_for(caller.task, given.to, given.thread).chat.link.kind
    adapter = require_ability(kind, Ability.FILES)
    if not isinstance(adapter, SendsFiles):
        raise Invalid("This platform takes no files.")
    parts = adapter.render(given.caption) if given.caption.strip() else [""]
    if len(parts) > 1 or len(parts[0].encode("utf-16-le")) // 2 > adapter.max_caption:
        raise Invalid("The caption is too long.", fields={"caption": "send the text as a message"})
    return _Plan(adapter.max_file_bytes, parts[0])


def _send_now(caller: Caller, given: FileInput, plan: _Plan, file: WorkspaceFile) -> Sent:
    name, digest = file.name, file.seen().sha256
    org_id = caller.actor.org_id
    object_key = f"outgoing/{org_id}/{uuid.uuid4()}"
    with tenant_transaction(org_id):
        spot = spot_for(caller.task, given.to, given.thread)
        batch = batch_key(
            f"{SAID_BY_AGENT}{caller.task.id}",
            "file",
            spot.chat.id,
            spot.thread_id,
            name,
            digest,
            given.caption,
            given.key,
        )
        is_new = not find_batch(batch)
    if is_new:
        _storage().put(object_key, io.BytesIO(file.content))
    payload = {
        "key": object_key,
        "name": name,
        "content_type": content_type_of(name),
        "size_bytes": len(file.content),
    }
    with tenant_transaction(org_id):
        piece = Piece(plan.caption, DeliveryKind.FILE, payload)
        written = write_message(spot, [piece], batch=batch, task=caller.task)
    if is_new and (written.first.payload or {}).get("key") != object_key:
        _storage().delete(object_key)
    return Sent.of(written)


def _is_for_agent(caller: Caller, to: str) -> bool:
    with tenant_transaction(caller.actor.org_id):
        return find_agent_of(caller.task, to) is not None or is_for_asker(caller.task, to)


def _pass_now(caller: Caller, given: FileInput, file: WorkspaceFile) -> Sent:
    """Put a file of this workspace into another agent's, and tell it; the same file with the same words once."""
    digest, size = file.seen().sha256, len(file.content)
    path = f"inbox/{digest[:12]}/{file.name}"
    org_id = caller.actor.org_id
    object_key = f"incoming/{now():%Y%m%d}/{uuid.uuid4()}"
    _storage().put(object_key, io.BytesIO(file.content))
    words = f"{given.caption}\n\n[A file for you: {path}, {size} bytes]".strip()
    with tenant_transaction(org_id):
        said = say_to_other(caller, given.to, words, "file", file.name, digest, given.caption, given.key)
        if said is None:
            raise DestinationMissing("There is no such agent among your destinations any more.")
        is_new = pass_file(org_id, said.workspace_id, path, object_key)
    if not is_new:
        _storage().delete(object_key)
    return Sent.to_agent(said)


async def _send(caller: Caller, given: FileInput) -> Sent:
    if await run_in_thread(_is_for_agent, caller, given.to):
        (passed,) = await read_files(caller, [given.path])
        return await run_in_thread(_pass_now, caller, given, passed)
    plan = await run_in_thread(_plan, caller, given)
    (file,) = await read_files(caller, [given.path], plan.max_bytes)
    if not file.content:
        raise Invalid("The file is empty.", fields={"path": "empty"})
    return await run_in_thread(_send_now, caller, given, plan, file)


FILE_TOOLS = (
    Tool(
        "send_file",
        "Send a file of your workspace to a chat, or into another agent's workspace. It must lie in the workspace "
        "itself: links out of it are not followed.",
        FileInput,
        Sent,
        _send,
        files_of=lambda given: [given.path],
        most_file_bytes=MOST_FILE_BYTES,
    ),
)
