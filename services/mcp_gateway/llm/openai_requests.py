"""Reading calls of the Responses and Chat Completions APIs: what they may cost, what they may ask of the vendor.

Source: platform.openai.com/docs/api-reference, "Responses" and "Chat".
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from services.domain.llm.rates import Tokens, estimate_tokens
from services.mcp_gateway.llm.replies import Refusal, invalid
from services.mcp_gateway.llm.requests import (
    MAX_MODEL_CHARS,
    MAX_OUTPUT_TOKENS,
    dicts_in,
    read_object,
    with_model,
)

DEFAULT_OUTPUT_TOKENS = 32_000
"""The most that a call which names no limit may write: there must be one, for money is set aside for it."""

# Tools that the client carries out itself. The vendor's own search, fetch, run code, or call servers: a way out of the
# sandbox that no allowlist of the platform sees.
_OWN_TOOLS = ("function", "custom", "namespace", "tool_search", "local_shell", "apply_patch")
# What others stored under the same key, or what outlives the call and its bill.
_OUTWARD_FIELDS = (
    "previous_response_id",
    "conversation",
    "prompt",
    "background",
    "web_search_options",
    "audio",
)
_FOREIGN_ITEMS = ("item_reference",)
_FILE_FIELDS = ("file_id", "file_url")
_IMAGES = ("image_url",)
# Models that search the web by themselves, without a tool being named.
_SEARCHING = ("-search", "deep-research")
# A tier or a number of answers that changes the price by factors that the price list does not have.
_PRICED: dict[str, tuple[Any, ...]] = {"service_tier": ("auto", "default", "flex"), "n": (1,)}


@dataclass(frozen=True, slots=True)
class OpenaiCall:
    """What the proxy needs to know of a call, and the body that goes out."""

    model: str
    max_tokens: int
    size_bytes: int
    body: bytes

    @property
    def most(self) -> Tokens:
        """Return the most that the call is expected to use."""
        return estimate_tokens(self.size_bytes, self.max_tokens)

    def body_for(self, model: str) -> bytes:
        """Return the body that goes out."""
        return self.body if model == self.model else with_model(self.body, model)


def parse_responses_call(body: bytes) -> OpenaiCall:
    """Read a call of /v1/responses. It goes out with a limit, and so that the vendor keeps nothing. Raises: Refusal."""
    call = read_object(body)
    _refuse_outward(call)
    if call.get("store"):
        raise _not_passed_on(["store"])
    call["store"] = False
    return _finished(call, body, limits=("max_output_tokens",))


def parse_count_call(body: bytes) -> OpenaiCall:
    """Read a call of /v1/responses/input_tokens, which goes out as it came. Raises: Refusal."""
    call = read_object(body)
    _refuse_outward(call)
    return OpenaiCall(_model_of(call), 0, len(body), body)


def parse_chat_call(body: bytes) -> OpenaiCall:
    """Read a call of /v1/chat/completions. It goes out with a limit, and its stream says its usage. Raises: Refusal."""
    call = read_object(body)
    _refuse_outward(call)
    if call.get("store"):
        raise _not_passed_on(["store"])
    if call.get("stream"):
        options = call.get("stream_options")
        call["stream_options"] = {**(options if isinstance(options, dict) else {}), "include_usage": True}
    return _finished(call, body, limits=("max_completion_tokens", "max_tokens"))


def _finished(call: dict[str, Any], body: bytes, *, limits: tuple[str, ...]) -> OpenaiCall:
    model = _model_of(call)
    named = [name for name in limits if call.get(name) is not None]
    for name in named:
        if type(call[name]) is not int or not 0 < call[name] <= MAX_OUTPUT_TOKENS:
            raise invalid(f"{name}: a whole number above zero is needed.")
    if not named:
        call[limits[0]] = DEFAULT_OUTPUT_TOKENS
    max_tokens = max(call[name] for name in named or limits[:1])
    return OpenaiCall(
        model, max_tokens, len(body), json.dumps(call, ensure_ascii=False).encode("utf-8", "replace")
    )


def _model_of(call: Mapping[str, Any]) -> str:
    model = call.get("model")
    if not isinstance(model, str) or not 0 < len(model) <= MAX_MODEL_CHARS or "\x00" in model:
        raise invalid("model: a name is needed.")
    if any(part in model.lower() for part in _SEARCHING):
        raise _not_passed_on([f"model {model}"])
    return model


def _refuse_outward(call: Mapping[str, Any]) -> None:
    """Refuse what would make the vendor reach out on the sandbox's behalf. Raises: Refusal."""
    found = [name for name in _OUTWARD_FIELDS if call.get(name)]
    found += [f"tool {kind}" for kind in _foreign_tools(call.get("tools"))]
    found += _foreign_content(call)
    found += [
        name for name, usual in _PRICED.items() if call.get(name) is not None and call[name] not in usual
    ]
    modalities = call.get("modalities")
    if modalities is not None and modalities != ["text"]:
        found.append("modalities")
    if found:
        raise _not_passed_on(found)


def _not_passed_on(found: list[str]) -> Refusal:
    names = ", ".join(found[:5])[:300]
    return Refusal(400, "invalid_request_error", "not_passed_on", f"The gateway does not pass on: {names}.")


def _foreign_tools(tools: Any) -> Iterator[str]:
    for tool in dicts_in(tools):
        if tool.get("type") not in _OWN_TOOLS:
            yield str(tool.get("type"))
        yield from _foreign_tools(tool.get("tools"))


def _foreign_content(call: Mapping[str, Any]) -> list[str]:
    """Name what lies elsewhere: files by id or address, images that are not in the call itself, stored items."""
    found: set[str] = set()
    waiting: list[Any] = [call.get("input"), call.get("messages")]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting.extend(value)
        if not isinstance(value, dict):
            continue
        if value.get("type") in _FOREIGN_ITEMS:
            found.add(str(value["type"]))
        found.update(name for name in _FILE_FIELDS if value.get(name))
        found.update(name for name in _IMAGES if value.get(name) and not _is_inline(value[name]))
        waiting.extend(item for name, item in value.items() if name not in _IMAGES)
    return sorted(found)


def _is_inline(image: Any) -> bool:
    address = image.get("url") if isinstance(image, dict) else image
    return isinstance(address, str) and address.startswith("data:")
