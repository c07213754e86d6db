"""The runner's link, one WebSocket for each sandbox: work goes down, the journal comes up and is stored once.

Source: docs/link.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.websockets import WebSocket, WebSocketDisconnect

from services.domain.errors import SlipwayError, Temporary
from services.domain.events.log import all_tenants_heads
from services.domain.events.types import LIVE_FROM_RUNNER
from services.domain.plane.actions import change_state
from services.domain.plane.models import HOLDS_SLOT, Sandbox, SandboxState
from services.domain.plane.queries import find_sandbox
from services.domain.tasks.dispatch import fail_task
from services.domain.tasks.runner import JournalEntry, LinkWork, get_stored_n, issue_turn, store_journal
from services.kit.clock import now, rfc3339
from services.kit.redisbus import publish_envelopes
from services.mcp_gateway.caller_cache import CALLERS
from services.mcp_gateway.egress.authority import add_authority
from services.mcp_gateway.inbox import fill_inbox
from services.mcp_gateway.sandbox_calls import SandboxCalls
from services.mcp_gateway.threads import run_in_thread

log = logging.getLogger(__name__)

HELLO_TIMEOUT_S = 10.0
PING_S = 10.0
SILENCE_S = 35.0
HEAD_S = 0.25
MOST_AT_ONCE = 500
QUEUED_FRAMES = 2_000

BAD_HELLO, NOT_SERVED, REPLACED, JOURNAL_REFUSED = 4400, 4404, 4409, 4422


class Hello(BaseModel):
    """The first frame of every connection."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    op: str = Field(pattern="^hello$")
    protocol: int = Field(ge=1, le=1)
    journal: uuid.UUID
    oldest: int = Field(ge=1)
    turn: uuid.UUID | None = None
    finished: list[uuid.UUID] = Field(default_factory=list, max_length=100)


