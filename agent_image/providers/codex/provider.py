"""Runs one turn of Codex: starts the app server, resumes the thread, hands over prompt and follow-ups."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agent_image.providers.codex.appserver import AppServer, AppServerGone, RequestRefused
from agent_image.providers.codex.config import build_cli_environment, write_config
from agent_image.providers.codex.rollout import Rollout
from agent_image.providers.codex.translate import Translator, failure_of
from agent_image.runner.turn import Failure, FollowUp, Outcome, Turn, TurnEvents
from agent_image.runner.workspace import workspace_folder

_SAVE_AFTER = ("item/completed", "turn/completed")


class CodexProvider:
    """One app server for one turn of ours, which may be several of its own."""

    def __init__(self, binary: Path) -> None:
        self._binary = binary
        self._server: AppServer | None = None
        self._thread_id = ""
        self._turn_id: str | None = None
        self._is_interrupted = False
        self._handed: dict[str, FollowUp] = {}

    async def run(self, turn: Turn, events: TurnEvents) -> Outcome:
        if turn.llm is None or turn.llm.kind != "openai":
            return Outcome(failure=Failure("input_invalid", "This agent has no model to talk to."), turns=0)
        with tempfile.TemporaryDirectory(prefix="turn-", ignore_cleanup_errors=True) as folder:
            home = Path(folder)
            write_config(turn, turn.llm, await events.gateway_url(), home)
            rollout = Rollout(home, turn.session, events)
            resumed = rollout.restore()
            server = await AppServer.start(
                self._binary, build_cli_environment(turn, turn.llm, home), workspace_folder()
            )
            self._server = server
            try:
                await self._open_thread(server, turn, resumed, rollout)
                outcome = await self._converse(server, turn, events, rollout)
            except AppServerGone as exc:
                raise RuntimeError(str(exc)) from exc
            except asyncio.CancelledError:
                server.kill()
                raise
            finally:
                await server.close()
            await rollout.save_new()
            return outcome

    async def interrupt(self, grace_s: float) -> None:
        """Ask the CLI to stop; the runner cancels `run` when that is not enough, which ends the process."""
        self._is_interrupted = True
        await self._stop_turn()

    async def _stop_turn(self) -> None:
        if self._server is not None and self._turn_id is not None:
            with contextlib.suppress(RequestRefused, AppServerGone):
                await self._server.call("turn/interrupt", threadId=self._thread_id, turnId=self._turn_id)

    async def _open_thread(
        self, server: AppServer, turn: Turn, resumed: str | None, rollout: Rollout
    ) -> None:
        await server.call("initialize", clientInfo={"name": "slipway", "version": "1"})
        await server.notify("initialized")
        options: dict[str, Any] = {"cwd": str(workspace_folder())}
        if turn.instructions:
            options["developerInstructions"] = turn.instructions
        if turn.model:
            options["model"] = turn.model
        if resumed is None:
            opened = await server.call("thread/start", **options)
        else:
            opened = await server.call("thread/resume", threadId=resumed, excludeTurns=True, **options)
        thread = opened["thread"]
        self._thread_id = str(thread["id"])
        rollout.follow(self._thread_id, Path(thread["path"]))

    async def _begin(self, server: AppServer, text: str) -> None:
        started = await server.call("turn/start", threadId=self._thread_id, input=_input(text))
        self._turn_id = str(started["turn"]["id"])
        if self._is_interrupted:  # while the answer was on its way, so that there was nothing to interrupt
            await self._stop_turn()

    async def _converse(self, server: AppServer, turn: Turn, events: TurnEvents, rollout: Rollout) -> Outcome:
        translator = Translator(events)
        await self._begin(server, turn.prompt)
        steering = asyncio.create_task(self._steer(server, events))
        is_over_limit = False
        try:
            while True:
                method, params = await server.next_notification()
                if not self._is_ours(params):
                    continue
                await self._note_consumed(method, params, events)
                await translator.take(method, params)
                if method in _SAVE_AFTER:
                    await rollout.save_new()
                if method == "thread/tokenUsage/updated" and _is_limit_reached(turn, translator):
                    is_over_limit = True
                    await self._stop_turn()
                if method == "turn/completed":
                    ended = params["turn"]
                    self._turn_id = None
                    if is_over_limit:
                        message = f"The agent may call its model {turn.max_turns} times in a turn."
                        return translator.outcome(Failure("max_turns", message))
                    if ended.get("status") == "failed":
                        return translator.outcome(failure_of(ended.get("error")))
                    if self._is_interrupted or not await self._go_on(server, events):
                        return translator.outcome()
        finally:
            steering.cancel()

    def _is_ours(self, params: Mapping[str, Any]) -> bool:
        """Say whether a notification is of the turn at work; a resumed thread also tells of its earlier ones."""
        turn = params.get("turnId") or (params.get("turn") or {}).get("id")
        return params.get("threadId") == self._thread_id and turn == self._turn_id

    async def _steer(self, server: AppServer, events: TurnEvents) -> None:
        """Hand follow-ups over as they come; one that finds no turn to steer waits for the end of this one."""
        while True:
            message = await events.next_message()
            self._handed[message.id] = message
            with contextlib.suppress(RequestRefused, AppServerGone):
                await server.call(
                    "turn/steer",
                    threadId=self._thread_id,
                    expectedTurnId=self._turn_id or "",
                    input=_input(message.text),
                    clientUserMessageId=message.id,
                )

    async def _note_consumed(self, method: str, params: Mapping[str, Any], events: TurnEvents) -> None:
        """Report a follow-up as consumed when the CLI has put it into the conversation."""
        item = params.get("item") or {}
        if method == "item/completed" and item.get("type") == "userMessage":
            message = self._handed.pop(str(item.get("clientId")), None)
            if message is not None:
                await events.message_consumed(message)

    async def _go_on(self, server: AppServer, events: TurnEvents) -> bool:
        """Begin another turn with the follow-ups that came too late for the last; False when there are none."""
        late = list(self._handed.values())
        self._handed.clear()
        if not late:
            return False
        await self._begin(server, "\n\n".join(message.text for message in late))
        for message in late:
            await events.message_consumed(message)
        return True


def _input(text: str) -> list[dict[str, Any]]:
    return [{"type": "text", "text": text}]


def _is_limit_reached(turn: Turn, translator: Translator) -> bool:
    """Say whether the next model call, which is certain, would be one too many."""
    is_full = turn.max_turns is not None and translator.model_calls >= turn.max_turns
    return is_full and translator.has_called_tools
