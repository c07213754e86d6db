"""The AsyncAPI 3.0 document of this service, made from the registry of events and the models of the messages.

Source: the AsyncAPI Specification 3.0.0.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from services.domain.events.listed import Listed
from services.domain.events.registry import HIDDEN, KINDS, EventKind
from services.kit.environment import environment
from services.realtime.endpoint import Endpoint
from services.realtime.messages import AnyMessage

Document = dict[str, Any]

STREAM_NAME = r"^(workspace|user|org):[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
LIVE_TYPES = ("text.delta", "reasoning.delta", "tool.output", "command.output", "typing")
_REF = "#/components/schemas/{model}"


class _Said(BaseModel):
    model_config = ConfigDict(extra="allow")


class Ok(_Said):
    """A message was understood and done. What else it has depends on the message's `op`."""

    op: Literal["ok"]
    id: str | int | None


class Refused(_Said):
    """A message was not done, for the reason `code`, which is a code of REST; or, without an `id`, the end is near."""

    op: Literal["error"]
    id: str | int | None
    code: str
    message: str


class Pong(_Said):
    """The answer to a ping."""

    op: Literal["pong"]
    id: str | int | None


class Resync(_Said):
    """The client's number is older than what is kept: what came before `oldest` is gone from the stream."""

    op: Literal["resync"]
    stream: str
    oldest: int


class Ended(_Said):
    """The stream is there no more: what it told of was deleted."""

    op: Literal["ended"]
    stream: str
    code: Literal["access_ended"]


class TerminalOutput(_Said):
    """What a terminal shows, in base64."""

    op: Literal["terminal.output"]
    terminal: str
    data: str


class TerminalClosed(_Said):
    """A terminal has ended."""

    op: Literal["terminal.closed"]
    terminal: str


class LiveData(BaseModel):
    """What is said live. `call_id` and `command_id` tell apart outputs at the same time."""

    model_config = ConfigDict(extra="allow")

    text: str = ""
    call_id: str | None = None
    command_id: str | None = None


class LiveEvent(BaseModel):
    """Said and never stored. `after` is the durable event it follows, `part` its place there."""

    stream: str = Field(pattern=STREAM_NAME)
    type: Literal["text.delta", "reasoning.delta", "tool.output", "command.output", "typing"]
    at: str
    task_id: str | None
    turn: int | None = None
    after: int
    part: int
    is_whole: bool = False
    is_cut: bool = False
    data: LiveData


ANSWERS = (Ok, Refused, Pong, Resync, Ended, TerminalOutput, TerminalClosed)


@functools.cache
def document() -> Document:
    """Return the document, made once."""
    said: tuple[type[BaseModel], ...] = _models_of(AnyMessage)
    schemas = _schemas([(one, "validation") for one in said])
    schemas |= _schemas([(one, "serialization") for one in (*ANSWERS, LiveEvent)])
    schemas |= _schemas([(kind.data, "serialization") for kind in KINDS.values()])
    events = {name: _event(kind) for name, kind in KINDS.items()}
    events[HIDDEN] = _hidden()
    answers = {one.__name__: _message(one, str(_op(one))) for one in ANSWERS}
    asked = {one.__name__: _message(one, str(_op(one))) for one in said}
    live = {LiveEvent.__name__: _message(LiveEvent, "live event")}
    told = [*events, LiveEvent.__name__]
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Slipway live events",
            "version": "1",
            "description": "One envelope on every transport; `seq` is the cursor on each. See docs/events.md.",
        },
        "servers": {"slipway": _server()},
        "defaultContentType": "application/json",
        "channels": {
            "socket": _channel("/v1/stream", [*told, *answers, *asked], "WebSocket."),
            "sse": _channel("/v1/events", [*told, "Resync", "Ended"], "Events of one `?stream=`."),
            "longpoll": _channel("/realtime/events", [*events], "Long-poll: each `event` of an answer's `events`."),
        },
        "operations": {
            "ask": _operation("receive", "socket", list(asked)),
            "tellOnSocket": _operation("send", "socket", [*told, *answers]),
            "tellBySse": _operation("send", "sse", [*told, "Resync", "Ended"]),
            "tellByLongPoll": _operation("send", "longpoll", list(events)),
        },
        "components": {
            "messages": {**events, **live, **answers, **asked},
            "schemas": schemas,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "An API token, `sw_…`."},
                "ticket": {
                    "type": "httpApiKey", "in": "query", "name": "ticket",
                    "description": "Good once, from `POST /v1/tickets`.",
                },
            },
        },
    }  # fmt: skip


