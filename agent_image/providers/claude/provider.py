"""Runs one turn of Claude: connects the CLI, sends the prompt and follow-ups, and reads until all are answered."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import uuid
from collections import deque
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from claude_agent_sdk import ClaudeSDKClient, ClaudeSDKError, ResultMessage

from agent_image.providers.claude.options import build_options, write_mcp_config
from agent_image.providers.claude.session import SessionLog
from agent_image.providers.claude.translate import Translator
from agent_image.runner.turn import Failure, Outcome, Turn, TurnEvents
from agent_image.runner.workspace import workspace_folder

STDERR_LINES = 20


class ClaudeProvider:
    """One CLI process for one turn."""

    def __init__(self) -> None:
        self._client: Any = None
        self._is_interrupted = False
        self._unanswered: set[str] = set()

    async def run(self, turn: Turn, events: TurnEvents) -> Outcome:
        if turn.llm is None or turn.llm.kind != "anthropic":
            return Outcome(failure=Failure("input_invalid", "This agent has no model to talk to."), turns=0)
        log = SessionLog(turn.session, events)
        stderr: deque[str] = deque(maxlen=STDERR_LINES)
        gateway_url = await events.gateway_url()
        with tempfile.TemporaryDirectory(prefix="turn-") as folder:
            mcp_config = None
            if turn.mcp or turn.mcp_stdio:
                mcp_config = write_mcp_config(turn, gateway_url, Path(folder))
            options = build_options(
                turn,
                gateway_url=gateway_url,
                mcp_config=mcp_config,
                cwd=workspace_folder(),
                log=log,
                stderr=stderr,
            )
            pumping = asyncio.create_task(log.pump())
            try:
                async with ClaudeSDKClient(options) as client:
                    self._client = client
                    outcome = await self._converse(client, turn.prompt, events)
                await log.flushed()
                return outcome
            except ClaudeSDKError as exc:
                detail = "\n".join(stderr)
                raise RuntimeError(f"{exc}\n{detail}" if detail else str(exc)) from exc
            finally:
                pumping.cancel()

    async def interrupt(self, grace_s: float) -> None:
        """Ask the CLI to stop; the runner cancels `run` when that is not enough, which ends the process."""
        self._is_interrupted = True
        if self._client is not None:
            with contextlib.suppress(ClaudeSDKError):
                async with asyncio.timeout(grace_s):
                    await self._client.interrupt()

    async def _converse(self, client: Any, prompt: str, events: TurnEvents) -> Outcome:
        translator = Translator(events)
        await self._send(client, prompt)
        steering = asyncio.create_task(self._steer(client, events))
        try:
            async for message in client.receive_messages():
                await translator.take(message)
                if isinstance(message, ResultMessage):
                    translator.add(message)
                    self._unanswered -= _answered(message, self._unanswered)
                    if not self._unanswered or self._is_interrupted or message.is_error:
                        return translator.outcome(message)
        finally:
            steering.cancel()
        return Outcome(failure=Failure("provider_crashed", "Claude ended without a result."))

    async def _steer(self, client: Any, events: TurnEvents) -> None:
        """Hand follow-ups over as they come: the CLI takes them in between two of its steps."""
        while True:
            message = await events.next_message()
            await self._send(client, message.text)
            await events.message_consumed(message)

    async def _send(self, client: Any, text: str) -> None:
        message_id = str(uuid.uuid4())
        self._unanswered.add(message_id)
        await client.query(_one_message(message_id, text))


async def _one_message(message_id: str, text: str) -> AsyncIterator[dict[str, Any]]:
    yield {
        "type": "user",
        "uuid": message_id,
        "message": {"role": "user", "content": text},
        "parent_tool_use_id": None,
    }


def _answered(result: ResultMessage, unanswered: set[str]) -> set[str]:
    """Return which messages a result answers; all of them where the CLI does not say."""
    named = result.user_message_uuids
    if named is None:
        named = [result.user_message_uuid] if result.user_message_uuid else None
    return set(named) if named is not None else set(unanswered)
