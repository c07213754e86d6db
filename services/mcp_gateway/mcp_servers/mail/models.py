"""What the mail tools take and give. A mail is named by its folder and its `uid` in it."""

from __future__ import annotations

from datetime import date
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from services.adapters.mailbox.messages import Mail
from services.mcp_gateway.mcp_servers.attachments import AttachmentNumber, SavePath
from services.mcp_gateway.mcp_servers.letters import (
    AttachmentOutput,
    LetterInput,
    NamesRecipients,
    Start,
    one_line,
    part_of,
)
from services.mcp_gateway.mcp_servers.tools import ToolInput, ToolOutput

MAX_RECIPIENTS = 20

Account = Annotated[
    str | None,
    Field(
        max_length=80,
        description="Which connected mailbox, by its name. Leave out where there is only one.",
    ),
]
Folder = Annotated[
    str,
    StringConstraints(min_length=1, max_length=300),
    AfterValidator(one_line),
    Field(description="A folder's `name`, as `mail_list_folders` gave it."),
]
Uid = Annotated[
    int, Field(ge=1, le=4_294_967_295, description="A mail's `uid` in its folder, as a search gave it.")
]
Needle = Annotated[str, StringConstraints(min_length=1, max_length=500), AfterValidator(one_line)]


class AccountInput(ToolInput):
    account: Account = None


class SearchInput(ToolInput):
    folder: Folder = "INBOX"
    text: Needle | None = Field(default=None, description="Words that stand in the headers or the body.")
    sender: Needle | None = Field(default=None, description="A part of who it is from.")
    subject: Needle | None = Field(default=None, description="A part of the subject.")
    unseen: bool = Field(default=False, description="Only mails that are not read yet.")
    since: date | None = Field(default=None, description="Only mails of this day and later: 2026-07-01.")
    limit: int = Field(default=10, ge=1, le=50, description="The most to return.")
    account: Account = None


class ReadInput(ToolInput):
    uid: Uid
    folder: Folder = "INBOX"
    start: Start = 0
    account: Account = None


class SaveInput(ToolInput):
    uid: Uid
    attachment: AttachmentNumber
    folder: Folder = "INBOX"
    path: SavePath = None
    account: Account = None


class MarkInput(ToolInput):
    uid: Uid
    folder: Folder = "INBOX"
    seen: bool | None = Field(default=None, description="true marks as read, false as unread.")
    flagged: bool | None = Field(default=None, description="true adds the star, false takes it.")
    account: Account = None

    @model_validator(mode="after")
    def _has_some(self) -> MarkInput:
        if self.seen is None and self.flagged is None:
            raise ValueError("give `seen` or `flagged`")
        return self


class WriteInput(LetterInput):
    reply_field: ClassVar[str] = "reply_to_uid"

    reply_to_uid: Uid | None = Field(default=None, description="The `uid` of the mail that this answers.")
    reply_to_folder: Folder = "INBOX"
    account: Account = None

    @model_validator(mode="after")
    def _is_for_few(self) -> WriteInput:
        if len({*self.to, *self.cc, *self.bcc}) > MAX_RECIPIENTS:
            raise ValueError(f"name at most {MAX_RECIPIENTS} recipients in all")
        return self


class SendInput(NamesRecipients, WriteInput):
    """A letter that goes out."""


class FolderOutput(ToolOutput):
    name: str = Field(description="Give it as `folder`.")
    use: str = Field(description="`inbox`, `drafts`, `sent`, `trash`, `junk`, `archive`, `all` or empty.")


class FoldersOutput(ToolOutput):
    folders: list[FolderOutput] = Field(description="All that can hold mail.")


class Head(ToolOutput):
    uid: int = Field(description="Its number in this folder; give it together with the folder.")
    sender: str = Field(description="The From header: name and address.")
    to: str = Field(description="The To header.")
    subject: str = Field(description="One line; may be empty.")
    date: str = Field(description="The Date header, as the sender wrote it.")
    is_unread: bool = Field(description="Whether it is not read yet.")
    size_bytes: int = Field(description="The size of the whole mail in bytes.")

    @classmethod
    def of(cls, mail: Mail) -> Head:
        return cls(
            uid=mail.uid,
            sender=mail.header("From"),
            to=mail.header("To"),
            subject=mail.header("Subject"),
            date=mail.header("Date"),
            is_unread="\\Seen" not in mail.flags,
            size_bytes=mail.size_bytes,
        )


class SearchOutput(ToolOutput):
    account: str = Field(description="The account that answered; give it as `account`.")
    folder: str = Field(description="The folder that was searched; the uids hold in it only.")
    mails: list[Head] = Field(description="The newest first.")
    found: int = Field(description="How many match in all.")


class MailOutput(ToolOutput):
    uid: int = Field(description="Its number in `folder`; give it as `reply_to_uid` to answer.")
    folder: str = Field(description="The folder that it is in.")
    sender: str = Field(description="The From header: name and address.")
    to: str = Field(description="The To header.")
    cc: str = Field(description="The Cc header; empty when nobody got a copy.")
    subject: str = Field(description="One line; may be empty.")
    date: str = Field(description="The Date header, as the sender wrote it.")
    message_id: str = Field(description="The Message-ID header.")
    text: str = Field(description="The text, plain, or the part from `start` on.")
    next_start: int | None = Field(description="Where the rest of the text begins; null when this is all.")
    is_cut: bool = Field(description="The mail is larger than what is read of it: its end is missing.")
    attachments: list[AttachmentOutput] = Field(
        description="What is attached, a hundred at most; of a mail that `is_cut`, what the part that is read holds."
    )

    @classmethod
    def of(cls, mail: Mail, folder: str, start: int) -> MailOutput:
        text, next_start = part_of(mail.text, start)
        return cls(
            uid=mail.uid,
            folder=folder,
            sender=mail.header("From"),
            to=mail.header("To"),
            cc=mail.header("Cc"),
            subject=mail.header("Subject"),
            date=mail.header("Date"),
            message_id=mail.header("Message-ID"),
            text=text,
            next_start=next_start,
            is_cut=mail.is_cut,
            attachments=AttachmentOutput.list_of(mail.attachments),
        )


class Marked(ToolOutput):
    uid: int = Field(description="The mail that was marked.")
    flags: list[str] = Field(description="The flags that the mail has now.")


class Drafted(ToolOutput):
    folder: str = Field(description="The folder that the draft is in.")
    uid: int | None = Field(description="The draft's uid; null where the server does not tell it.")


class Sent(ToolOutput):
    to: list[str] = Field(description="All who got it.")
    subject: str = Field(description="The subject that it went out with.")
