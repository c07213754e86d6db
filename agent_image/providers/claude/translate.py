"""From the SDK's messages to our events."""

from __future__ import annotations

import time
from typing import Any

from claude_agent_sdk import (
    AssistantMessage,
    ResultMessage,
    StreamEvent,
    TextBlock,
    ToolResultBlock,
    ToolUseBlock,
    UserMessage,
)

from agent_image.providers.content import text_of
from agent_image.runner.turn import Failure, Outcome, TurnEvents, Usage

_CODES = {"error_max_turns": "max_turns", "error_max_budget_usd": "budget_exceeded"}
PAYMENT_REQUIRED = 402  # what the gateway answers a model call that the budget does not cover


class Translator:
    """Sends the events of one turn, and adds up what its results report."""

    def __init__(self, events: TurnEvents) -> None:
        self._events = events
        self._called_at: dict[str, float] = {}
        self._input_tokens = 0
        self._output_tokens = 0
        self._cost_usd: float | None = None
        self._turns = 0

    async def take(self, message: Any) -> None:
        """Send what a message means; what is a sub-agent's shows as tool calls only."""
        is_main = getattr(message, "parent_tool_use_id", None) is None
        if isinstance(message, StreamEvent) and is_main:
            self._take_delta(message.event)
        elif isinstance(message, AssistantMessage) and message.error is None:
            for block in message.content:
                await self._take_block(block, is_main=is_main)
        elif isinstance(message, UserMessage) and not isinstance(message.content, str):
            for block in message.content:
                if isinstance(block, ToolResultBlock):
                    await self._take_result(block)

    def _take_delta(self, event: dict[str, Any]) -> None:
        if event.get("type") == "message_start":
            self._events.typing()
        if event.get("type") != "content_block_delta":
            return
        delta = event.get("delta") or {}
        if delta.get("type") == "text_delta":
            self._events.text_delta(delta.get("text", ""))
        elif delta.get("type") == "thinking_delta":
            self._events.reasoning_delta(delta.get("thinking", ""))

    async def _take_block(self, block: Any, *, is_main: bool) -> None:
        if isinstance(block, TextBlock) and is_main and block.text:
            await self._events.message_created(block.text)
        elif isinstance(block, ToolUseBlock):
            self._called_at[block.id] = time.monotonic()
            await self._events.tool_called(block.id, block.name, block.input)

    async def _take_result(self, block: Any) -> None:
        started = self._called_at.pop(block.tool_use_id, None)
        duration_s = time.monotonic() - started if started is not None else 0.0
        await self._events.tool_returned(
            block.tool_use_id,
            text_of(block.content),
            is_error=bool(block.is_error),
            duration_ms=round(duration_s * 1000),
        )

    def add(self, result: ResultMessage) -> None:
        """Count what one result reports: tokens and turns are of that result, the cost is of the session so far."""
        usage = result.usage or {}
        kinds = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
        self._input_tokens += sum(usage.get(kind) or 0 for kind in kinds)
        self._output_tokens += usage.get("output_tokens") or 0
        self._cost_usd = result.total_cost_usd if result.total_cost_usd is not None else self._cost_usd
        self._turns += result.num_turns or 0

    def outcome(self, result: ResultMessage) -> Outcome:
        """Return the outcome. The vendor reports a failed model call as "success" with `is_error` set."""
        usage = Usage(self._input_tokens, self._output_tokens, self._cost_usd)
        failure = _failure(result)
        # The result of a failed call is the failure's own words, which would then be shown twice.
        text = "" if failure else result.result or ""
        return Outcome(text=text, failure=failure, usage=usage, turns=self._turns)


def _failure(result: ResultMessage) -> Failure | None:
    if result.subtype == "success" and not result.is_error:
        return None
    code = _CODES.get(result.subtype, "model_error")
    if result.api_error_status == PAYMENT_REQUIRED:
        code = "budget_exceeded"
    words = (
        result.result or "; ".join(result.errors or ()) or f"The model ended the turn with {result.subtype}."
    )
    return Failure(code, words[:2_000])
