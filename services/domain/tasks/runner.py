"""What a runner is told, and what it says: the turn that it gets, the journal that it sends."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Annotated, Any

from django.db import connection
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from services.domain.agents.models import DEFAULT_MCP_SERVERS, Agent, Provider
from services.domain.commands.actions import store_command_entry
from services.domain.contacts.introducing import introduce
from services.domain.egress.rules import read_rules
from services.domain.errors import Conflict
from services.domain.events.announcing import announce_change
from services.domain.events.listed import TaskChanged
from services.domain.events.log import NewEvent, record_events
from services.domain.events.models import RunnerJournal
from services.domain.events.types import (
    FROM_RUNNER,
    EventData,
    MessageConsumed,
    TaskStarted,
    ToolCalled,
    ToolReturned,
    TurnDone,
    TurnStarted,
)
from services.domain.integrations.names import ACCOUNT_SERVERS
from services.domain.llm.policy import choose_effort
from services.domain.skills.actions import say_skills, skills_of_turn
from services.domain.tasks.finish import Outcome, finish_locked_task
from services.domain.tasks.follow_ups import note_consumed
from services.domain.tasks.models import ACTIVE, MessageState, Task, TaskMessage, TaskStatus
from services.domain.tasks.output import ask_for_json, read_output
from services.domain.tasks.tokens import revoke_tokens
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.upstreams.in_sandbox import list_sandbox_servers
from services.domain.upstreams.queries import list_remote_names
from services.domain.vault.grants import equip_task
from services.domain.workspaces.actions import save_session
from services.domain.workspaces.queries import get_session
from services.kit import tracing
from services.kit.clock import now
from services.kit.ids import uuid7
from services.kit.rows import first_of
from services.kit.storable import storable
from services.kit.tokens import TASK_TOKEN_PREFIX, hash_token, make_token

TOKEN_GRACE = timedelta(minutes=10)
_OWN_SERVERS = frozenset({*DEFAULT_MCP_SERVERS, *ACCOUNT_SERVERS})
_LOCK_JOURNAL = """
INSERT INTO runner_journal (id, org_id, sandbox_id, journal, stored_n, updated_at) VALUES (%s, %s, %s, %s, 0, now())
ON CONFLICT (sandbox_id, journal) DO UPDATE SET updated_at = excluded.updated_at RETURNING *
"""
_FIND_JOURNAL = "SELECT * FROM runner_journal WHERE sandbox_id = %s AND journal = %s"
_WAITING_MESSAGES = """
SELECT id, task_id, text FROM task_message WHERE task_id = ANY(%s) AND state = %s ORDER BY id
"""
_LINK_WORK = """
SELECT id, org_id, sandbox_id, status, cancel_requested_at, started_at, deadline_at, timeout_s, waited_ms,
  EXISTS (
    SELECT 1 FROM inbox_file f
    WHERE f.workspace_id = task.workspace_id AND (f.placed_at IS NULL OR f.task_id = task.id)
  ) AS has_inbox
FROM task WHERE id = ANY(%s)
"""
# On the way of every turn: written out, as the ORM takes longer to make them than the server to run them.
_LOCK_AT_WORK = "SELECT * FROM task WHERE id = %s AND sandbox_id = %s AND status = ANY(%s) FOR UPDATE"
_START = """
UPDATE task SET status = %s, started_at = %s, deadline_at = %s, lease_token = NULL, lease_until = NULL WHERE id = %s
"""
_MINT = """
INSERT INTO task_token (id, org_id, created_at, task_id, audience, token_hash, expires_at)
VALUES (%s, %s, %s, %s, %s, %s, %s)
"""
LLM_PATHS = {"anthropic": "/llm/anthropic", "openai": "/llm/openai"}


class JournalGap(Conflict):
    """An entry came before the one it follows; the runner must send again from what is stored."""

    code = "journal_gap"


class JournalEntry(BaseModel):
    """One numbered entry of a runner's journal, of a turn or of a command, as it comes over the link."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    n: int = Field(ge=1)
    turn: uuid.UUID | None = None
    command: uuid.UUID | None = None
    type: str = Field(max_length=40)
    data: Annotated[dict[str, Any], BeforeValidator(storable)] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Said:
    """Something of a turn that is stored now and was not before: a tool called or returned, or the turn's end."""

    task: Task
    event: EventData


