"""What the servers that write mail have in common: addresses, what a letter needs, and how a reply comes about."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from email.utils import getaddresses
from typing import Annotated, ClassVar, Protocol, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from services.domain.errors import Invalid
from services.kit.letters import Letter, find_references, is_address, reply_subject
from services.mcp_gateway.mcp_servers.attachments import MAX_LISTED, Attachments
from services.mcp_gateway.mcp_servers.tools import ToolInput, ToolOutput

MAX_TEXT_CHARS = 20_000
"""Of a text that is read; the rest comes with the next part."""
MAX_BODY_CHARS = 200_000
MAX_RECIPIENTS = 50


def one_line(text: str) -> str:
    """Return a text that is one line. Raises: ValueError."""
    if any(ord(char) < 32 or ord(char) == 127 for char in text):
        raise ValueError("must be one line")
    return text


def _checked(address: str) -> str:
    if not is_address(address):
        raise ValueError("must be one address: ann@example.com or Ann Lee <ann@example.com>")
    return address


Address = Annotated[str, StringConstraints(max_length=320), AfterValidator(_checked)]
Subject = Annotated[str, StringConstraints(max_length=900), AfterValidator(one_line)]
Start = Annotated[
    int,
    Field(ge=0, le=10_000_000, description="The character of the text to begin at: `next_start` of before."),
]


class LetterInput(ToolInput):
    """A letter or the draft of one. `reply_field` names the field with the mail that it answers."""

    reply_field: ClassVar[str]

    to: list[Address] = Field(
        default_factory=list,
        max_length=MAX_RECIPIENTS,
        description="Recipients. Only the draft of a reply may leave them out: it goes to whoever is answered.",
    )
    cc: list[Address] = Field(
        default_factory=list, max_length=MAX_RECIPIENTS, description="Who gets a copy, seen by all."
    )
    bcc: list[Address] = Field(
        default_factory=list, max_length=MAX_RECIPIENTS, description="Who gets a copy, seen by nobody else."
    )
    subject: Subject | None = Field(
        default=None, description="One line. Leave out in a reply: it keeps the thread's."
    )
    body: str = Field(min_length=1, max_length=MAX_BODY_CHARS, description="The text, plain.")
    attachments: Attachments = Field(default_factory=list)

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if getattr(self, self.reply_field) is not None:
            return self
        if not (self.to or self.cc or self.bcc):
            raise ValueError("name at least one recipient in `to`")
        if self.subject is None:
            raise ValueError(f"give a `subject`, or `{self.reply_field}` for a reply")
        return self

    def letter(self, sender: str | None = None) -> Letter:
        """Return a letter that answers nothing."""
        to, cc, bcc = tuple(self.to), tuple(self.cc), tuple(self.bcc)
        return Letter(to, self.subject or "", self.body, cc, bcc, sender=sender)

    def reply(self, header: Callable[[str], str], sender: str | None = None) -> Letter:
        """Return the reply to a mail, whose headers are given by name. Raises: Invalid."""
        to = tuple(self.to)
        if not to:
            answered = header("Reply-To") or header("From")
            to = tuple(address for _, address in getaddresses([answered]) if is_address(address))
            if not to:
                raise Invalid(
                    "The message does not say clearly whom to answer.", fields={"to": "name the recipient"}
                )
        message_ids = find_references(header("Message-ID"))
        return Letter(
            to,
            self.subject or reply_subject(header("Subject")),
            self.body,
            tuple(self.cc),
            tuple(self.bcc),
            in_reply_to=message_ids[0] if message_ids else None,
            references=find_references(header("References")),
            sender=sender,
        )


class NamesRecipients(LetterInput):
    """A letter that is sent: a person may have to allow the call, and must see whom it reaches."""

    @model_validator(mode="after")
    def _names_recipients(self) -> Self:
        if not (self.to or self.cc or self.bcc):
            raise ValueError("name the recipients in `to`, also in a reply")
        return self


class Listed(Protocol):
    """A file of a mail, as an account's client lists it."""

    @property
    def name(self) -> str: ...
    @property
    def mime_type(self) -> str: ...
    @property
    def size_bytes(self) -> int: ...


class AttachmentOutput(ToolOutput):
    number: int = Field(description="Give it as `attachment` to save the file in your workspace.")
    name: str = Field(description="Its file name.")
    mime_type: str = Field(description="For example `application/pdf`, as the sender says.")
    size_bytes: int = Field(description="Its size in bytes.")

    @classmethod
    def list_of(cls, files: Sequence[Listed]) -> list[AttachmentOutput]:
        """Return the first hundred files of a mail."""
        return [
            cls(number=number, name=file.name, mime_type=file.mime_type, size_bytes=file.size_bytes)
            for number, file in enumerate(files[:MAX_LISTED], start=1)
        ]


def part_of(text: str, start: int, most: int = MAX_TEXT_CHARS) -> tuple[str, int | None]:
    """Return a part of a text, and where the next one begins, None when this was the last."""
    part = text[start : start + most]
    end = start + len(part)
    return part, end if end < len(text) else None
