"""Runs one turn of opencode: imports the session, starts the server, hands over prompt and follow-ups."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agent_image.providers.opencode.config import (
    PROVIDER,
    build_cli_environment,
    can_use,
    model_of,
    write_config,
)
from agent_image.providers.opencode.history import History
from agent_image.providers.opencode.loopback import Loopback, LoopbackFailed
from agent_image.providers.opencode.server import OpencodeFailed, OpencodeServer, import_session
from agent_image.providers.opencode.translate import Translator
from agent_image.runner.turn import Failure, Outcome, Session, Turn, TurnEvents
from agent_image.runner.workspace import workspace_folder

_USER = "opencode"
_TITLE = "Slipway"  # a session with a title of its own costs no model call for one


class OpencodeProvider:
    """One server for one turn."""

    def __init__(self, binary: Path) -> None:
        self._binary = binary
        self._server: Loopback | None = None
        self._session_id = ""
        self._interrupted = asyncio.Event()
        self._sent = 0

    async def run(self, turn: Turn, events: TurnEvents) -> Outcome:
        if turn.llm is None or not can_use(turn.llm):
            return Outcome(failure=Failure("input_invalid", "This agent has no model to talk to."), turns=0)
        with tempfile.TemporaryDirectory(prefix="turn-", ignore_cleanup_errors=True) as name:
            folder, password = Path(name), os.urandom(16).hex()
            config = write_config(turn, turn.llm, await events.gateway_url(), folder)
            env = build_cli_environment(turn, turn.llm, folder=folder, config=config, password=password)
            history = History(turn.session, events)
            export = history.write_export(folder)
            if export is not None:
                await import_session(self._binary, env, workspace_folder(), export)
            process = await OpencodeServer.start(self._binary, env, workspace_folder())
            try:
                server = Loopback(process.port, _USER, password)
                return await self._converse(
                    server, turn, events, history, turn.session if export is not None else None
                )
            except (LoopbackFailed, OpencodeFailed) as exc:
                raise RuntimeError(f"{exc}\n{await process.last_words()}".strip()) from exc
            finally:
                process.kill()
                await process.wait()

    async def interrupt(self, grace_s: float) -> None:
        """Ask the CLI to stop; the runner cancels `run` when that is not enough, which ends the process."""
        self._interrupted.set()
        await self._abort()

    async def _abort(self) -> None:
        if self._server is not None:
            with contextlib.suppress(LoopbackFailed):
                await self._server.call("POST", f"/session/{self._session_id}/abort", {})

    async def _converse(
        self, server: Loopback, turn: Turn, events: TurnEvents, history: History, resumed: Session | None
    ) -> Outcome:
        if resumed is not None:
            self._session_id = resumed.id
        else:
            self._session_id = str((await server.call("POST", "/session", {"title": _TITLE}))["id"])
        translator = Translator(self._session_id, events)
        opened = asyncio.Event()
        listening = asyncio.create_task(self._listen(server, turn, translator, history, opened))
        steering = asyncio.create_task(self._steer(server, turn, events, opened))
        try:
            ended, _ = await asyncio.wait({listening, steering}, return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                task.result()
        finally:
            both: list[asyncio.Task[None]] = [listening, steering]
            for task in both:
                task.cancel()
            await asyncio.gather(*both, return_exceptions=True)
        return translator.outcome()

    async def _listen(
        self, server: Loopback, turn: Turn, translator: Translator, history: History, opened: asyncio.Event
    ) -> None:
        """Follow the events to the end of the turn. Raises: LoopbackFailed when they end before."""
        async with contextlib.aclosing(server.events("/event", opened)) as received:
            async for event in received:
                await translator.take(event)
                if _is_of(event, "session.status", self._session_id) and translator.failure is not None:
                    await self._abort()
                if self._is_over_limit(turn, translator):
                    message = f"The agent may call its model {turn.max_turns} times in a turn."
                    translator.failure = Failure("max_turns", message)
                    await self._abort()
                if _ends_step(event) or _is_of(event, "session.idle", self._session_id):
                    await history.save(server, self._session_id, translator.message_ids)
                is_idle = _is_of(event, "session.idle", self._session_id)
                is_ended = (
                    self._interrupted.is_set() or translator.failure or translator.has_answered(self._sent)
                )
                if is_idle and is_ended:
                    return
        raise OpencodeFailed("opencode stopped to answer")

    def _is_over_limit(self, turn: Turn, translator: Translator) -> bool:
        is_full = turn.max_turns is not None and translator.model_calls >= turn.max_turns
        return is_full and translator.calls_tools and translator.failure is None

    async def _steer(self, server: Loopback, turn: Turn, events: TurnEvents, opened: asyncio.Event) -> None:
        """Send the prompt, then follow-ups as they come, for ever unless the turn is interrupted before it began.

        The CLI takes follow-ups in between two of its steps.
        """
        await opened.wait()
        if self._interrupted.is_set():
            return
        await self._send(server, turn, turn.prompt)
        self._server = server
        if self._interrupted.is_set():  # while the prompt was on its way, so that there was nothing to abort
            await self._abort()
        while True:
            message = await events.next_message()
            await self._send(server, turn, message.text)
            await events.message_consumed(message)

    async def _send(self, server: Loopback, turn: Turn, text: str) -> None:
        body: dict[str, Any] = {"parts": [{"type": "text", "text": text}]}
        if turn.llm is not None:
            body["model"] = {"providerID": PROVIDER, "modelID": model_of(turn, turn.llm)}
        if turn.instructions:
            body["system"] = turn.instructions
        self._sent += 1
        await server.call("POST", f"/session/{self._session_id}/prompt_async", body)


def _is_of(event: Mapping[str, Any], kind: str, session_id: str) -> bool:
    return event.get("type") == kind and (event.get("properties") or {}).get("sessionID") == session_id


def _ends_step(event: Mapping[str, Any]) -> bool:
    part = (event.get("properties") or {}).get("part") or {}
    return event.get("type") == "message.part.updated" and part.get("type") == "step-finish"