class Link:
    """One open connection of one runner."""

    def __init__(self, websocket: WebSocket, sandbox: Sandbox, hello: Hello) -> None:
        self.sandbox_id = sandbox.id
        self.org_id: uuid.UUID | None = None
        self.adopt(sandbox)
        self.task_id: uuid.UUID | None = hello.turn
        """The turn that the runner has; set as soon as one was sent, so that it is not issued twice."""
        self._hello = hello
        self._websocket = websocket
        self._frames: asyncio.Queue[dict[str, Any]] = asyncio.Queue(QUEUED_FRAMES)
        self._cancelled: set[uuid.UUID] = set()
        self._said: set[uuid.UUID] = set()
        self._sandbox_calls = SandboxCalls()
        self._extended: tuple[uuid.UUID, float] | None = None
        self.ready = asyncio.Event()
        self._sending = asyncio.Lock()
        self._telling = asyncio.Lock()
        self._heard_at = time.monotonic()
        self._head = 0
        self._head_read_at = 0.0
        self._part = 0

    def adopt(self, sandbox: Sandbox) -> None:
        """Take over whose the sandbox is: a warm one is nobody's until it is claimed, and then somebody's for good."""
        if self.org_id is None:
            self.org_id = sandbox.org_id
            self.stream = f"workspace:{sandbox.workspace_id}"
        self._is_new = sandbox.state == SandboxState.CREATING

    async def run(self, when_ready: Callable[[], None] = lambda: None) -> None:
        """Serve the link until either side ends it. A runner hears nothing before its welcome: then it is `ready`."""
        stored = 0
        if self.org_id is not None:
            stored = await run_in_thread(get_stored_n, self.org_id, self.sandbox_id, self._hello.journal)
        await self.send({"op": "welcome", "acked": stored})
        self.ready.set()
        when_ready()
        async with asyncio.TaskGroup() as group:
            workers = [group.create_task(work()) for work in (self._receive, self._store, self._ping)]
            # Whichever ends first ends the others: a link without one of them is no link.
            await asyncio.wait(workers, return_when=asyncio.FIRST_COMPLETED)
            for worker in workers:
                worker.cancel()

    async def close(self, code: int) -> None:
        """Close the connection; the runner reconnects if it is still served."""
        with contextlib.suppress(RuntimeError, WebSocketDisconnect, OSError):
            await self._websocket.close(code)

    async def send(self, frame: dict[str, Any]) -> None:
        """Send one frame; frames of different senders do not mix."""
        async with self._sending:
            await self._websocket.send_json(frame)

    async def tell(self, work: LinkWork) -> None:
        """Tell the runner what the database says of a task: a new turn for it, or to stop the one that it has.

        One at a time: a turn that two issued at once would reach the runner with tokens that the other has revoked.
        """
        async with self._telling:
            await self._tell(work)

    async def tell_gone(self, task_id: uuid.UUID) -> None:
        """Tell the runner that a task is not there any more."""
        async with self._telling:
            await self._cancel(task_id, "expired")

    async def _tell(self, work: LinkWork) -> None:
        if work.is_active and work.sandbox_id == self.sandbox_id:
            has_it = self.task_id == work.task_id
            if work.is_cancelled and has_it:
                await self._cancel(work.task_id, "cancelled")
            elif work.is_cancelled:
                reason = ("cancelled", "Cancelled before it reached its sandbox.")
                await run_in_thread(fail_task, work.org_id, work.task_id, self.sandbox_id, reason=reason)
            elif not has_it and work.task_id not in self._hello.finished:
                await self._send_turn(work)
            if not work.is_cancelled and self.task_id == work.task_id:
                await self._extend(work)
                await self._send_messages(work)
        else:
            # Of this task only: a newer turn may have gone out since the database was asked.
            await self._cancel(work.task_id, "expired")

    async def _send_turn(self, work: LinkWork) -> None:
        missing = await self._fill_inbox(work)
        if missing is None:
            return
        frame = await run_in_thread(issue_turn, work.org_id, work.task_id, self.sandbox_id)
        if frame is None:
            return
        self.task_id = work.task_id
        if missing:
            frame["prompt"] = "\n".join([frame["prompt"], *missing])
        await add_authority(frame)
        await self.send(frame)
        if self._is_new:
            self._is_new = False
            await run_in_thread(
                change_state, self.sandbox_id, SandboxState.BUSY, expected=[SandboxState.CREATING]
            )

    async def _extend(self, work: LinkWork) -> None:
        """Tell the runner how long its turn may take by now, once for each connection and change."""
        if work.extended_s is None or self._extended == (work.task_id, work.extended_s):
            return
        self._extended = (work.task_id, work.extended_s)
        await self.send({"op": "extend", "turn": str(work.task_id), "timeout_s": work.extended_s})

    async def _fill_inbox(self, work: LinkWork) -> list[str] | None:
        """Put what people sent into the workspace; returns what of it cannot be there, None when to try again first."""
        try:
            return await fill_inbox(work.org_id, work.task_id, self.sandbox_id) if work.has_inbox else []
        except Temporary as error:
            log.info("the files for task %s are not in its workspace yet: %s", work.task_id, error)
            return None

    async def _send_messages(self, work: LinkWork) -> None:
        """Send the follow-ups that this connection has not carried yet: the runner knows a repeat by its id."""
        news = [(message_id, text) for message_id, text in work.messages if message_id not in self._said]
        missing = await self._fill_inbox(work) if news else None
        if missing is not None:
            for message_id, text in news:
                self._said.add(message_id)
                text, missing = "\n".join([text, *missing]), []
                message = {"op": "message", "turn": str(work.task_id), "id": str(message_id), "text": text}
                await self.send(message)

    async def _cancel(self, task_id: uuid.UUID, reason: str) -> None:
        if task_id not in self._cancelled and self.task_id == task_id:
            self._cancelled.add(task_id)
            await self.send({"op": "cancel", "turn": str(task_id), "reason": reason})

    async def _receive(self) -> None:
        try:
            while True:
                frame = await self._websocket.receive_json()
                self._heard_at = time.monotonic()
                if isinstance(frame, dict) and frame.get("op") in ("event", "live"):
                    # A full queue stops the reading, and so, through the socket, the runner.
                    await self._frames.put(frame)
        except (WebSocketDisconnect, ValueError, KeyError):
            return

    async def _ping(self) -> None:
        while time.monotonic() - self._heard_at < SILENCE_S:
            await self.send({"op": "ping"})
            await asyncio.sleep(PING_S)

    async def _store(self) -> None:
        """Take what has come, in its order: durable entries are stored together, live ones published in between."""
        while True:
            frames = [await self._frames.get()]
            while len(frames) < MOST_AT_ONCE and not self._frames.empty():
                frames.append(self._frames.get_nowait())
            start = 0
            while start < len(frames):
                end = start
                while end < len(frames) and frames[end]["op"] == frames[start]["op"]:
                    end += 1
                run = frames[start:end]
                start = end
                if run[0]["op"] == "live":
                    await self._publish(run)
                elif not await self._store_entries(run):
                    await self.close(JOURNAL_REFUSED)
                    return

    async def _store_entries(self, frames: Sequence[dict[str, Any]]) -> bool:
        if self.org_id is None:
            log.warning("sandbox %s, which is nobody's yet, says something", self.sandbox_id)
            return False
        try:
            entries = [JournalEntry.model_validate(frame) for frame in frames]
            stored = await run_in_thread(
                store_journal, self.org_id, self.sandbox_id, self._hello.journal, entries
            )
        except (SlipwayError, ValidationError) as error:
            log.warning("journal of sandbox %s refused: %s", self.sandbox_id, error)
            return False
        if stored.head is not None and stored.head != self._head:
            self._head, self._part = stored.head, 0
        for entry in entries:
            if entry.type == "turn.done" and entry.turn is not None:
                CALLERS.drop(entry.turn)
                self.task_id = None if entry.turn == self.task_id else self.task_id
        await self.send({"op": "ack", "n": stored.n})
        await self._sandbox_calls.hear(stored.said)
        return True

    async def _learn_head(self) -> None:
        """Keep up with what others add to the stream, such as a next prompt: a delta behind that would be dropped."""
        if time.monotonic() - self._head_read_at < HEAD_S:
            return
        heads = await run_in_thread(all_tenants_heads, [self.stream])
        self._head_read_at = time.monotonic()
        if heads.get(self.stream, 0) > self._head:
            self._head, self._part = heads[self.stream], 0

    async def _publish(self, frames: Sequence[dict[str, Any]]) -> None:
        await self._learn_head()
        envelopes = []
        for frame in _merge_deltas(frames):
            command = frame.get("command")
            if frame.get("type") == "command.output" and isinstance(command, str):
                frame = {"turn": None, **frame, "data": {**frame.get("data", {}), "command_id": command[:36]}}
            elif frame.get("type") not in LIVE_FROM_RUNNER or frame.get("turn") != str(self.task_id):
                continue
            self._part += 1
            envelopes.append(
                {
                    "stream": self.stream,
                    "type": frame["type"],
                    "at": rfc3339(now()),
                    "task_id": frame["turn"],
                    "after": self._head,
                    "part": self._part,
                    "data": frame.get("data", {}),
                }
            )
        if envelopes:
            await run_in_thread(publish_envelopes, envelopes)


