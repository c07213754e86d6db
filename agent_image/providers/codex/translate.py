"""From the app server's notifications to our events."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Mapping
from typing import Any

from agent_image.providers.content import text_of
from agent_image.runner.turn import Failure, Outcome, TurnEvents, Usage

PAYMENT_REQUIRED = 402  # what the gateway answers a model call that the budget does not cover
_REASONING = ("item/reasoning/summaryTextDelta", "item/reasoning/textDelta")


class Translator:
    """Sends the events of one turn, and adds up what its model calls used."""

    def __init__(self, events: TurnEvents) -> None:
        self._events = events
        self._called_at: dict[str, float] = {}
        self._input_tokens = 0
        self._output_tokens = 0
        self._text = ""
        self.model_calls = 0
        self.has_called_tools = False
        """Whether the latest model call asked for a tool, so that another call follows."""

    async def take(self, method: str, params: Mapping[str, Any]) -> None:
        """Send what a notification means."""
        item = params.get("item") or {}
        match method:
            case "turn/started":
                self._events.typing()
            case "item/agentMessage/delta":
                self._events.text_delta(str(params.get("delta", "")))
            case "item/commandExecution/outputDelta":
                self._events.tool_output(str(params.get("itemId", "")), str(params.get("delta", "")))
            case "item/started" if call := _call_of(item):
                self._called_at[item["id"]] = time.monotonic()
                self.has_called_tools = True
                await self._events.tool_called(str(item["id"]), *call)
            case "item/completed" if item.get("type") == "agentMessage":
                self.has_called_tools = False
                if item.get("text"):
                    self._text = str(item["text"])
                    await self._events.message_created(self._text)
            case "item/completed" if item.get("id") in self._called_at:
                await self._take_result(item)
            case "thread/tokenUsage/updated":
                self._add_usage((params.get("tokenUsage") or {}).get("last") or {})
            case _ if method in _REASONING:
                self._events.reasoning_delta(str(params.get("delta", "")))

    async def _take_result(self, item: Mapping[str, Any]) -> None:
        took_s = time.monotonic() - self._called_at.pop(item["id"])
        output, is_error = _result_of(item)
        duration_ms = item.get("durationMs")
        await self._events.tool_returned(
            str(item["id"]),
            output,
            is_error=is_error,
            duration_ms=duration_ms if isinstance(duration_ms, int) else round(took_s * 1000),
        )

    def _add_usage(self, last: Mapping[str, Any]) -> None:
        self.model_calls += 1
        self._input_tokens += int(last.get("inputTokens") or 0)
        self._output_tokens += int(last.get("outputTokens") or 0)

    def outcome(self, failure: Failure | None = None) -> Outcome:
        """Return the outcome; of a failed turn the failure is the text."""
        usage = Usage(self._input_tokens, self._output_tokens)
        text = "" if failure else self._text
        return Outcome(text=text, failure=failure, usage=usage, turns=max(1, self.model_calls))


def failure_of(error: Mapping[str, Any] | None) -> Failure:
    """Return why a turn failed, as the app server tells it."""
    error = error or {}
    cause = error.get("codexErrorInfo")
    statuses = [part.get("httpStatusCode") for part in cause.values()] if isinstance(cause, dict) else []
    code = "budget_exceeded" if PAYMENT_REQUIRED in statuses else "model_error"
    return Failure(code, _words_of(str(error.get("message") or "The model failed."))[:2_000])


def _words_of(message: str) -> str:
    """Take the vendor's words out of its error's body, which the CLI hands on as it came."""
    try:
        error = json.loads(message)["error"]
        return str(error["message"])
    except (ValueError, KeyError, TypeError):
        return message


def _call_of(item: Mapping[str, Any]) -> tuple[str, dict[str, Any]] | None:
    """Return a tool call's name and input, or None for what is not one."""
    match item.get("type"):
        case "commandExecution":
            return "Bash", {"command": _command_of(str(item.get("command", "")))}
        case "fileChange":
            changes = [
                {"path": change.get("path"), "kind": (change.get("kind") or {}).get("type")}
                for change in item.get("changes") or ()
            ]
            return "apply_patch", {"changes": changes}
        case "mcpToolCall":
            arguments = item.get("arguments")
            name = f"mcp__{item.get('server')}__{item.get('tool')}"
            return name, arguments if isinstance(arguments, dict) else {}
    return None


def _command_of(command: str) -> str:
    """Take the script out of `/bin/bash -c '…'`."""
    try:
        words = shlex.split(command)
    except ValueError:
        return command
    return words[2] if len(words) == 3 and words[1] in ("-c", "-lc") else command


def _result_of(item: Mapping[str, Any]) -> tuple[str, bool]:
    is_error = item.get("status") != "completed"
    match item.get("type"):
        case "commandExecution":
            return str(item.get("aggregatedOutput") or ""), is_error or bool(item.get("exitCode"))
        case "fileChange":
            diffs = [str(change.get("diff", "")) for change in item.get("changes") or ()]
            return "\n".join(diffs), is_error
    if error := item.get("error"):
        return str(error.get("message", "")), True
    result = item.get("result") or {}
    return text_of(result.get("content")), is_error or bool(result.get("isError"))
