"""A strict stand-in for the OpenAI API, Responses and Chat Completions, driven by rules.

Run it by itself with `python -m tests.fakes.openai_server --port 4011 [--key sk-test] [--rules rules.json]`;
`POST /__rules` with a JSON list of rules sets the scenario, `GET /__requests` shows what came in. Rules are those of
`anthropic_server`; a tool named `mcp__<server>__<tool>` is called the way the Responses API calls tools of a
namespace: `"namespace": "mcp__<server>", "name": "<tool>"`.

Source: the vendor's API reference, "Responses", "Streaming events" and "Chat completions".
"""

from __future__ import annotations

import argparse
import asyncio
import hmac
import itertools
import json
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import uvicorn
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.fakes.anthropic_server import Rule, ToolUse

CHUNK_CHARS = 12
MODELS = ("gpt-5.5", "gpt-5.5-codex", "gpt-5-mini")
FALLBACK = Rule(text="ok")
_Rules = TypeAdapter(list[Rule])
_Body = TypeVar("_Body", bound=BaseModel)
_CALLS = ("function_call", "custom_tool_call")
_OUTPUTS = ("function_call_output", "custom_tool_call_output")


class Said(BaseModel):
    """What a rule looks at: the last words of a person, and the tool results since the model spoke."""

    user: str
    tool_result: str | None

    def fits(self, rule: Rule) -> bool:
        """Say whether the rule is for this."""
        if rule.has_tool_result is not None and rule.has_tool_result != (self.tool_result is not None):
            return False
        return rule.user in self.user and rule.tool_result in (self.tool_result or "")


class ResponsesBody(BaseModel):
    """What a call of /v1/responses must hold; the many options beside these are kept, not judged."""

    model_config = ConfigDict(extra="allow", strict=True)
    model: str = Field(min_length=1)
    input: str | list[dict[str, Any]]
    stream: bool = False

    def said(self) -> Said:
        """Return what the conversation's end says."""
        items = self.input if isinstance(self.input, list) else [{"role": "user", "content": self.input}]
        tail = itertools.takewhile(lambda item: item.get("type") in _OUTPUTS, reversed(items))
        outputs = [item.get("output") for item in tail]
        people = (_text(item.get("content")) for item in reversed(items) if item.get("role") == "user")
        return Said(user=next(people, ""), tool_result=json.dumps(outputs[::-1]) if outputs else None)


class ChatBody(BaseModel):
    """What a call of /v1/chat/completions must hold."""

    model_config = ConfigDict(extra="allow", strict=True)
    model: str = Field(min_length=1)
    messages: list[dict[str, Any]] = Field(min_length=1)
    stream: bool = False
    stream_options: dict[str, Any] | None = None

    def said(self) -> Said:
        """Return what the conversation's end says."""
        tail = itertools.takewhile(lambda message: message.get("role") == "tool", reversed(self.messages))
        outputs = [_text(message.get("content")) for message in tail]
        people = (_text(m.get("content")) for m in reversed(self.messages) if m.get("role") == "user")
        return Said(user=next(people, ""), tool_result=json.dumps(outputs[::-1]) if outputs else None)


