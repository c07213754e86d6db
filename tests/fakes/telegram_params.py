"""Reading the parameters of Bot API calls as strictly as Telegram does."""

from __future__ import annotations

import json
import re
from typing import Any

from starlette.requests import Request

from tests.fakes.telegram_html import CannotParse, read_html, utf16_units

JSON = dict[str, Any]


class Refused(Exception):
    """An answer with an error; `parameters` as in the Bot API."""

    def __init__(self, code: int, description: str, **parameters: int) -> None:
        super().__init__(description)
        self.code, self.description, self.parameters = code, description, parameters


def bad(reason: str) -> Refused:
    """Make the refusal of a bad request."""
    return Refused(400, f"Bad Request: {reason}")


def read_text(params: JSON) -> tuple[str, list[JSON]]:
    """Return a message's text and its entities."""
    text, entities, mode = (
        str(params.get("text", "")),
        read_json(params.get("entities"), []),
        params.get("parse_mode"),
    )
    if mode not in (None, "", "HTML"):
        raise bad("unsupported parse_mode")
    if mode == "HTML":
        try:
            text, entities = read_html(text)
        except CannotParse as error:
            raise bad(str(error)) from error
    if not text.strip():
        raise bad("message text is empty")
    if utf16_units(text) > 4096:
        raise bad("message is too long")
    return text, entities


def read_thread(chat: JSON, params: JSON) -> int | None:
    """Return the topic that a call names, if it may."""
    thread_id = whole(params, "message_thread_id")
    if thread_id is not None and (thread_id <= 0 or thread_id not in chat.get("topics", [thread_id])):
        raise bad("message thread not found")
    return thread_id


def whole(params: JSON, name: str) -> int | None:
    """Return a whole number, None when it is not there."""
    value = params.get(name)
    if value is None:
        return None
    try:
        return int(value)
    except ValueError as error:
        raise bad("chat not found" if name == "chat_id" else f"{name} is not a number") from error


def read_json(value: Any, default: Any) -> Any:
    """Read a parameter that is JSON in a form."""
    if value is None:
        return default
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise bad("can't parse a JSON parameter") from error


def found_entities(text: str) -> list[JSON]:
    """Find the mentions and commands in a text, as Telegram does for what people write."""
    kinds = (("mention", r"(?<!\w)@\w{3,32}"), ("bot_command", r"(?<!\S)/\w{1,64}(?:@\w{3,32})?"))
    return [
        {"type": kind, "offset": utf16_units(text[: found.start()]), "length": utf16_units(found[0])}
        for kind, pattern in kinds
        for found in re.finditer(pattern, text)
    ]


async def read_params(request: Request) -> JSON:
    """Read the parameters from wherever the Bot API allows them."""
    params: JSON = dict(request.query_params)
    if request.headers.get("content-type", "").startswith("application/json"):
        body: JSON = await request.json()
        return params | body
    async with request.form(max_part_size=60_000_000) as form:
        return params | {
            name: value if isinstance(value, str) else {"name": value.filename, "data": await value.read()}
            for name, value in form.items()
        }
