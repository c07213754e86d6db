"""Reading a call of the Messages API: what it may cost, and whether it asks for more than a model's words."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from services.domain.llm.rates import Tokens, estimate_tokens
from services.mcp_gateway.llm.replies import Refusal, invalid

MAX_BODY_BYTES = 32 * 1024**2
"""The vendor's own limit. Source: platform.claude.com/docs/en/api/overview, "Request size limits"."""
MAX_MODEL_CHARS = 100
MAX_OUTPUT_TOKENS = 1_000_000

# Whatever makes the vendor fetch an address, call a server or run code is a way out of the sandbox that no allowlist of
# the platform sees, or reads what others have stored under the same key.
_OUTWARD_FIELDS = ("mcp_servers", "container")
_OUTWARD_TOOLS = ("web_search_", "web_fetch_", "code_execution_", "advisor_", "mcp_toolset")
_OWN_SOURCES = ("base64", "text", "content")
# These change the price by factors that the price list does not have.
_PRICED = {"speed": ("standard",), "inference_geo": ("global", "not_available")}


@dataclass(frozen=True, slots=True)
class MessagesCall:
    """What the proxy needs to know of a call. The body itself goes out as it came, unless another model stands in."""

    model: str
    max_tokens: int
    body: bytes
    writes_cache_for: str | None

    @property
    def most(self) -> Tokens:
        """Return the most that the call is expected to use."""
        return estimate_tokens(len(self.body), self.max_tokens, writes_cache_for=self.writes_cache_for)

    def body_for(self, model: str) -> bytes:
        """Return the body that goes out."""
        return self.body if model == self.model else with_model(self.body, model)


def parse_count_call(body: bytes) -> MessagesCall:
    """Read a call that only counts. Raises: Refusal."""
    return parse_messages_call(body, needs_max_tokens=False)


async def read_limited(request: Request) -> bytes:
    """Read a body as it came. Raises: Refusal when it is too large."""
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            raise Refusal(
                413, "request_too_large", "body_too_large", f"At most {MAX_BODY_BYTES} bytes are taken."
            )
        chunks.append(chunk)
    return b"".join(chunks)


def parse_messages_call(body: bytes, *, needs_max_tokens: bool = True) -> MessagesCall:
    """Read a call. Raises: Refusal for what the vendor could read otherwise than we do, or what may not go out."""
    call = read_object(body)
    model, max_tokens = call.get("model"), call.get("max_tokens", 0 if not needs_max_tokens else None)
    if not isinstance(model, str) or not 0 < len(model) <= MAX_MODEL_CHARS or "\x00" in model:
        raise invalid("model: a name is needed.")
    if type(max_tokens) is not int or not (not needs_max_tokens or 0 < max_tokens <= MAX_OUTPUT_TOKENS):
        raise invalid("max_tokens: a whole number above zero is needed.")
    refuse_outward(call)
    writes_cache_for = None
    if b'"cache_control"' in body:
        writes_cache_for = "1h" if b'"1h"' in body else "5m"
    return MessagesCall(model, max_tokens, body, writes_cache_for)


def refuse_outward(call: Mapping[str, Any]) -> None:
    """Refuse what would make the vendor reach out on the sandbox's behalf. Raises: Refusal."""
    fields = [name for name in _OUTWARD_FIELDS if call.get(name)]
    tools = [
        str(tool["type"])
        for tool in dicts_in(call.get("tools"))
        if str(tool.get("type") or "").startswith(_OUTWARD_TOOLS)
    ]
    sources = [f"source {kind}" for kind in _foreign_sources(call)]
    options = [
        name for name, usual in _PRICED.items() if call.get(name) is not None and call[name] not in usual
    ]
    if found := [*fields, *tools, *sources, *options]:
        raise Refusal(
            400,
            "invalid_request_error",
            "not_passed_on",
            f"The gateway does not pass on: {', '.join(found[:5])[:300]}.",
        )


def _foreign_sources(call: Mapping[str, Any]) -> set[str]:
    blocks: list[dict[str, Any]] = []
    for message in dicts_in(call.get("messages")):
        blocks.extend(dicts_in(message.get("content")))
    blocks.extend(dicts_in(call.get("system")))
    kinds = set()
    while blocks:
        block = blocks.pop()
        source = block.get("source")
        if isinstance(source, dict):
            kinds.add(str(source.get("type")))
            blocks.extend(dicts_in(source.get("content")))
        if block.get("type") == "container_upload":
            kinds.add("container_upload")
        blocks.extend(dicts_in(block.get("content")))
        if isinstance(block.get("content"), dict):
            blocks.append(block["content"])
    return kinds.difference(_OWN_SOURCES)


def dicts_in(value: Any) -> Iterator[dict[str, Any]]:
    """Yield the objects of a list; nothing for what is not one."""
    return (item for item in value if isinstance(item, dict)) if isinstance(value, list) else iter(())


def read_object(body: bytes) -> dict[str, Any]:
    """Read a body that is one JSON object. Raises: Refusal."""
    try:
        # As UTF-8 and nothing else: the parser alone would also take UTF-16.
        call = json.loads(body.decode(), object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError) as error:
        raise invalid("The body is not JSON.") from error
    if not isinstance(call, dict):
        raise invalid("The body is not a JSON object.")
    return call


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a name that comes twice: parsers differ in which of the two counts, and one of them has the price."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name comes twice")
    return found


def with_model(body: bytes, model: str) -> bytes:
    """Return a call's body with another model's name."""
    return json.dumps(json.loads(body) | {"model": model}, ensure_ascii=False).encode("utf-8", "replace")
