"""Putting an answer together from the pieces of its stream: a secret may lie across two of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

_DONE = b"[DONE]"


def assemble(body: bytes) -> Any:
    """Return what a model answered, as one value: the answer itself, or the texts of a stream by their place."""
    whole = _json(body)
    if whole is not None:
        return whole
    texts: dict[str, list[str]] = {}
    last: Any = None
    for event in _events(body):
        kind = str(event.get("type", ""))
        if kind.startswith("response.") and isinstance(event.get("response"), dict):
            last = event["response"]
        if kind in ("error",):
            texts.setdefault("error", []).append(json.dumps(event))
        for place, text in _written(event, kind):
            texts.setdefault(place, []).append(text)
    if isinstance(last, dict) and last.get("output"):
        return last["output"]
    if texts:
        return {place: "".join(parts) for place, parts in texts.items()}
    return body.decode("utf-8", "replace") if b"data:" not in body else ""


def _written(event: dict[str, Any], kind: str) -> Iterator[tuple[str, str]]:
    delta = event.get("delta")
    if isinstance(delta, str):
        yield f"{kind.removesuffix('.delta')} {event.get('output_index', 0)}", delta
    elif isinstance(delta, dict):
        for name in ("text", "thinking", "partial_json"):
            if isinstance(delta.get(name), str):
                yield f"{name} {event.get('index', 0)}", delta[name]
    if kind == "content_block_start" and isinstance(event.get("content_block"), dict):
        block = event["content_block"]
        if isinstance(block.get("name"), str):
            yield f"tool {event.get('index', 0)}", block["name"]
    for choice in _dicts(event.get("choices")):
        found = choice.get("delta")
        if not isinstance(found, dict):
            continue
        for name in ("content", "reasoning_content"):
            if isinstance(found.get(name), str):
                yield name, found[name]
        for call in _dicts(found.get("tool_calls")):
            function = call.get("function")
            if isinstance(function, dict):
                yield f"tool {call.get('index', 0)}", str(function.get("name") or "")
                yield f"arguments {call.get('index', 0)}", str(function.get("arguments") or "")


def _events(body: bytes) -> Iterator[dict[str, Any]]:
    for line in body.split(b"\n"):
        if line.startswith(b"data:") and line[5:].strip() != _DONE:
            event = _json(line[5:])
            if isinstance(event, dict):
                yield event


def _json(text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _dicts(value: Any) -> Iterator[dict[str, Any]]:
    return (item for item in value if isinstance(item, dict)) if isinstance(value, list) else iter(())
