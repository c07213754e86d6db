"""From the CLI's events to ours, and what they say of the turn's end."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from agent_image.runner.turn import Failure, Outcome, TurnEvents, Usage

PAYMENT_REQUIRED = 402  # what the gateway answers a model call that the budget does not cover
MAX_RETRIES = 3  # of one model call; left to itself the CLI goes on for ever
_ABORTED = "MessageAbortedError"


class Translator:
    """Sends the events of one turn. Sub-agents have sessions of their own, which are passed over."""

    def __init__(self, session_id: str, events: TurnEvents) -> None:
        self._session_id = session_id
        self._events = events
        self._roles: dict[str, str] = {}
        self._parts: dict[str, str] = {}
        self._answered: set[str] = set()
        self._called_at: dict[str, float] = {}
        self._returned: set[str] = set()
        self._shown: dict[str, int] = {}
        self._texts: dict[str, str] = {}
        self._input_tokens = 0
        self._output_tokens = 0
        self.model_calls = 0
        self.calls_tools = False
        """Whether the latest model call asked for a tool, so that another call follows."""
        self.failure: Failure | None = None

    @property
    def message_ids(self) -> list[str]:
        """Return the messages of this turn, the oldest first."""
        return sorted(self._roles)

    def has_answered(self, sent: int) -> bool:
        """Say whether all that was sent is in the conversation, and the last of it has its answer."""
        said = [message_id for message_id, role in self._roles.items() if role == "user"]
        return len(said) >= sent and max(said, default="") in self._answered

    async def take(self, event: Mapping[str, Any]) -> None:
        """Send what an event means."""
        properties = event.get("properties") or {}
        part = properties.get("part") or {}
        if self._session_id not in (properties.get("sessionID"), part.get("sessionID")):
            return
        match event.get("type"):
            case "message.updated":
                self._take_message(properties.get("info") or {})
            case "message.part.delta":
                self._take_delta(properties)
            case "message.part.updated" if self._roles.get(part.get("messageID", "")) == "assistant":
                await self._take_part(part)
            case "session.error":
                self._take_error(properties.get("error") or {})
            case "session.status":
                self._take_status(properties.get("status") or {})

    def _take_message(self, info: Mapping[str, Any]) -> None:
        message_id, role = str(info.get("id")), str(info.get("role"))
        if message_id not in self._roles and role == "assistant":
            self._events.typing()
        self._roles[message_id] = role
        is_over = bool((info.get("time") or {}).get("completed")) and info.get("finish") != "tool-calls"
        if role == "assistant" and is_over:
            self._answered.add(str(info.get("parentID")))

    def _take_delta(self, properties: Mapping[str, Any]) -> None:
        kind = self._parts.get(str(properties.get("partID")))
        if properties.get("field") == "text" and kind == "text":
            self._events.text_delta(str(properties.get("delta", "")))
        elif properties.get("field") == "text" and kind == "reasoning":
            self._events.reasoning_delta(str(properties.get("delta", "")))

    async def _take_part(self, part: Mapping[str, Any]) -> None:
        part_id, kind = str(part.get("id")), str(part.get("type"))
        self._parts[part_id] = kind
        if kind == "text" and (part.get("time") or {}).get("end") and part_id not in self._texts:
            self._texts[part_id] = str(part.get("text", ""))
            if self._texts[part_id]:
                await self._events.message_created(self._texts[part_id])
        elif kind == "tool":
            await self._take_tool(part)
        elif kind == "step-finish":
            self._add_usage(part)

    async def _take_tool(self, part: Mapping[str, Any]) -> None:
        call_id, state = str(part.get("callID")), part.get("state") or {}
        status = state.get("status")
        if status == "pending":
            return
        if call_id not in self._called_at:
            self._called_at[call_id] = time.monotonic()
            await self._events.tool_called(call_id, str(part.get("tool")), state.get("input") or {})
        if status == "running":
            self._show_output(call_id, str((state.get("metadata") or {}).get("output") or ""))
        elif call_id not in self._returned:
            self._returned.add(call_id)
            took_s = time.monotonic() - self._called_at[call_id]
            exit_code = (state.get("metadata") or {}).get("exit")
            await self._events.tool_returned(
                call_id,
                str(state.get("output") or state.get("error") or ""),
                is_error=status == "error" or exit_code not in (None, 0),
                duration_ms=round(took_s * 1000),
            )

    def _show_output(self, call_id: str, output: str) -> None:
        """Send what was added to a running tool's output, of which the CLI sends the whole again and again."""
        shown = self._shown.get(call_id, 0)
        if len(output) > shown:
            self._events.tool_output(call_id, output[shown:])
        self._shown[call_id] = len(output)

    def _add_usage(self, part: Mapping[str, Any]) -> None:
        tokens = part.get("tokens") or {}
        cache = tokens.get("cache") or {}
        self.model_calls += 1
        self.calls_tools = part.get("reason") == "tool-calls"
        self._input_tokens += sum(
            int(n or 0) for n in (tokens.get("input"), cache.get("read"), cache.get("write"))
        )
        self._output_tokens += int(tokens.get("output") or 0) + int(tokens.get("reasoning") or 0)

    def _take_error(self, error: Mapping[str, Any]) -> None:
        details = error.get("data") or {}
        if error.get("name") != _ABORTED and self.failure is None:
            is_broke = details.get("statusCode") == PAYMENT_REQUIRED
            message = str(details.get("message") or error.get("name") or "The model failed.")
            self.failure = Failure("budget_exceeded" if is_broke else "model_error", message[:2_000])

    def _take_status(self, status: Mapping[str, Any]) -> None:
        if status.get("type") == "retry" and int(status.get("attempt") or 0) >= MAX_RETRIES:
            self.failure = Failure("model_error", str(status.get("message") or "The model failed.")[:2_000])

    def outcome(self) -> Outcome:
        """Return the outcome; of a failed turn the failure is the text."""
        usage = Usage(self._input_tokens, self._output_tokens)
        texts = list(self._texts.values())
        text = texts[-1] if texts and self.failure is None else ""
        return Outcome(text=text, failure=self.failure, usage=usage, turns=max(1, self.model_calls))