class OpenaiServer:
    """The app and what it recorded. `key` is the only credential it takes; None takes any, but not none."""

    def __init__(self, rules: Iterable[Rule | Mapping[str, Any]] = (), *, key: str | None = None) -> None:
        self.rules = _Rules.validate_python([r if isinstance(r, Rule) else dict(r) for r in rules])
        self.key = key
        self.requests: list[dict[str, Any]] = []
        self._ids = itertools.count(1)
        self.app = Starlette(
            routes=[
                Route("/v1/responses", self._responses, methods=["POST"]),
                Route("/v1/chat/completions", self._chat, methods=["POST"]),
                Route("/v1/models", self._list_models),
                Route("/health", self._health),
                Route("/__rules", self._set_rules, methods=["POST"]),
                Route("/__requests", self._list_requests),
            ]
        )

    def model_calls(self) -> list[dict[str, Any]]:
        """Return the bodies of the calls that a model answers, in order."""
        return [request["body"] for request in self.requests]

    # --- the API -----------------------------------------------------------------------------------------

    async def _responses(self, request: Request) -> Response:
        call = await self._accept(request, ResponsesBody)
        if isinstance(call, Response):
            return call
        if isinstance(call.input, list) and (problem := find_problem(call.input)):
            return _error(400, "invalid_request_error", problem)
        rule = await self._rule(call.said())
        if rule.error:
            return _error(rule.error.status, rule.error.type, rule.error.message)
        response = self._response(rule, call.model)
        if call.stream:
            return StreamingResponse(_stream_response(response), media_type="text/event-stream")
        return JSONResponse(response)

    async def _chat(self, request: Request) -> Response:
        call = await self._accept(request, ChatBody)
        if isinstance(call, Response):
            return call
        rule = await self._rule(call.said())
        if rule.error:
            return _error(rule.error.status, rule.error.type, rule.error.message)
        completion = self._completion(rule, call.model)
        if not call.stream:
            return JSONResponse(completion)
        tells_usage = bool((call.stream_options or {}).get("include_usage"))
        chunks = _stream_completion(completion, rule.thinking, tells_usage=tells_usage)
        return StreamingResponse(chunks, media_type="text/event-stream")

    async def _list_models(self, request: Request) -> Response:
        data = [{"id": name, "object": "model", "created": 0, "owned_by": "test"} for name in MODELS]
        return self._refusal(request) or JSONResponse({"object": "list", "data": data})

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

    async def _rule(self, said: Said) -> Rule:
        rule = next((rule for rule in self.rules if said.fits(rule)), FALLBACK)
        if rule.delay_s:
            await asyncio.sleep(rule.delay_s)
        return rule

    # --- parts -------------------------------------------------------------------------------------------

    def _refusal(self, request: Request) -> Response | None:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        is_known = self.key is None or hmac.compare_digest(given.encode(), self.key.encode())
        if scheme.lower() != "bearer" or not given or not is_known:
            return _error(401, "invalid_request_error", "Incorrect API key provided.", code="invalid_api_key")
        return None

    async def _accept(self, request: Request, kind: type[_Body]) -> _Body | Response:
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
        try:
            return kind.model_validate(body)
        except ValidationError as exc:
            first = exc.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            return _error(400, "invalid_request_error", f"{where}: {first['msg']}")

    def _response(self, rule: Rule, model: str) -> dict[str, Any]:
        number = next(self._ids)
        output: list[dict[str, Any]] = []
        if rule.thinking:
            summary = [{"type": "summary_text", "text": rule.thinking}]
            output.append({"type": "reasoning", "id": f"rs_{number:04}", "summary": summary})
        if rule.text:
            content = [{"type": "output_text", "text": rule.text, "annotations": [], "logprobs": []}]
            output.append(
                {
                    "type": "message",
                    "id": f"msg_{number:04}",
                    "role": "assistant",
                    "status": "completed",
                    "content": content,
                }
            )
        output += [_function_call(use, f"{number:04}_{i}") for i, use in enumerate(rule.tool_uses)]
        given, made = rule.usage.get("input_tokens", 0), rule.usage.get("output_tokens", 0)
        return {
            "id": f"resp_{number:04}",
            "object": "response",
            "created_at": 0,
            "status": "completed",
            "model": model,
            "output": output,
            "usage": {
                "input_tokens": given,
                "input_tokens_details": {"cached_tokens": rule.usage.get("cached_tokens", 0)},
                "output_tokens": made,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": given + made,
            },
        }

    def _completion(self, rule: Rule, model: str) -> dict[str, Any]:
        number = next(self._ids)
        message: dict[str, Any] = {"role": "assistant", "content": rule.text or None}
        if rule.tool_uses:
            message["tool_calls"] = [
                {
                    "id": f"call_{number:04}_{index}",
                    "type": "function",
                    "function": {"name": use.name, "arguments": json.dumps(use.input)},
                }
                for index, use in enumerate(rule.tool_uses)
            ]
        given, made = rule.usage.get("input_tokens", 0), rule.usage.get("output_tokens", 0)
        return {
            "id": f"chatcmpl-{number:04}",
            "object": "chat.completion",
            "created": 0,
            "model": model,
            "choices": [
                {"index": 0, "message": message, "finish_reason": "tool_calls" if rule.tool_uses else "stop"}
            ],
            "usage": {
                "prompt_tokens": given,
                "prompt_tokens_details": {"cached_tokens": rule.usage.get("cached_tokens", 0)},
                "completion_tokens": made,
                "total_tokens": given + made,
            },
        }


def find_problem(items: list[dict[str, Any]]) -> str | None:
    """Say what is wrong with an input: each call has its output, each output its call."""
    called: set[str] = set()
    for index, item in enumerate(items):
        kind = item.get("type")
        if kind in _CALLS:
            called.add(str(item.get("call_id")))
        elif kind in _OUTPUTS:
            if item.get("call_id") not in called:
                return f"input[{index}]: no tool call found for the output {item.get('call_id')}"
            called.discard(str(item["call_id"]))
    return f"No tool output found for function call {min(called)}." if called else None


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(str(part.get("text", "")) for part in content or () if isinstance(part, dict))