@dataclass(frozen=True, slots=True)
class Stored:
    """Up to which number a journal is stored, the head of the stream that was written to, if one was, and what of the
    news tells of calls."""

    n: int
    head: int | None
    said: tuple[Said, ...] = ()


@dataclass
class _Batch:
    """What the entries of one task add up to, before it is written."""

    task: Task
    events: list[NewEvent] = field(default_factory=list)
    done: TurnDone | None = None


def issue_turn(org_id: uuid.UUID, task_id: uuid.UUID, sandbox_id: uuid.UUID) -> dict[str, Any] | None:
    """Make the `turn` frame of a task for its sandbox, with fresh tokens; None when it is not to run there (any more).

    Earlier tokens of the task are revoked: a turn is issued again only when the runner did not get the first.
    """
    with tenant_transaction(org_id):
        task = _lock_at_work(task_id, sandbox_id)
        if task is None or task.cancel_requested_at is not None:
            return None
        (agent,) = Agent.objects.raw("SELECT * FROM agent WHERE id = %s", [task.agent_id])
        task.agent = agent
        _execute("UPDATE task SET agent_version = %s WHERE id = %s", [agent.version, task.id])
        revoke_tokens(task)
        llm = model_wire(agent.provider, task.model)
        servers = _servers_of(task)
        tokens = _mint(task, [f"mcp:{name}" for name in servers] + (["llm"] if llm else []))
        session = get_session(task.workspace_id)
        equipment = equip_task(task)
        skills = skills_of_turn(agent.skills) if agent.skills else []
        told = (
            agent.instructions,
            say_skills(skills),
            introduce(task.user_id),
            ask_for_json(task.output_schema),
        )
        return {
            "op": "turn",
            "turn": str(task.id),
            "provider": agent.provider,
            "prompt": task.prompt,
            "instructions": "\n\n".join(filter(None, told)),
            "model": task.model or None,
            "max_turns": task.max_turns,
            "timeout_s": task.timeout_s,
            "tools": agent.tools,
            "env": equipment.environment,
            "mcp": [
                {"name": name, "path": f"/mcp/{name}", "token": tokens[f"mcp:{name}"]} for name in servers
            ],
            "llm": {"kind": llm, "path": LLM_PATHS[llm], "token": tokens["llm"]} if llm else None,
            "session": {"id": session[0], "entries": session[1]} if session else None,
            "options": {
                **_options_of(task, has_placeholders=equipment.has_placeholders),
                **({"skills": skills} if skills else {}),
                **_trace_of(task),
            },
        }


def _options_of(task: Task, *, has_placeholders: bool) -> dict[str, Any]:
    options: dict[str, Any] = {"output_schema": task.output_schema} if task.output_schema else {}
    if effort := choose_effort(task.agent):
        options["effort"] = effort
    if any(rule.methods for rule in read_rules(task.agent.egress)) or has_placeholders:
        # The proxy ends TLS for these: the gateway adds its authority, which the sandbox must trust.
        options["egress"] = {"ca_pem": None}
    if in_sandbox := list_sandbox_servers(task.user_id, _registered(task)):
        options["mcp_stdio"] = in_sandbox
    return options


def _trace_of(task: Task) -> dict[str, str]:
    """Return what the runner may name as the cause of its requests. What it names is linked to, never believed."""
    with tracing.span("turn.issue", parent=task.traceparent, provider=task.agent.provider):
        traceparent = tracing.traceparent()
    return {"traceparent": traceparent} if traceparent else {}


def _servers_of(task: Task) -> list[str]:
    """Return the MCP servers that a turn reaches: the agent's, without those that are not for this task's person."""
    usable = {*_OWN_SERVERS, *list_remote_names(task.user_id, _registered(task))}
    return [name for name in task.agent.mcp_servers if name in usable]


def _registered(task: Task) -> list[str]:
    """Return those of the agent's servers that are not the platform's own."""
    return [name for name in task.agent.mcp_servers if name not in _OWN_SERVERS]


