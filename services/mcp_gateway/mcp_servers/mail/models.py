"""What the mail tools take and give. A mail is named by its folder and its `uid` in it."""

from __future__ import annotations

from datetime import date
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from services.adapters.accounts.mail.messages import Mail
from services.kit.letters import is_address
from services.mcp_gateway.mcp_servers.tools import ToolInput, ToolOutput

MAX_TEXT_CHARS = 20_000
MAX_BODY_CHARS = 200_000
MAX_RECIPIENTS = 20


def _checked(address: str) -> str:
    if not is_address(address):
        raise ValueError("must be one address: ann@example.com or Ann Lee <ann@example.com>")
    return address


def _one_line(text: str) -> str:
    if any(ord(char) < 32 or ord(char) == 127 for char in text):
        raise ValueError("must be one line")
    return text


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
    AfterValidator(_one_line),
    Field(description="A folder's `name`, as `mail_list_folders` gave it."),
]
Uid = Annotated[
    int, Field(ge=1, le=4_294_967_295, description="A mail's `uid` in its folder, as a search gave it.")
]
Needle = Annotated[str, StringConstraints(min_length=1, max_length=500), AfterValidator(_one_line)]
Address = Annotated[str, StringConstraints(max_length=320), AfterValidator(_checked)]
Subject = Annotated[str, StringConstraints(max_length=900), AfterValidator(_one_line)]


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
    start: int = Field(
        default=0,
        ge=0,
        le=10_000_000,
        description="The character of the text to begin at: `next_start` of before.",
    )
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


class WriteInput(ToolInput):
    to: list[Address] = Field(
        default_factory=list,
        max_length=MAX_RECIPIENTS,
        description="Recipients. May be empty in a reply: it then goes to whoever the mail is from.",
    )
    cc: list[Address] = Field(default_factory=list, max_length=MAX_RECIPIENTS, description="Copies.")
    bcc: list[Address] = Field(
        default_factory=list, max_length=MAX_RECIPIENTS, description="Copies that the others do not see."
    )
    subject: Subject | None = Field(
        default=None, description="One line. Leave out in a reply: it keeps the thread's."
    )
    body: str = Field(min_length=1, max_length=MAX_BODY_CHARS, description="The text, plain.")
    reply_to_uid: Uid | None = Field(default=None, description="The `uid` of the mail that this answers.")
    reply_to_folder: Folder = "INBOX"
    account: Account = None

    @model_validator(mode="after")
    def _is_whole(self) -> WriteInput:
        if len({*self.to, *self.cc, *self.bcc}) > MAX_RECIPIENTS:
            raise ValueError(f"name at most {MAX_RECIPIENTS} recipients in all")
        if self.reply_to_uid is None and not (self.to or self.cc or self.bcc):
            raise ValueError("name at least one recipient in `to`")
        if self.reply_to_uid is None and self.subject is None:
            raise ValueError("give a `subject`, or `reply_to_uid` for a reply")
        return self


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


class AttachmentOutput(ToolOutput):
    name: str = Field(description="Its file name.")
    mime_type: str = Field(description="For example `application/pdf`, as the sender says.")
    size_bytes: int = Field(description="Its size in bytes.")


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
        description="What is attached, a hundred at most; only listed."
    )

    @classmethod
    def of(cls, mail: Mail, folder: str, start: int) -> MailOutput:
        text = mail.text[start : start + MAX_TEXT_CHARS]
        end = start + len(text)
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
            next_start=end if end < len(mail.text) else None,
            is_cut=mail.is_cut,
            attachments=[
                AttachmentOutput(name=each.name, mime_type=each.mime_type, size_bytes=each.size_bytes)
                for each in mail.attachments[:100]
            ],
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
