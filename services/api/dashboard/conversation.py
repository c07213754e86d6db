"""Folds a workspace's durable events into what a page shows: turns, each with its messages and tool calls.

`static/dashboard/js/conversation.js` goes on from there with the events that come live; both fill the same
templates, `templates/dashboard/conversation/*.html`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from services.domain.events.models import Event
from services.domain.tasks.models import Task

TELLING = ("command", "file_path", "path", "pattern", "query", "url", "name", "prompt", "description")
"""Keys of a tool's input whose value says most, the best first."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

WAITING = "waiting until the agent takes it"
"""What is said of a follow-up that no turn has taken yet."""

UNFINISHED = ("queued", "running", "starting", "waiting")


@dataclass
class Message:
    """Something that a person or the agent said. `id` and `state` are a follow-up's: how far it is, in words."""

    role: str
    text: str
    at: datetime
    id: str = ""
    state: str = ""
    is_tool = False


@dataclass
class ToolCall:
    """One use of a tool, with its result once there is one."""

    call_id: str
    name: str
    input: str
    summary: str
    state: str = "running"
    output: str = ""
    is_truncated: bool = False
    duration_ms: int | None = None
    is_open: bool = False
    is_tool = True


@dataclass
class Refused:
    """Something outside that the agent was not let at, and what a person said to it: `pending` while nobody has."""

    host: str
    port: int
    method: str
    reason: str
    count: int = 1
    approval_id: str = ""
    decision: str = ""
    is_tool = False
    is_refusal = True

    @property
    def key(self) -> str:
        """What tells it from other refusals of the turn."""
        return f"{self.method} {self.host}:{self.port} {self.reason}"

    @property
    def place(self) -> str:
        return f"{self.method} {self.host}:{self.port}"

    @property
    def why(self) -> str:
        return self.reason.replace("_", " ")


@dataclass
class Turn:
    """One task: what was asked, what happened, how it ended."""

    task_id: str
    status: str = "queued"
    items: list[Message | ToolCall | Refused] = field(default_factory=list)
    started_at: datetime | None = None
    finished_at: datetime | None = None
    error: dict[str, str] | None = None
    usage: dict[str, Any] = field(default_factory=dict)
    deliveries: dict[str, dict[str, str]] = field(default_factory=dict)
    calls: dict[str, ToolCall] = field(default_factory=dict)
    refusals: dict[str, Refused] = field(default_factory=dict)

    @property
    def is_finished(self) -> bool:
        return self.status not in UNFINISHED

    @property
    def duration_ms(self) -> int | None:
        """How long it worked, once it has ended; reckoned as a browser does, whose clock counts whole milliseconds."""
        if self.started_at is None or self.finished_at is None:
            return None
        return _milliseconds(self.finished_at) - _milliseconds(self.started_at)

    @property
    def tokens(self) -> int:
        return int(self.usage.get("input_tokens") or 0) + int(self.usage.get("output_tokens") or 0)

    @property
    def has_answer(self) -> bool:
        """Say whether the agent said something, rather than only used tools."""
        return any(isinstance(item, Message) and item.role == "assistant" for item in self.items)


@dataclass
class Conversation:
    """The turns in the order in which they were asked, and the number of the last event that is in them."""

    turns: dict[str, Turn] = field(default_factory=dict)
    last_seq: int = 0
    sandbox_state: str = ""
    decisions: dict[str, str] = field(default_factory=dict)

    @property
    def unfinished(self) -> Turn | None:
        """Return the oldest turn that has not ended."""
        return next((turn for turn in self.turns.values() if not turn.is_finished), None)


def fold(events: Iterable[Event]) -> Conversation:
    """Return the conversation that the events tell, in the order of their numbers."""
    conversation = Conversation()
    for event in events:
        conversation.last_seq = event.seq
        if event.type == "sandbox.changed":
            conversation.sandbox_state = str(event.data.get("state", ""))
        elif event.type == "approval.decided":
            conversation.decisions[str(event.data.get("approval_id"))] = str(event.data.get("status", ""))
        elif event.task_id is not None:
            turn = conversation.turns.setdefault(str(event.task_id), Turn(str(event.task_id)))
            _apply(turn, event)
    for turn in conversation.turns.values():
        _open_telling_calls(turn)
        for refused in turn.refusals.values():
            if refused.approval_id:
                refused.decision = conversation.decisions.get(refused.approval_id, "pending")
    return conversation


def complete(conversation: Conversation, unfinished: Iterable[Task]) -> None:
    """Add what the events cannot tell when the earlier ones are left out: which turns are at work.

    `unfinished` was read before the events, so a turn that the events call finished is finished.
    """
    tasks = {str(task.id): task for task in unfinished}
    for turn in list(conversation.turns.values()):
        task = tasks.get(turn.task_id)
        if task is not None and turn.status == "queued":
            turn.status, turn.started_at = task.status, task.started_at
        elif task is None and not turn.items and not turn.is_finished:
            # Only what came after its end is left of it.
            del conversation.turns[turn.task_id]


def _milliseconds(at: datetime) -> int:
    return (at - EPOCH) // timedelta(milliseconds=1)