def model_wire(provider: str, model: str) -> str | None:
    """Return the wire format in which a provider talks to its model; None for one without a model."""
    match provider:
        case Provider.CLAUDE:
            return "anthropic"
        case Provider.CODEX:
            return "openai"
        case Provider.OPENCODE:
            return "anthropic" if model.startswith("claude") else "openai"
    return None


def _mint(task: Task, audiences: Sequence[str]) -> dict[str, str]:
    expires_at = now() + timedelta(seconds=task.timeout_s) + TOKEN_GRACE
    texts = {audience: make_token(TASK_TOKEN_PREFIX) for audience in audiences}
    with connection.cursor() as cursor:
        cursor.executemany(
            _MINT,
            [
                (uuid7(), task.org_id, now(), task.id, audience, hash_token(text), expires_at)
                for audience, text in texts.items()
            ],
        )
    return texts


def store_journal(
    org_id: uuid.UUID, sandbox_id: uuid.UUID, journal: uuid.UUID, entries: Sequence[JournalEntry]
) -> Stored:
    """Store a runner's entries once each, and say how far the journal is stored.

    A repeat is recognised by its number. Entries of a task that is not this sandbox's, or that has ended, are passed
    over. Raises: JournalGap, and then nothing of the batch is stored.
    Locks: the journal, then each task named. Emits: what the runner says, and TaskStarted, TaskFinished.
    """
    with tenant_transaction(org_id):
        row = _lock_journal(org_id, sandbox_id, journal)
        batches: dict[uuid.UUID, _Batch | None] = {}
        for entry in entries:
            if entry.n <= row.stored_n:
                continue
            if entry.n != row.stored_n + 1:
                raise JournalGap(f"entry {entry.n} came after {row.stored_n}", stored=row.stored_n)
            row.stored_n = entry.n
            if entry.command is not None:
                store_command_entry(entry.command, sandbox_id, entry.type, entry.data)
            if entry.turn is None:
                continue
            if entry.turn not in batches:
                batches[entry.turn] = _open_batch(entry.turn, sandbox_id)
            batch = batches[entry.turn]
            if batch is not None and batch.done is None:
                _apply(batch, entry)
        head, said = None, []
        for batch in batches.values():
            if batch is not None:
                head = _write(batch) or head
                said += _said_of(batch)
        _execute("UPDATE runner_journal SET stored_n = %s WHERE id = %s", [row.stored_n, row.id])
        return Stored(row.stored_n, head, tuple(said))


def _lock_journal(org_id: uuid.UUID, sandbox_id: uuid.UUID, journal: uuid.UUID) -> RunnerJournal:
    row, *_ = RunnerJournal.objects.raw(_LOCK_JOURNAL, [uuid7(), org_id, sandbox_id, journal])
    return row


def _execute(statement: str, parameters: Sequence[Any]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)


def get_stored_n(org_id: uuid.UUID, sandbox_id: uuid.UUID, journal: uuid.UUID) -> int:
    """Return how far a journal is stored; 0 for a new one."""
    with tenant_transaction(org_id):
        row = first_of(RunnerJournal.objects.raw(_FIND_JOURNAL, [sandbox_id, journal]))
        return row.stored_n if row is not None else 0


def _open_batch(task_id: uuid.UUID, sandbox_id: uuid.UUID) -> _Batch | None:
    task = _lock_at_work(task_id, sandbox_id)
    return _Batch(task) if task else None


def _lock_at_work(task_id: uuid.UUID, sandbox_id: uuid.UUID) -> Task | None:
    return first_of(
        Task.objects.raw(_LOCK_AT_WORK, [task_id, sandbox_id, [str(status) for status in ACTIVE]])
    )


def _apply(batch: _Batch, entry: JournalEntry) -> None:
    task = batch.task
    if entry.type == "session.saved":
        session_id, entries = str(entry.data.get("session_id", ""))[:120], entry.data.get("entries")
        if session_id and isinstance(entries, list):
            save_session(task.workspace, session_id, entries)
        return
    if entry.type == TurnStarted.type:
        if task.status == TaskStatus.STARTING:
            _start(batch)
        batch.events.append(
            NewEvent(TurnStarted(provider=str(entry.data.get("provider", ""))[:40]), task.id, task.turn)
        )
        return
    try:
        if entry.type == TurnDone.type:
            batch.done = TurnDone.model_validate(entry.data)
        elif entry.type in FROM_RUNNER:
            if entry.type == MessageConsumed.type:
                note_consumed(task, str(entry.data.get("id", "")))
            batch.events.append(
                NewEvent(FROM_RUNNER[entry.type].model_validate(entry.data), task.id, task.turn)
            )
    except ValidationError:
        if entry.type == TurnDone.type:
            # A runner that cannot even end its turn properly must not leave the task open.
            batch.done = TurnDone(
                status="failed",
                error={"code": "runner_protocol", "message": "The runner's last word was unreadable."},
            )


