"""A strict stand-in for the Anthropic Messages API, driven by rules.

Run it by itself with `python -m tests.fakes.anthropic_server --port 4010 [--key sk-test] [--rules rules.json]`;
`POST /__rules` with a JSON list of rules sets the scenario, `GET /__requests` shows what came in.

A rule, first match wins:
`{"user": "substring of the last text that a person wrote", "has_tool_result": true|false|null, "tool_result":
"substring of the last tool result", "text": "…", "thinking": "…", "tool_uses": [{"name", "input"}],
"usage": {"input_tokens", "output_tokens"}, "error": {"status", "type", "message"}, "delay_s": 0.0,
"piece_delay_s": 0.0}`.

Source: the vendor's API reference, "Messages" and "Streaming messages".
"""

from __future__ import annotations

import argparse
import asyncio
import hmac
import itertools
import json
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import uvicorn
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

CHUNK_CHARS = 12
MODELS = ("claude-sonnet-5", "claude-opus-5", "claude-haiku-4-5")


class ToolUse(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str
    input: dict[str, Any] = Field(default_factory=dict)


class FailedCall(BaseModel):
    model_config = ConfigDict(extra="forbid")
    status: int
    type: str = "api_error"
    message: str = "failed on purpose"


class Rule(BaseModel):
    model_config = ConfigDict(extra="forbid")
    user: str = ""
    has_tool_result: bool | None = None
    tool_result: str = ""
    text: str = ""
    thinking: str = ""
    tool_uses: list[ToolUse] = Field(default_factory=list)
    usage: dict[str, int] = Field(default_factory=lambda: {"input_tokens": 100, "output_tokens": 20})
    error: FailedCall | None = None
    delay_s: float = 0.0
    piece_delay_s: float = 0.0

    def matches(self, messages: list[dict[str, Any]]) -> bool:
        result = last_tool_result(messages)
        if self.has_tool_result is not None and self.has_tool_result != (result is not None):
            return False
        return self.user in last_user_text(messages) and self.tool_result in (result or "")


_Rules = TypeAdapter(list[Rule])
FALLBACK = Rule(text="ok")


class MessagesBody(BaseModel):
    """What a call must hold. Fields beside these are the vendor's many options; they are kept, not judged."""

    model_config = ConfigDict(extra="allow", strict=True)
    model: str = Field(min_length=1)
    messages: list[dict[str, Any]] = Field(min_length=1)
    max_tokens: int = Field(gt=0)
    stream: bool = False


class AnthropicServer:
    """The app and what it recorded. `key` is the only credential it takes; None takes any, but not none."""

    def __init__(self, rules: Iterable[Rule | Mapping[str, Any]] = (), *, key: str | None = None) -> None:
        self.rules = _Rules.validate_python([r if isinstance(r, Rule) else dict(r) for r in rules])
        self.key = key
        self.requests: list[dict[str, Any]] = []
        self._ids = itertools.count(1)
        self.app = Starlette(
            routes=[
                Route("/v1/messages", self._messages, methods=["POST"]),
                Route("/v1/messages/count_tokens", self._count_tokens, methods=["POST"]),
                Route("/v1/models", self._list_models),
                Route("/v1/models/{model}", self._get_model),
                Route("/health", self._health),
                Route("/__rules", self._set_rules, methods=["POST"]),
                Route("/__requests", self._list_requests),
            ]
        )

    def message_calls(self) -> list[dict[str, Any]]:
        """Return the bodies of the calls of /v1/messages, in order."""
        return [request["body"] for request in self.requests if request["path"] == "/v1/messages"]

    # --- the API -----------------------------------------------------------------------------------------

    async def _messages(self, request: Request) -> Response:
        body = await self._accept(request)
        if isinstance(body, Response):
            return body
        try:
            call = MessagesBody.model_validate(body)
        except ValidationError as exc:
            first = exc.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            return _error(400, "invalid_request_error", f"{where}: {first['msg']}")
        if problem := find_problem(call.messages):
            return _error(400, "invalid_request_error", problem)
        rule = next((rule for rule in self.rules if rule.matches(call.messages)), FALLBACK)
        if rule.delay_s:
            await asyncio.sleep(rule.delay_s)
        if rule.error:
            return _error(rule.error.status, rule.error.type, rule.error.message)
        message = self._answer(rule, call.model)
        if call.stream:
            return StreamingResponse(_stream(message, rule.piece_delay_s), media_type="text/event-stream")
        return JSONResponse(message)

    async def _count_tokens(self, request: Request) -> Response:
        body = await self._accept(request)
        if isinstance(body, Response):
            return body
        return JSONResponse({"input_tokens": max(1, len(json.dumps(body.get("messages"))) // 4)})

    async def _list_models(self, request: Request) -> Response:
        refusal = self._refusal(request)
        data = [_model(name) for name in MODELS]
        body = {"data": data, "has_more": False, "first_id": MODELS[0], "last_id": MODELS[-1]}
        return refusal or JSONResponse(body)

    async def _get_model(self, request: Request) -> Response:
        return self._refusal(request) or JSONResponse(_model(request.path_params["model"]))

    async def _health(self, request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    # --- the scenario ------------------------------------------------------------------------------------

    async def _set_rules(self, request: Request) -> Response:
        try:
            self.rules = _Rules.validate_python(await request.json())
        except (ValidationError, ValueError) as exc:
            return _error(400, "invalid_request_error", str(exc))
        return JSONResponse({"rules": len(self.rules)})

    async def _list_requests(self, request: Request) -> Response:
        return JSONResponse(self.requests)

    # --- parts -------------------------------------------------------------------------------------------

    def _refusal(self, request: Request) -> Response | None:
        scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
        given = request.headers.get("x-api-key") or (bearer if scheme.lower() == "bearer" else "")
        if not given or (self.key is not None and not hmac.compare_digest(given.encode(), self.key.encode())):
            return _error(401, "authentication_error", "invalid x-api-key")
        if "anthropic-version" not in request.headers:
            return _error(400, "invalid_request_error", "anthropic-version: header is required")
        return None

    async def _accept(self, request: Request) -> dict[str, Any] | Response:
        """Check and record a call; return its body, or the refusal."""
        raw = await request.body()
        try:
            body = json.loads(raw)
        except ValueError:
            body = None
        path = request.url.path[request.url.path.index("/v1/") :]
        self.requests.append({"path": path, "headers": dict(request.headers), "body": body})
        if refusal := self._refusal(request):
            return refusal
        if not isinstance(body, dict):
            return _error(400, "invalid_request_error", "the body is not a JSON object")
        return body

    def _answer(self, rule: Rule, model: str) -> dict[str, Any]:
        number = next(self._ids)
        content: list[dict[str, Any]] = []
        if rule.thinking:
            content.append({"type": "thinking", "thinking": rule.thinking, "signature": "c2lnbmVk"})
        if rule.text:
            content.append({"type": "text", "text": rule.text})
        for index, use in enumerate(rule.tool_uses):
            content.append(
                {"type": "tool_use", "id": f"toolu_{number:04}_{index}", "name": use.name, "input": use.input}
            )
        return {
            "id": f"msg_{number:04}",
            "type": "message",
            "role": "assistant",
            "model": model,
            "content": content,
            "stop_reason": "tool_use" if rule.tool_uses else "end_turn",
            "stop_sequence": None,
            "usage": {"input_tokens": 0, "output_tokens": 0, **rule.usage},
        }


# How the CLI hands over what a person says in mid-turn: as a system message after the tool's result.
_MID_TURN = "The user sent a new message while you were working:"


def texts_of(message: Mapping[str, Any]) -> list[str]:
    """Return the texts of a message."""
    content = message.get("content")
    if isinstance(content, str):
        return [content]
    return [block.get("text", "") for block in content or () if block.get("type") == "text"]


def last_user_text(messages: list[dict[str, Any]]) -> str:
    """Return the last text of a person, be it a message of its own or one that came in mid-turn."""
    for message in reversed(messages):
        text = "\n".join(texts_of(message))
        if text and (message.get("role") == "user" or _MID_TURN in text):
            return text
    return ""


def last_tool_result(messages: list[dict[str, Any]]) -> str | None:
    """Return the tool results in the last message of a user as text, or None when it has none."""
    content = next(
        message.get("content") for message in reversed(messages) if message.get("role") != "system"
    )
    if not isinstance(content, list):
        return None
    results = [block for block in content if block.get("type") == "tool_result"]
    return json.dumps([block.get("content") for block in results]) if results else None


def find_problem(messages: list[dict[str, Any]]) -> str | None:
    """Say what is wrong with a conversation: each tool use must be answered in the very next message."""
    open_uses: set[str] = set()
    for index, message in enumerate(messages):
        if message.get("role") not in ("user", "assistant", "system"):
            return f"messages.{index}.role: unexpected value"
        content = message.get("content")
        blocks = content if isinstance(content, list) else []
        answered = {block.get("tool_use_id") for block in blocks if block.get("type") == "tool_result"}
        if answered - open_uses:
            return f"messages.{index}: tool_result without a tool_use in the message before"
        if message["role"] == "user" and open_uses - answered:
            return f"messages.{index}: tool_use ids were found without tool_result blocks"
        open_uses = {block["id"] for block in blocks if block.get("type") == "tool_use"}
    return None


def _error(status: int, kind: str, message: str) -> JSONResponse:
    return JSONResponse({"type": "error", "error": {"type": kind, "message": message}}, status_code=status)


def _model(name: str) -> dict[str, Any]:
    return {"type": "model", "id": name, "display_name": name, "created_at": "2026-01-01T00:00:00Z"}


async def _stream(message: dict[str, Any], piece_delay_s: float) -> AsyncIterator[str]:
    """Send a message the way the vendor streams it, with a pause after each piece of its content."""
    start = {**message, "content": [], "stop_reason": None, "usage": {**message["usage"], "output_tokens": 1}}
    yield _sse("message_start", {"message": start})
    yield _sse("ping", {})
    for index, block in enumerate(message["content"]):
        opening, deltas = _block_deltas(block)
        yield _sse("content_block_start", {"index": index, "content_block": opening})
        for delta in deltas:
            yield _sse("content_block_delta", {"index": index, "delta": delta})
            await asyncio.sleep(piece_delay_s)
        yield _sse("content_block_stop", {"index": index})
    delta = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    yield _sse(
        "message_delta", {"delta": delta, "usage": {"output_tokens": message["usage"]["output_tokens"]}}
    )
    yield _sse("message_stop", {})


def _block_deltas(block: dict[str, Any]) -> tuple[dict[str, Any], Iterator[dict[str, Any]]]:
    if block["type"] == "text":
        return {"type": "text", "text": ""}, (
            {"type": "text_delta", "text": t} for t in _chunks(block["text"])
        )
    if block["type"] == "thinking":
        opening: dict[str, Any] = {"type": "thinking", "thinking": "", "signature": ""}
        thoughts = ({"type": "thinking_delta", "thinking": t} for t in _chunks(block["thinking"]))
        return opening, itertools.chain(
            thoughts, [{"type": "signature_delta", "signature": block["signature"]}]
        )
    opening = {**block, "input": {}}
    parts = _chunks(json.dumps(block["input"]))
    return opening, ({"type": "input_json_delta", "partial_json": part} for part in parts)


def _chunks(text: str) -> Iterator[str]:
    return (text[start : start + CHUNK_CHARS] for start in range(0, len(text), CHUNK_CHARS))


def _sse(kind: str, fields: dict[str, Any]) -> str:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--key")
    parser.add_argument("--rules", type=Path)
    options = parser.parse_args()
    rules = json.loads(options.rules.read_text()) if options.rules else ()
    server = AnthropicServer(rules, key=options.key)
    uvicorn.run(server.app, host="127.0.0.1", port=options.port, log_level="warning")


if __name__ == "__main__":
    main()
