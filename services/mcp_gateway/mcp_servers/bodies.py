"""A first look at a request's body, before the protocol's own transport reads it."""

from __future__ import annotations

from starlette.types import Message, Receive


async def peek(receive: Receive, max_bytes: int) -> tuple[bytes, Receive]:
    """Return the beginning of a request's body, and a way to receive it that begins anew."""
    messages: list[Message] = []
    size = 0
    while size <= max_bytes:
        message = await receive()
        messages.append(message)
        size += len(message.get("body", b""))
        if message["type"] != "http.request" or not message.get("more_body", False):
            break
    body = b"".join(message.get("body", b"") for message in messages)
    waiting = iter(messages)

    async def replay() -> Message:
        return next(waiting, None) or await receive()

    return body, replay