def _start(batch: _Batch) -> None:
    task = batch.task
    moment = now()
    task.status = TaskStatus.RUNNING
    task.started_at = moment
    task.deadline_at = moment + timedelta(seconds=task.timeout_s)
    task.lease_token = task.lease_until = None
    _execute(_START, [str(task.status), moment, task.deadline_at, task.id])
    batch.events.append(NewEvent(TaskStarted(task_id=str(task.id)), task.id, task.turn))
    announce_change(TaskChanged, task)


def _write(batch: _Batch) -> int | None:
    written = record_events(f"workspace:{batch.task.workspace_id}", batch.events)
    if batch.done is None:
        return written[-1].seq if written else None
    done = batch.done
    error = (
        (done.error.get("code", "failed")[:60], done.error.get("message", "")[:2_000]) if done.error else None
    )
    status = done.status
    if status == "succeeded" and batch.task.output_schema is not None:
        _, fault = read_output(done.text, batch.task.output_schema)
        if fault:
            # Whoever asked for JSON gets it, or is told: never something else as if it were that.
            status, error = "failed", ("output_invalid", fault)
    finish_locked_task(
        batch.task,
        Outcome(
            status=status,
            text=done.text,
            error=error,
            turns=done.turns,
            tool_calls=done.tool_calls,
            turn_done=done,
        ),
    )
    return None


def _said_of(batch: _Batch) -> list[Said]:
    told = [event.data for event in batch.events if isinstance(event.data, ToolCalled | ToolReturned)]
    return [Said(batch.task, event) for event in (*told, *([batch.done] if batch.done else []))]


@dataclass(frozen=True, slots=True)
class LinkWork:
    """What the gateway must tell the runner of one sandbox: a task to work on, or one to stop."""

    sandbox_id: uuid.UUID
    org_id: uuid.UUID
    task_id: uuid.UUID
    is_active: bool
    is_cancelled: bool
    extended_s: float | None = None
    """How long the turn may take in all, where that is more than it was told at first: it waited for people."""
    messages: tuple[tuple[uuid.UUID, str], ...] = ()
    """What was said since the turn was asked for and its provider does not have yet, the oldest first."""
    has_inbox: bool = False
    """Files that people sent are to be in the workspace before it hears of them."""


def _extended_s(task: Task) -> float | None:
    is_extended = task.waited_ms > 0 or task.status == TaskStatus.WAITING
    if not is_extended or task.started_at is None or task.deadline_at is None:
        return None
    return max((task.deadline_at - task.started_at).total_seconds(), float(task.timeout_s))


def all_tenants_link_work(task_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, LinkWork]:
    """Return the state of the tasks that sandboxes are at, by task; for the gateway, which serves all tenants."""
    wanted = list(task_ids)
    messages: dict[uuid.UUID, list[tuple[uuid.UUID, str]]] = {}
    waiting = [wanted, str(MessageState.WAITING)]
    for message in TaskMessage.objects.using("operator").raw(_WAITING_MESSAGES, waiting):
        messages.setdefault(message.task_id, []).append((message.id, message.text))
    return {
        row.id: LinkWork(
            sandbox_id=row.sandbox_id,
            org_id=row.org_id,
            task_id=row.id,
            is_active=row.status in ACTIVE,
            is_cancelled=row.cancel_requested_at is not None,
            extended_s=_extended_s(row),
            messages=tuple(messages.get(row.id, ())),
            has_inbox=vars(row)["has_inbox"],
        )
        for row in Task.objects.using("operator").raw(_LINK_WORK, [wanted])
        if row.sandbox_id is not None
    }