def _function_call(use: ToolUse, number: str) -> dict[str, Any]:
    call = {
        "type": "function_call",
        "id": f"fc_{number}",
        "call_id": f"call_{number}",
        "name": use.name,
        "arguments": json.dumps(use.input),
        "status": "completed",
    }
    if use.name.startswith("mcp__"):
        call["namespace"], _, call["name"] = use.name.rpartition("__")
    return call


def _error(status: int, kind: str, message: str, *, code: str | None = None) -> JSONResponse:
    error = {"message": message, "type": kind, "param": None, "code": code}
    return JSONResponse({"error": error}, status_code=status)


async def _stream_response(response: dict[str, Any]) -> AsyncIterator[str]:
    """Send a response the way the vendor streams it."""
    numbers = itertools.count()

    def sse(kind: str, **fields: Any) -> str:
        event = {"type": kind, "sequence_number": next(numbers), **fields}
        return f"event: {kind}\ndata: {json.dumps(event)}\n\n"

    begun = {**response, "status": "in_progress", "output": [], "usage": None}
    yield sse("response.created", response=begun)
    yield sse("response.in_progress", response=begun)
    for index, item in enumerate(response["output"]):
        yield sse("response.output_item.added", output_index=index, item=_opening(item))
        for kind, fields in _item_deltas(item):
            yield sse(kind, item_id=item["id"], output_index=index, **fields)
            await asyncio.sleep(0)
        yield sse("response.output_item.done", output_index=index, item=item)
    yield sse("response.completed", response=response)


def _opening(item: dict[str, Any]) -> dict[str, Any]:
    emptied: dict[str, dict[str, Any]] = {
        "message": {"content": []},
        "reasoning": {"summary": []},
        "function_call": {"arguments": ""},
    }
    return {**item, "status": "in_progress", **emptied[item["type"]]}


def _item_deltas(item: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    if item["type"] == "function_call":
        for part in _chunks(item["arguments"]):
            yield "response.function_call_arguments.delta", {"delta": part}
        yield "response.function_call_arguments.done", {"arguments": item["arguments"]}
        return
    is_message = item["type"] == "message"
    (part,) = item["content"] if is_message else item["summary"]
    family, text_kind = (
        ("content_part", "output_text")
        if is_message
        else ("reasoning_summary_part", "reasoning_summary_text")
    )
    place = {"content_index" if is_message else "summary_index": 0}
    yield f"response.{family}.added", {**place, "part": {**part, "text": ""}}
    for text in _chunks(part["text"]):
        yield f"response.{text_kind}.delta", {**place, "delta": text}
    yield f"response.{text_kind}.done", {**place, "text": part["text"]}
    yield f"response.{family}.done", {**place, "part": part}


async def _stream_completion(
    completion: dict[str, Any], thinking: str, *, tells_usage: bool
) -> AsyncIterator[str]:
    """Send a completion in chunks; reasoning goes where compatible servers put it."""
    (choice,) = completion["choices"]
    message = choice["message"]

    def sse(delta: dict[str, Any], finish: str | None = None, **fields: Any) -> str:
        chunk = {
            "id": completion["id"],
            "object": "chat.completion.chunk",
            "created": 0,
            "model": completion["model"],
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
            **fields,
        }
        return f"data: {json.dumps(chunk)}\n\n"

    yield sse({"role": "assistant", "content": ""})
    for text in _chunks(thinking):
        yield sse({"reasoning_content": text})
    for text in _chunks(message["content"] or ""):
        yield sse({"content": text})
        await asyncio.sleep(0)
    for index, call in enumerate(message.get("tool_calls", ())):
        opening = {**call, "index": index, "function": {**call["function"], "arguments": ""}}
        yield sse({"tool_calls": [opening]})
        for part in _chunks(call["function"]["arguments"]):
            yield sse({"tool_calls": [{"index": index, "function": {"arguments": part}}]})
    yield sse({}, choice["finish_reason"])
    if tells_usage:
        yield sse({}, choices=[], usage=completion["usage"])
    yield "data: [DONE]\n\n"


def _chunks(text: str) -> Iterator[str]:
    return (text[start : start + CHUNK_CHARS] for start in range(0, len(text), CHUNK_CHARS))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--key")
    parser.add_argument("--rules", type=Path)
    options = parser.parse_args()
    rules = json.loads(options.rules.read_text()) if options.rules else ()
    server = OpenaiServer(rules, key=options.key)
    uvicorn.run(server.app, host="127.0.0.1", port=options.port, log_level="warning")


if __name__ == "__main__":
    main()