class DescriptionEndpoint(Endpoint):
    """`GET /v1/asyncapi.json`; it names no tenant's objects, so anybody may read it."""

    methods = ("GET", "HEAD")

    async def answer(self) -> None:
        """Show the document."""
        await self.send_json(200, document())


def _server() -> Document:
    scheme, _, rest = environment().public_url.partition("://")
    return {
        "host": rest.partition("/")[0],
        "protocol": "wss" if scheme == "https" else "ws",
        "security": [
            {"$ref": "#/components/securitySchemes/bearer"},
            {"$ref": "#/components/securitySchemes/ticket"},
        ],
    }


def _event(kind: EventKind) -> Document:
    """Describe a type of event: its envelope, where its object is, and which scope it takes to see it."""
    data = kind.data
    described = _envelope(data.type, {"$ref": _REF.format(model=data.__name__)}, kind.streams)
    described["summary"] = (data.__doc__ or "").strip().partition("\n")[0]
    described["x-object"], described["x-scope"] = kind.route, kind.scope
    if issubclass(data, Listed):
        described["x-key"], described["x-parents"] = data.key, data.parents
    return described


def _hidden() -> Document:
    described = _envelope(HIDDEN, {"type": "object", "maxProperties": 0}, ("workspace", "user", "org"))
    described["summary"] = "In place of an event that is not for whoever gets this: its number, and no more."
    return described


def _envelope(name: str, data: Document, streams: Iterable[str]) -> Document:
    text = {"type": "string"}
    return {
        "name": name,
        "title": name,
        "x-streams": list(streams),
        "payload": {
            "type": "object",
            "required": ["stream", "seq", "type", "at", "task_id", "turn", "data"],
            "additionalProperties": False,
            "properties": {
                "stream": text | {"pattern": f"^({'|'.join(streams)}):"},
                "seq": {"type": "integer", "minimum": 1},
                "type": {"const": name},
                "at": text | {"format": "date-time"},
                "task_id": {"type": ["string", "null"], "format": "uuid"},
                "turn": {"type": ["integer", "null"]},
                "data": data,
            },
        },
    }


def _message(model: type[BaseModel], name: str) -> Document:
    return {
        "name": name,
        "title": name,
        "summary": (model.__doc__ or "").strip().partition("\n")[0],
        "payload": {"$ref": _REF.format(model=model.__name__)},
    }


def _channel(address: str, messages: list[str], description: str) -> Document:
    refs = {name: {"$ref": f"#/components/messages/{name}"} for name in messages}
    return {"address": address, "description": description, "messages": refs}


def _operation(action: str, channel: str, messages: list[str]) -> Document:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "messages": [{"$ref": f"#/channels/{channel}/messages/{name}"} for name in messages],
    }


def _schemas(models: list[tuple[type[BaseModel], JsonSchemaMode]]) -> Document:
    _, found = models_json_schema(models, ref_template=_REF)
    schemas: Document = found["$defs"]
    return schemas


def _models_of(union: Any) -> tuple[type[BaseModel], ...]:
    return tuple(get_args(union))


def _op(model: type[BaseModel]) -> str:
    (op,) = get_args(model.model_fields["op"].annotation)
    return str(op)
