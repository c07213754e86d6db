"""Slack's interactivity calls: a form whose field `payload` is JSON, signed like every other call. Pure.

Source: https://docs.slack.dev/reference/interaction-payloads/block_actions-payload
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

from pydantic import BaseModel, ConfigDict, ValidationError

from services.adapters.chat.wire import read_object
from services.domain.errors import MalformedBody
from services.domain.ports.chat import InboundPress, Parsed, Place, Sender

_FIELD = "payload"


class _Lenient(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True, hide_input_in_errors=True)


class _Action(_Lenient):
    type: str = ""
    action_id: str = ""
    action_ts: str = ""
    value: str | None = None


class _Person(_Lenient):
    id: str
    username: str = ""
    name: str = ""


class _Container(_Lenient):
    channel_id: str = ""
    message_ts: str = ""
    thread_ts: str | None = None


class _Payload(_Lenient):
    type: str = ""
    trigger_id: str = ""
    user: _Person | None = None
    container: _Container | None = None
    actions: list[_Action] = []


def parse(body: bytes) -> Parsed:
    """Read a form of Slack's. Raises: MalformedBody."""
    try:
        fields = parse_qs(body.decode("utf-8"), max_num_fields=50)
    except ValueError as error:
        raise MalformedBody("The body is not a form.") from error
    given = fields.get(_FIELD)
    if given is None:
        return Parsed(ignored="unknown_type")
    return parse_payload(read_object(given[0].encode("utf-8", "replace")))


def parse_payload(raw: dict[str, Any]) -> Parsed:
    """Read the JSON of what somebody did with a message. Raises: MalformedBody."""
    try:
        return _read(_Payload.model_validate(raw))
    except ValidationError as error:
        raise MalformedBody("The payload is not one of Slack's.") from error


def _read(payload: _Payload) -> Parsed:
    person, container = payload.user, payload.container
    pressed = [action for action in payload.actions if action.type == "button" and action.value is not None]
    if payload.type != "block_actions" or person is None or container is None or not pressed:
        return Parsed(ignored="unknown_type")
    if not container.channel_id or not container.message_ts:
        return Parsed(ignored="unknown_type")
    return Parsed(
        presses=tuple(
            InboundPress(
                dedupe_key=f"press:{container.channel_id}:{container.message_ts}:{person.id}:{action.action_ts}",
                place=Place(container.channel_id, container.thread_ts),
                sender=Sender(person.id, person.name or person.username or person.id),
                message_id=container.message_ts,
                value=action.value or "",
            )
            for action in pressed
        )
    )
