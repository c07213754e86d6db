"""A workspace's conversation as text that one can read."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from typing import Any

from services.domain.actors import Actor
from services.domain.events.models import Event
from services.domain.workspaces.queries import get_workspace

_SHOWN = ("message.created", "tool.called", "tool.returned", "task.finished")
_MOST_EVENTS = 5_000
_TOOL_CHARS = 500


@dataclass(frozen=True, slots=True)
class Transcript:
    """The end of a conversation; `is_cut` says that its beginning was left out. `head` is the last event's number."""

    text: str
    is_cut: bool
    head: int


def get_transcript(actor: Actor, workspace_id: uuid.UUID, *, max_chars: int) -> Transcript:
    """Return the last part of a workspace's conversation, within the tenant's transaction. Raises: WorkspaceMissing."""
    stream = get_workspace(actor, workspace_id).stream
    newest = Event.objects.filter(stream=stream, type__in=_SHOWN).order_by("-seq")[:_MOST_EVENTS]
    parts: list[str] = []
    size, head, is_cut = 0, 0, False
    for event in newest.iterator(chunk_size=200):
        head = head or event.seq
        part = _show(event)
        if not part:
            continue
        if size + len(part) + 2 > max_chars:
            is_cut = True
            if not parts:
                parts.append(part[-max_chars:])
            break
        parts.append(part)
        size += len(part) + 2
    return Transcript("\n\n".join(reversed(parts)), is_cut, head)


def _show(event: Event) -> str:
    data: dict[str, Any] = event.data
    match event.type:
        case "message.created":
            who = "Person" if data.get("role") == "user" else "Agent"
            return f"{who}: {data.get('text', '')}"
        case "tool.called":
            return f"[calls {data.get('name', '')} {_cut(json.dumps(data.get('input'), ensure_ascii=False))}]"
        case "tool.returned":
            how = "failed" if data.get("is_error") else "gave"
            return f"[{how}: {_cut(str(data.get('output', '')))}]"
        case "task.finished" if data.get("status") != "succeeded":
            error = data.get("error") or {}
            return f"[the task {data.get('status')}: {error.get('message', '')}]"
    return ""


def _cut(text: str) -> str:
    return text if len(text) <= _TOOL_CHARS else f"{text[:_TOOL_CHARS]}…"
