"""What the Gmail tools take and give."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints, model_validator

from services.adapters.accounts.gmail.messages import MailMessage
from services.mcp_gateway.mcp_servers.attachments import AttachmentNumber, SavePath
from services.mcp_gateway.mcp_servers.letters import (
    MAX_TEXT_CHARS,
    AttachmentOutput,
    LetterInput,
    NamesRecipients,
    Start,
    part_of,
)
from services.mcp_gateway.mcp_servers.tools import ToolInput, ToolOutput

Account = Annotated[
    str | None,
    Field(
        max_length=80,
        description="Which connected account, by its name. Leave out where there is only one.",
    ),
]
_Id = StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")
MessageId = Annotated[str, _Id, Field(description="A message's `id`, as a search gave it.")]
ThreadId = Annotated[str, _Id, Field(description="A thread's `thread_id`, as a search gave it.")]
LabelName = Annotated[str, StringConstraints(min_length=1, max_length=225)]


class SearchInput(ToolInput):
    query: str = Field(
        max_length=1_000,
        description=(
            "Gmail's own search, for example `from:ann@example.com newer_than:7d`, `subject:invoice has:attachment`, "
            "`in:inbox is:unread`, `label:work`. Empty for all mail."
        ),
    )
    limit: int = Field(default=10, ge=1, le=50, description="The most to return.")
    page: str | None = Field(
        default=None,
        max_length=500,
        description="`next_page` of the page before; leave out for the first page.",
    )
    account: Account = None


class ReadMessageInput(ToolInput):
    message_id: MessageId
    start: Start = 0
    account: Account = None


class SaveInput(ToolInput):
    message_id: MessageId
    attachment: AttachmentNumber
    path: SavePath = None
    account: Account = None


class ReadThreadInput(ToolInput):
    thread_id: ThreadId
    account: Account = None


class AccountInput(ToolInput):
    account: Account = None


class LabelInput(ToolInput):
    message_id: MessageId
    add: list[LabelName] = Field(
        default_factory=list,
        max_length=20,
        description="Labels to add, by name: a person's own, or `STARRED`, `IMPORTANT`, `UNREAD`, `INBOX`.",
    )
    remove: list[LabelName] = Field(
        default_factory=list,
        max_length=20,
        description="Labels to take, by name. Taking `UNREAD` marks as read, taking `INBOX` archives.",
    )
    account: Account = None

    @model_validator(mode="after")
    def _has_some(self) -> LabelInput:
        if not self.add and not self.remove:
            raise ValueError("name at least one label in `add` or `remove`")
        return self


class WriteInput(LetterInput):
    reply_field: ClassVar[str] = "reply_to_message_id"

    reply_to_message_id: MessageId | None = Field(
        default=None, description="The `id` of the message that this answers, so that it stays in its thread."
    )
    account: Account = None


class SendInput(NamesRecipients, WriteInput):
    """A letter that goes out."""


class Head(ToolOutput):
    id: str = Field(description="Give it as `message_id`.")
    thread_id: str = Field(description="Its conversation; give it to `gmail_read_thread`.")
    sender: str = Field(description="The From header: name and address.")
    to: str = Field(description="The To header.")
    subject: str = Field(description="One line; may be empty.")
    date: str = Field(description="The Date header, as the sender wrote it.")
    snippet: str = Field(description="The beginning of the text.")
    labels: list[str] = Field(description="Label ids; `gmail_list_labels` gives their names.")

    @classmethod
    def of(cls, message: MailMessage) -> Head:
        return cls(
            id=message.id,
            thread_id=message.thread_id,
            sender=message.header("From"),
            to=message.header("To"),
            subject=message.header("Subject"),
            date=message.header("Date"),
            snippet=message.snippet,
            labels=list(message.labels),
        )


class SearchOutput(ToolOutput):
    account: str = Field(description="The account that answered; give it as `account`.")
    messages: list[Head] = Field(description="The newest first.")
    next_page: str | None = Field(description="Give it as `page` for more; null when there are no more.")


class MessageOutput(ToolOutput):
    id: str = Field(description="Give it as `message_id`, or as `reply_to_message_id` to answer.")
    thread_id: str = Field(description="Its conversation; give it to `gmail_read_thread`.")
    sender: str = Field(description="The From header: name and address.")
    to: str = Field(description="The To header.")
    cc: str = Field(description="The Cc header; empty when nobody got a copy.")
    subject: str = Field(description="One line; may be empty.")
    date: str = Field(description="The Date header, as the sender wrote it.")
    message_id: str = Field(description="The Message-ID header.")
    labels: list[str] = Field(description="Label ids; `gmail_list_labels` gives their names.")
    text: str = Field(description="The text, plain, or the part from `start` on.")
    next_start: int | None = Field(description="Where the rest of the text begins; null when this is all.")
    attachments: list[AttachmentOutput] = Field(description="What is attached, a hundred at most.")

    @classmethod
    def of(cls, message: MailMessage, start: int = 0, most: int = MAX_TEXT_CHARS) -> MessageOutput:
        text, next_start = part_of(message.text, start, most)
        return cls(
            id=message.id,
            thread_id=message.thread_id,
            sender=message.header("From"),
            to=message.header("To"),
            cc=message.header("Cc"),
            subject=message.header("Subject"),
            date=message.header("Date"),
            message_id=message.header("Message-ID"),
            labels=list(message.labels),
            text=text,
            next_start=next_start,
            attachments=AttachmentOutput.list_of(message.attachments),
        )


class ThreadOutput(ToolOutput):
    thread_id: str = Field(description="The conversation that was read.")
    messages: list[MessageOutput] = Field(description="The oldest first; each text is cut to its share.")
    left_out: int = Field(description="How many older messages of the thread are not shown.")


class LabelOutput(ToolOutput):
    id: str = Field(description="As the `labels` of a message name it.")
    name: str = Field(description="Give it to `gmail_label`.")
    is_system: bool = Field(description="Whether it is Gmail's own, not made by the person.")


class LabelsOutput(ToolOutput):
    labels: list[LabelOutput] = Field(description="All labels of the mailbox.")


class Labelled(ToolOutput):
    message_id: str = Field(description="The message that was changed.")
    labels: list[str] = Field(description="The names of the labels that the message has now.")


class Drafted(ToolOutput):
    draft_id: str = Field(description="The draft's id at Gmail.")
    message_id: str = Field(description="The draft's message; `gmail_read_message` takes it.")
    thread_id: str = Field(description="The conversation that the draft is in.")


class Sent(ToolOutput):
    message_id: str = Field(description="What was sent; `gmail_read_message` takes it.")
    thread_id: str = Field(description="The conversation that it is in.")
    to: list[str] = Field(description="The recipients in `to`; copies are not listed.")
