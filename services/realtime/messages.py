"""What a client may say on the WebSocket: closed models, one for each `op`."""

from __future__ import annotations

import json
import uuid
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from services.domain.errors import CursorInvalid, Invalid, MalformedBody

MAX_FRAME_BYTES = 2 * 1024 * 1024
LARGEST_NUMBER = 2**63 - 1
MAX_TYPED_CHARS = 96 * 1024

MessageId = Annotated[str, Field(max_length=100)] | Annotated[int, Field(ge=0, le=LARGEST_NUMBER)] | None


class UnsupportedOp(Invalid):
    code = "unsupported_op"


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    id: MessageId = None


class Subscribe(_Message):
    """`after` is the last number that the client has; null means that it has nothing."""

    op: Literal["subscribe"]
    stream: str = Field(max_length=80)
    after: int | None = Field(default=None, ge=0, le=LARGEST_NUMBER)


class Unsubscribe(_Message):
    op: Literal["unsubscribe"]
    stream: str = Field(max_length=80)


class Submit(_Message):
    """The other fields are those of `POST /v1/tasks`; the api service judges them."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    op: Literal["submit"]
    idempotency_key: str | None = Field(default=None, min_length=1, max_length=200, pattern=r"^[\x21-\x7e]+$")

    @property
    def body(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class Cancel(_Message):
    op: Literal["cancel"]
    task_id: Annotated[uuid.UUID, Field(strict=False)]


class Steer(_Message):
    op: Literal["steer"]
    task_id: Annotated[uuid.UUID, Field(strict=False)]
    text: str
    idempotency_key: str | None = Field(default=None, min_length=1, max_length=200, pattern=r"^[\x21-\x7e]+$")


class Answer(_Message):
    """An answer to a question, by its own id or by the task that waits; `option` counts from 0."""

    op: Literal["answer"]
    question_id: Annotated[uuid.UUID, Field(strict=False)] | None = None
    task_id: Annotated[uuid.UUID, Field(strict=False)] | None = None
    text: str = Field(default="", max_length=20_000)
    option: int | None = Field(default=None, ge=0, le=100)

    @model_validator(mode="after")
    def _names_one(self) -> Self:
        if (self.question_id is None) == (self.task_id is None):
            raise ValueError("give a question_id or a task_id")
        if self.task_id is not None and self.option is not None:
            raise ValueError("an option is given with a question_id")
        return self


class TerminalOpen(_Message):
    op: Literal["terminal.open"]
    workspace_id: Annotated[uuid.UUID, Field(strict=False)]
    cols: int = Field(default=80, ge=1, le=1_000)
    rows: int = Field(default=24, ge=1, le=1_000)


class TerminalInput(_Message):
    """`data` is what is typed, in base64."""

    op: Literal["terminal.input"]
    terminal: str = Field(max_length=40)
    data: str = Field(max_length=MAX_TYPED_CHARS)


class TerminalResize(_Message):
    op: Literal["terminal.resize"]
    terminal: str = Field(max_length=40)
    cols: int = Field(ge=1, le=1_000)
    rows: int = Field(ge=1, le=1_000)


class TerminalClose(_Message):
    op: Literal["terminal.close"]
    terminal: str = Field(max_length=40)


class Ping(_Message):
    op: Literal["ping"]


TerminalMessage = TerminalInput | TerminalResize | TerminalClose
AnyMessage = (
    Subscribe | Unsubscribe | Submit | Cancel | Steer | Answer | Ping | TerminalOpen | TerminalMessage
)
_OPS = frozenset(
    {"subscribe", "unsubscribe", "submit", "cancel", "steer", "answer", "ping"}
    | {"terminal.open", "terminal.input", "terminal.resize", "terminal.close"}
)
_MESSAGE: TypeAdapter[AnyMessage] = TypeAdapter(Annotated[AnyMessage, Field(discriminator="op")])


def parse_frame(text: str | None) -> dict[str, Any]:
    """Read a frame as a JSON object. Raises: MalformedBody."""
    if text is None:
        raise MalformedBody("Frames are text: JSON objects.")
    try:
        frame = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise MalformedBody("The frame is not JSON.") from error
    if not isinstance(frame, dict):
        raise MalformedBody("The frame is not a JSON object.")
    return frame


def parse_message(frame: dict[str, Any]) -> AnyMessage:
    """Read a message. Raises: UnsupportedOp, Invalid."""
    if not isinstance(frame.get("op"), str) or frame["op"] not in _OPS:
        raise UnsupportedOp("This op is not supported.")
    try:
        return _MESSAGE.validate_python(frame)
    except ValidationError as error:
        raise Invalid("The message is not valid.", fields=fields_of(error)) from error


def fields_of(error: ValidationError) -> dict[str, str]:
    """Return what is wrong with which field."""
    return {".".join(map(str, item["loc"][-2:])): item["msg"] for item in error.errors(include_url=False)}


def id_of(frame: dict[str, Any]) -> str | int | None:
    """Return a frame's id to answer with, if it has a usable one."""
    found = frame.get("id")
    return found if isinstance(found, str | int) and len(str(found)) <= 100 else None


def parse_number(text: str) -> int:
    """Read a cursor from an address or a header. Raises: CursorInvalid."""
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(LARGEST_NUMBER))):
        raise CursorInvalid("The cursor is not a number.")
    if int(text) > LARGEST_NUMBER:
        raise CursorInvalid("The cursor is not a number.")
    return int(text)