def _apply(turn: Turn, event: Event) -> None:
    found = event.data
    match event.type:
        case "task.started":
            turn.status, turn.started_at = "running", event.at
        case "task.waiting":
            turn.status = "waiting"
        case "task.resumed":
            turn.status = "running"
        case "message.created":
            _say(turn, event)
        case "message.edited":
            _edit(turn, str(found.get("text", "")))
        case "message.consumed":
            _follow_up(turn, str(found.get("id")), "")
        case "message.settled":
            _settle(turn, found)
        case "tool.called":
            _call(turn, str(found.get("call_id")), str(found.get("name", "")), found.get("input"))
        case "tool.returned":
            _return(turn, found)
        case "egress.refused":
            _refuse(turn, found)
        case "task.finished":
            _finish(turn, event)
        case "delivery.changed":
            turn.deliveries[str(found.get("delivery_id"))] = {
                "status": str(found.get("status", "")), "error": str(found.get("error", "")),
            }  # fmt: skip


def _say(turn: Turn, event: Event) -> None:
    found = event.data
    follow_up = str(found.get("id") or "")
    said = Message(str(found.get("role")), str(found.get("text", "")), event.at, follow_up)
    said.state = WAITING if follow_up and said.role == "user" else ""
    turn.items.append(said)


def _follow_up(turn: Turn, message_id: str, state: str) -> None:
    for item in turn.items:
        if isinstance(item, Message) and item.id == message_id:
            item.state = state


def _settle(turn: Turn, found: dict[str, Any]) -> None:
    """Show how a follow-up ended; what became a turn of its own is told there."""
    message_id = str(found.get("id"))
    if found.get("state") == "moved":
        turn.items = [
            item for item in turn.items if not (isinstance(item, Message) and item.id == message_id)
        ]
        return
    reason = str(found.get("reason") or "").replace("_", " ")
    _follow_up(turn, message_id, f"not taken: {reason}" if found.get("state") == "dropped" else "")


def _edit(turn: Turn, text: str) -> None:
    """Show what a turn is asked for as its writer has changed it, before the turn began."""
    asked = next((item for item in turn.items if isinstance(item, Message) and item.role == "user"), None)
    if asked is not None:
        asked.text = text


def _call(turn: Turn, call_id: str, name: str, given: Any) -> ToolCall:
    call = ToolCall(call_id, show_tool_name(name), show_input(given), summarise(given))
    turn.items.append(call)
    turn.calls[call_id] = call
    return call


def _return(turn: Turn, found: dict[str, Any]) -> None:
    call_id = str(found.get("call_id"))
    call = turn.calls.get(call_id) or _call(turn, call_id, "Tool", None)
    call.state = "failed" if found.get("is_error") else "succeeded"
    call.output = str(found.get("output", ""))
    call.is_truncated = bool(found.get("truncated"))
    duration = found.get("duration_ms")
    call.duration_ms = duration if isinstance(duration, int) else None


def _refuse(turn: Turn, found: dict[str, Any]) -> None:
    told = Refused(
        host=str(found.get("host", "")),
        port=int(found.get("port") or 0),
        method=str(found.get("method", "")),
        reason=str(found.get("reason", "")),
    )
    if told.key not in turn.refusals:
        turn.items.append(told)
    refused = turn.refusals.setdefault(told.key, told)
    refused.count = int(found.get("count") or 1)
    refused.approval_id = str(found.get("approval_id") or "")


def _finish(turn: Turn, event: Event) -> None:
    found = event.data
    turn.status, turn.finished_at = str(found.get("status", "")), event.at
    turn.error, turn.usage = found.get("error"), found.get("usage") or {}
    for call in turn.calls.values():
        if call.state == "running":
            call.state = "stopped"
    text = str(found.get("text", ""))
    if text and not turn.has_answer and not turn.calls:
        turn.items.append(Message("assistant", text, event.at))


def _open_telling_calls(turn: Turn) -> None:
    """Open the calls that are still at work, and the last one while the agent has not said anything itself."""
    for call in turn.calls.values():
        call.is_open = call.state == "running"
    if turn.calls and not turn.has_answer:
        next(reversed(turn.calls.values())).is_open = True


def show_input(given: Any) -> str:
    """Return a tool's input as a person reads it: a lone command as it is, anything else as JSON."""
    if given is None:
        return ""
    if isinstance(given, str):
        return given
    if isinstance(given, dict) and list(given) == ["command"] and isinstance(given["command"], str):
        return given["command"]
    # Sorted, because the database keeps no order of keys and a reload must not change what one reads.
    return json.dumps(given, indent=2, ensure_ascii=False, sort_keys=True)


def show_tool_name(name: str) -> str:
    """Return a tool's name as a person reads it: `memory: write` for `mcp__memory__write`."""
    server, separator, tool = name.removeprefix("mcp__").partition("__")
    return f"{server}: {tool}" if separator and name.startswith("mcp__") else name


def summarise(given: Any) -> str:
    """Return one line that tells a call from the others: the first line of its most telling text."""
    if isinstance(given, dict):
        texts = {key: value for key, value in sorted(given.items()) if isinstance(value, str) and value}
        given = next((texts[key] for key in TELLING if key in texts), next(iter(texts.values()), ""))
    if not isinstance(given, str):
        return ""
    return next((line.strip() for line in given.splitlines() if line.strip()), "")[:160]
