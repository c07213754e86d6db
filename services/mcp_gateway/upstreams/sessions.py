"""Conversations with servers of others: one for each caller and server, kept while it is used, closed when it is not.

A caller is a task, or a token of a person's. A conversation is never shared between them: what a server remembers of
one is not shown to another.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mcp_types import CallToolResult

from services.adapters.upstreams.client import OnProgress, Remote, SessionGone
from services.domain.errors import RateLimited, SlipwayError, UpstreamAway

IDLE_S = 300.0
MAX_SESSIONS = 500
MAX_CALLS_AT_ONCE = 16
_REAP_EVERY_S = 30.0
_LEAVE_S = 2.0
_LAST_WORDS_S = 0.5

Opener = Callable[[], AbstractAsyncContextManager[Remote]]


@dataclass(frozen=True, slots=True)
class SessionKey:
    """Whose conversation it is. Another version of the server's settings is another conversation."""

    caller_id: uuid.UUID
    server_id: uuid.UUID
    version: datetime


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call to make."""

    name: str
    arguments: dict[str, Any]
    timeout_s: float
    on_progress: OnProgress


class Session:
    """One conversation. A task of its own holds it, because who opens one must also close it."""

    def __init__(self, opener: Opener) -> None:
        loop = asyncio.get_running_loop()
        self.calls = 0
        self.used_at = loop.time()
        self._ready: asyncio.Future[Remote] = loop.create_future()
        self._leave = asyncio.Event()
        self._error: SlipwayError = UpstreamAway("The connection to the server was closed.")
        self._holder = asyncio.create_task(self._hold(opener))

    @property
    def is_over(self) -> bool:
        """Say whether nothing can be asked here any more."""
        return self._holder.done() or self._leave.is_set()

    async def call(self, wanted: ToolCall) -> CallToolResult:
        """Make one call. Raises: SlipwayError."""
        self.calls += 1
        try:
            return await self._call(wanted)
        finally:
            self.calls -= 1
            self.used_at = asyncio.get_running_loop().time()

    async def close(self) -> None:
        """End the conversation; calls in it fail."""
        self._leave.set()
        await asyncio.wait({self._holder}, timeout=_LEAVE_S)
        self._holder.cancel()
        await asyncio.wait({self._holder}, timeout=_LEAVE_S)

    async def _hold(self, opener: Opener) -> None:
        try:
            async with opener() as remote:
                self._ready.set_result(remote)
                await self._leave.wait()
        except SlipwayError as error:
            self._error = error
        finally:
            if not self._ready.done():
                self._ready.set_exception(self._error)
                # Looked at, so that it does not complain when nobody waits for it any more.
                self._ready.exception()

    async def _call(self, wanted: ToolCall) -> CallToolResult:
        remote = await asyncio.shield(self._ready)
        call = asyncio.create_task(
            remote.call_tool(wanted.name, wanted.arguments, wanted.timeout_s, wanted.on_progress)
        )
        try:
            await asyncio.wait({call, self._holder}, return_when=asyncio.FIRST_COMPLETED)
            if isinstance(_failure_of(call), UpstreamAway):
                # The conversation may be about to end, and then it knows better why.
                await asyncio.wait({self._holder}, timeout=_LAST_WORDS_S)
            if self._holder.done() and (not call.done() or _failure_of(call) is not None):
                raise self._error
            return call.result()
        finally:
            call.cancel()
            await asyncio.wait({call})
            _failure_of(call)


def _failure_of(call: asyncio.Task[CallToolResult]) -> BaseException | None:
    """Return what a call failed by, if it has ended so."""
    return call.exception() if call.done() and not call.cancelled() else None


class Sessions:
    """All conversations of this process."""

    def __init__(self) -> None:
        self._open: dict[SessionKey, Session] = {}
        self._calls: dict[uuid.UUID, int] = {}

    @contextlib.asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Close what is idle, as long as this is entered, and everything at its end."""
        reaping = asyncio.create_task(self._reap())
        try:
            yield
        finally:
            reaping.cancel()
            await asyncio.wait({reaping})
            await asyncio.gather(*(session.close() for session in self._open.values()))
            self._open.clear()

    async def call(self, key: SessionKey, opener: Opener, wanted: ToolCall) -> CallToolResult:
        """Call a tool in the caller's conversation with a server, opened if it has to be. Raises: SlipwayError."""
        if self._calls.get(key.caller_id, 0) >= MAX_CALLS_AT_ONCE:
            raise RateLimited(f"At most {MAX_CALLS_AT_ONCE} of these calls are made at once.")
        self._calls[key.caller_id] = self._calls.get(key.caller_id, 0) + 1
        try:
            session = await self._find(key, opener)
            try:
                return await session.call(wanted)
            except SessionGone:
                # Only this call was made in it, and it was not done: nothing is done twice.
                if session.calls:
                    raise
            return await (await self._find(key, opener)).call(wanted)
        finally:
            self._calls[key.caller_id] -= 1
            if not self._calls[key.caller_id]:
                del self._calls[key.caller_id]

    async def _find(self, key: SessionKey, opener: Opener) -> Session:
        session = self._open.get(key)
        if session is not None and not session.is_over:
            return session
        if len(self._open) >= MAX_SESSIONS:
            await self._make_room()
        # Looked up again, because making room takes a while.
        session = self._open.get(key)
        if session is None or session.is_over:
            session = self._open[key] = Session(opener)
        return session

    async def _make_room(self) -> None:
        idle = [(session.used_at, key) for key, session in self._open.items() if not session.calls]
        if not idle:
            raise UpstreamAway("The gateway has too many conversations with MCP servers open.")
        await self._open.pop(min(idle, key=lambda entry: entry[0])[1]).close()

    async def _reap(self) -> None:
        while True:
            await asyncio.sleep(_REAP_EVERY_S)
            edge = asyncio.get_running_loop().time() - IDLE_S
            for key, session in list(self._open.items()):
                if session.is_over or (not session.calls and session.used_at < edge):
                    self._open.pop(key, None)
                    await session.close()
