"""What happens around every call of a tool, whoever's tool it is: limits before it, a record after it."""

from __future__ import annotations

import contextlib
import math
import re
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NotRequired, Protocol, TypedDict, Unpack

from mcp_types import CallToolResult, TextContent
from starlette.responses import JSONResponse, Response
from starlette.types import Scope

from services.domain.calls.models import CallKind
from services.domain.calls.records import CallRecord, outcome_of
from services.domain.errors import RateLimited
from services.domain.tasks.models import Task
from services.kit import tracing
from services.kit.clock import now
from services.mcp_gateway.call_log import CALL_LOG, elapsed_ms
from services.mcp_gateway.limits import LIMITS, Rate, flood_limit, limits_of_call

UNKNOWN = "(unknown)"
"""Stands on record for the name of a tool that there is not: it is whatever a model made up."""
TOO_MANY = "Too many requests."
_MOST_BYTES = 2**31 - 1
_CODE = re.compile(r"([a-z][a-z0-9_]{0,59}): ")
_WORDS = {
    "tool": "This tool was called too often.",
    "task": "Too many tools were called.",
    "token": "Too many tools were called with this token.",
    "organisation": "The organisation's agents call too many tools at the moment.",
}


class How(TypedDict):
    """How a call went, as its record has it."""

    code: str
    started_at: datetime
    duration_ms: float
    request_bytes: int
    result_bytes: int
    attempts: NotRequired[int | None]


class Watched(Protocol):
    """A call under way; `code` is empty while nothing went wrong."""

    code: str


@dataclass(frozen=True, slots=True)
class Who:
    """On whose account a call goes: `key` is what it is limited by, a task or a person's own program.

    `traceparent` is that of the task, empty if it is not traced; None where no task is, and a trace begins.
    """

    org_id: uuid.UUID
    key: uuid.UUID
    task_id: uuid.UUID | None
    agent_id: uuid.UUID | None
    user_id: uuid.UUID | None
    traceparent: str | None

    def record(self, kind: CallKind, server: str, tool: str, **how: Unpack[How]) -> CallRecord:
        """Return the record of a call that ended."""
        return CallRecord(
            org_id=self.org_id,
            kind=kind,
            server=server,
            tool=tool,
            task_id=self.task_id,
            agent_id=self.agent_id,
            user_id=self.user_id,
            **how,
        )


def who_of(task: Task) -> Who:
    """Return the account of an agent at work."""
    return Who(task.org_id, task.id, task.id, task.agent_id, task.user_id, task.traceparent)


class Watch:
    """One call under way, and what is known of how it went."""

    __slots__ = ("code", "result_bytes", "server", "tool", "who")

    def __init__(self, who: Who, server: str) -> None:
        self.who, self.server, self.tool = who, server, UNKNOWN
        self.code = ""
        self.result_bytes = 0

    async def admitted(self, rate: Rate | None = None) -> CallToolResult | None:
        """Return None when the limits let the call through, else the result that says when to come back."""
        who = self.who
        caller: Literal["task", "token"] = "task" if who.task_id is not None else "token"
        limits = limits_of_call(who.org_id, who.key, self.server, self.tool, rate, caller=caller)
        exceeded = await LIMITS.admit(limits)
        if exceeded is None:
            return None
        wait_s = math.ceil(exceeded.retry_after_s)
        text = f"{RateLimited.code}: {_WORDS[exceeded.limit.what]} Wait {wait_s} s, then call again."
        return CallToolResult(content=[TextContent(type="text", text=text)], is_error=True)

    def own(self, result: CallToolResult, code: str = "") -> CallToolResult:
        """Note a result that we made; an error of ours begins with its code."""
        if result.is_error:
            text = result.content[0].text if isinstance(result.content[0], TextContent) else ""
            found = _CODE.match(text)
            self.code = code or (found[1] if found else "error")
        self.result_bytes = _size_of(result)
        return result

    def held(self, result: CallToolResult) -> CallToolResult:
        """Note a call that was held; what was allowed and made is on record by itself."""
        self.own(result)
        self.code = self.code or "held"
        return result

    def theirs(self, result: CallToolResult) -> CallToolResult:
        """Note a result that another party made."""
        self.code = "tool_error" if result.is_error else ""
        self.result_bytes = _size_of(result)
        return result


@contextlib.contextmanager
def breaking_off(watch: Watched) -> Iterator[None]:
    """Note in a call's code that the block ended by an exception."""
    try:
        yield
    except Exception:
        watch.code = watch.code or "internal"
        raise
    except BaseException:
        # The client went away, or the process is told to stop.
        watch.code = "cancelled"
        raise


@contextlib.contextmanager
def watched(who: Who, kind: CallKind, server: str, scope: Scope) -> Iterator[Watch]:
    """Frame one call of a tool: whatever becomes of it is counted and put on record."""
    watch = Watch(who, server)
    started_at, began = now(), time.perf_counter()
    try:
        with tracing.span("mcp.call", parent=who.traceparent, link=claimed_parent(scope), kind=kind.value):
            try:
                with breaking_off(watch):
                    yield watch
            finally:
                if tracing.is_on():
                    _describe(watch, kind)
    finally:
        CALL_LOG.note(
            who.record(
                kind,
                server,
                watch.tool,
                code=watch.code,
                started_at=started_at,
                duration_ms=elapsed_ms(began),
                request_bytes=length_of(scope),
                result_bytes=watch.result_bytes,
            )
        )


def claimed_parent(scope: Scope) -> str:
    """Return the traceparent that a request names; whoever sends it may name any, so it is only linked to."""
    if tracing.is_on():
        for name, value in scope.get("headers", ()):
            if name == b"traceparent":
                return str(value.decode("latin-1"))
    return ""


def _describe(watch: Watch, kind: CallKind) -> None:
    outcome = outcome_of(watch.code).value
    if kind is CallKind.OWN:
        tracing.note(server=watch.server, tool=watch.tool, outcome=outcome, code=watch.code)
    else:
        # What tenants call their servers and tools is theirs.
        tracing.note(outcome=outcome)


def too_many(task: Task) -> Response | None:
    """Return the answer to a task that floods this gateway with requests of any kind; None for any other."""
    return flooded(str(task.id))


def flooded(key: str) -> Response | None:
    """Return the answer to a caller of any kind that floods this gateway; None for any other."""
    wait_s = flood_wait_s(key)
    if wait_s is None:
        return None
    error = {"code": RateLimited.code, "message": TOO_MANY}
    return JSONResponse({"error": error}, RateLimited.status, {"Retry-After": str(wait_s)})


def flood_wait_s(key: str) -> int | None:
    """Return when a caller that floods this gateway may come back; None for any other."""
    exceeded = LIMITS.admit_here(flood_limit(key))
    if exceeded is None:
        return None
    CALL_LOG.turned_away["flood"] += 1
    return math.ceil(exceeded.retry_after_s)


def _size_of(result: CallToolResult) -> int:
    texts = (part.text for part in result.content if isinstance(part, TextContent))
    return sum(len(text) if text.isascii() else len(text.encode()) for text in texts)


def length_of(scope: Scope) -> int:
    """Return the size of a request's body as it was announced; 0 where it was not."""
    for name, value in scope.get("headers", ()):
        if name == b"content-length":
            return min(int(value), _MOST_BYTES) if value.isdigit() else 0
    return 0
