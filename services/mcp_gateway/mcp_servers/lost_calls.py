"""Calls whose stream broke, as a gateway that is restarted breaks it: the client asks again and hears what is known.

A stream begins with an id that names its call. Who comes back with it is told at once that the outcome is not known,
by whichever process of the gateway: without it a client waits until its own limit, minutes later.
Source: the transport of the protocol's revision 2025-11-25, section on resumability.
"""

from __future__ import annotations

import base64
import binascii
import json

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Message, Send

from services.mcp_gateway.holding.words import failed

REVISION = "2025-11-25"
"""Clients of earlier revisions cannot read an event without a message, and later ones take no stream up again."""
RETRY_MS = 500
_PREFIX = "call-"
_WORDS = (
    "outcome_unknown: The connection broke while this call was under way, so nobody knows whether it was made. Look "
    "whether it was, if that matters, before you make it again."
)


def named(send: Send, headers: Headers, body: bytes) -> Send:
    """Return a way to send by which the stream of a call begins with its id; other answers stay as they are."""
    call_id = _called_id(body) if headers.get("mcp-protocol-version") == REVISION else None
    if call_id is None:
        return send

    async def send_named(message: Message) -> None:
        await send(message)
        if message["type"] == "http.response.start" and _is_stream(message):
            event = f"id: {_name_of(call_id)}\nretry: {RETRY_MS}\ndata:\n\n"
            await send({"type": "http.response.body", "body": event.encode(), "more_body": True})

    return send_named


def find_lost(headers: Headers) -> Response | None:
    """Answer who comes back for a call; None when the request names none."""
    call_id = _read_name(headers.get("last-event-id", ""))
    if call_id is None:
        return None
    result = failed(_WORDS).model_dump(mode="json", by_alias=True, exclude_none=True)
    answer = json.dumps({"jsonrpc": "2.0", "id": call_id, "result": result})
    return Response(
        f"event: message\ndata: {answer}\n\n",
        headers={"Cache-Control": "no-cache, no-transform"},
        media_type="text/event-stream",
    )


def _called_id(body: bytes) -> str | int | None:
    if b"tools/call" not in body:
        return None
    try:
        message = json.loads(body)
        found = message["id"] if message["method"] == "tools/call" else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return found if isinstance(found, str | int) and not isinstance(found, bool) else None


def _is_stream(message: Message) -> bool:
    return (
        Headers(raw=list(message.get("headers", ()))).get("content-type", "").startswith("text/event-stream")
    )


def _name_of(call_id: str | int) -> str:
    return _PREFIX + base64.urlsafe_b64encode(json.dumps(call_id).encode()).decode()


def _read_name(name: str) -> str | int | None:
    if not name.startswith(_PREFIX):
        return None
    try:
        found = json.loads(base64.urlsafe_b64decode(name.removeprefix(_PREFIX)))
    except (binascii.Error, ValueError):
        return None
    return found if isinstance(found, str | int) and not isinstance(found, bool) else None