def _merge_deltas(frames: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Join neighbouring deltas of one kind that waited together, so that a slow moment does not cost a fast one."""
    merged: list[dict[str, Any]] = []
    for frame in frames:
        data = frame.get("data")
        last = merged[-1] if merged else None
        if (
            last is not None
            and isinstance(data, dict)
            and isinstance(data.get("text"), str)
            and all(last.get(name) == frame.get(name) for name in ("type", "turn", "command"))
            and isinstance(last["data"].get("text"), str)
            and last["data"].get("call_id") == data.get("call_id")
        ):
            last["data"] = {**last["data"], "text": last["data"]["text"] + data["text"]}
        else:
            merged.append({**frame, "data": dict(data) if isinstance(data, dict) else {}})
    return merged


async def open_link(websocket: WebSocket, sandbox_id: uuid.UUID) -> Link | None:
    """Accept a runner's connection and read its hello; None after closing one that is not served."""
    await websocket.accept()
    try:
        first = await asyncio.wait_for(websocket.receive_json(), HELLO_TIMEOUT_S)
        hello = Hello.model_validate(first)
    except (ValidationError, ValueError, KeyError, TimeoutError, WebSocketDisconnect):
        with contextlib.suppress(RuntimeError):
            await websocket.close(BAD_HELLO)
        return None
    sandbox = await run_in_thread(find_sandbox, sandbox_id)
    if sandbox is None or sandbox.state not in HOLDS_SLOT:
        await websocket.close(NOT_SERVED)
        return None
    return Link(websocket, sandbox, hello)
