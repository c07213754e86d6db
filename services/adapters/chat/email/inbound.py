"""Reading a mail that came. Pure; everything in it was written by strangers."""

from __future__ import annotations

import email
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.errors import MessageError
from email.header import decode_header, make_header
from email.message import Message
from email.utils import getaddresses, parsedate_to_datetime

from mailparser_reply import EmailReplyParser

from services.adapters.chat.email.addresses import (
    find_tag,
    is_signed_for,
    is_usable,
    short_id,
    unverified,
)
from services.adapters.chat.email.config import EmailConfig
from services.adapters.chat.email.guards import list_address, reason_to_ignore
from services.adapters.chat.email.verdict import reason_to_doubt
from services.adapters.chat.wire import storable
from services.adapters.mailbox.messages import Mail, read_mail
from services.domain.ports.chat import ChatKind, InboundFile, InboundMessage, Parsed, Place, Sender
from services.kit.letters import find_references

# The parser of quotes tries many patterns on each line.
_MAX_QUOTED_CHARS = 60_000
_LANGUAGES = ["en", "de", "fr", "es", "it", "nl", "pt", "pl", "sv", "da"]
_FORWARDED = re.compile(r"^\s*(?:fwd?|wg|tr|rv|i|enc)\s*:", re.IGNORECASE)
_RECIPIENTS = ("to", "cc", "delivered-to", "x-original-to", "envelope-to")
_OLDEST = datetime(1990, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Stored:
    """Where a mail lies: the folder's validity, and the mail's number there."""

    validity: int
    uid: int

    def file_ref(self, number: int) -> str:
        """Return what one of its files is asked for by."""
        return f"{self.validity}.{self.uid}.{number}"


def find_lost_tag(config: EmailConfig, raw: bytes) -> str | None:
    """Return the tag of the plus address that a mail came to, where no header of it names the first of its thread."""
    message = email.message_from_bytes(raw)
    return None if message.get("References") else find_tag(config, _recipients(message))


def read_letter(
    config: EmailConfig,
    raw: bytes,
    stored: Stored,
    received_at: datetime,
    *,
    tagged_thread: str | None = None,
) -> Parsed:
    """Read a mail. `tagged_thread` is the thread of the plus address that it came to, if it was looked up."""
    message = email.message_from_bytes(raw)
    senders = _addresses(message, "from")
    if len(senders) != 1 or not is_usable(senders[0][1]):
        return Parsed(ignored="unreadable_sender")
    name, address = senders[0]
    if config.is_own(address):
        return Parsed(ignored="own_message")
    reason = reason_to_ignore(message, address)
    if reason is not None:
        return Parsed(ignored=reason)
    mail = read_mail(raw, uid=stored.uid, flags=(), size_bytes=len(raw))
    files = _files(mail, stored)
    text = _text(message, mail, files)
    if not text:
        return Parsed(ignored="no_text")
    list_to = list_address(message)
    if list_to is not None and not is_usable(list_to):
        return Parsed(ignored="mailing_list")
    checked = [str(value) for value in message.get_all("Authentication-Results", [])]
    doubt = reason_to_doubt(checked, config.authserv_id, address)
    who = address if doubt is None else unverified(address)
    shown = " ".join(storable(name).split())[:100] or address
    chat_id = list_to or who
    return Parsed(
        messages=(
            InboundMessage(
                dedupe_key=_dedupe_key(message, raw),
                place=Place(chat_id, _thread_id(config, message, chat_id, raw, tagged_thread)),
                chat_kind=ChatKind.DIRECT if list_to is None else ChatKind.CHANNEL,
                chat_title=_title(shown, address, list_to, doubt),
                sender=Sender(who, shown if doubt is None else f"{shown} (unverified: {doubt})"),
                text=text,
                is_mention=list_to is None or any(config.is_own(to) for to in _direct_recipients(message)),
                message_id=_own_id(message, raw),
                sent_at=_sent_at(mail.header("date"), received_at),
                files=files,
                reply_to=short_id(find_references(mail.header("in-reply-to"))[-1])
                if find_references(mail.header("in-reply-to"))
                else "",
                raw={"subject": storable(mail.header("subject")), "doubt": doubt or ""},
            ),
        )
    )


def _addresses(message: Message, name: str) -> list[tuple[str, str]]:
    """Return the names and addresses in a header, addresses in lower case."""
    values = [str(value) for value in message.get_all(name, [])]
    return [(_letters(shown), address.lower()) for shown, address in getaddresses(values) if address]


def _letters(coded: str) -> str:
    """Return a coded name in letters; one whose coding is broken stays as it is."""
    try:
        return str(make_header(decode_header(coded)))
    except (ValueError, LookupError, MessageError):
        return coded


def _recipients(message: Message) -> list[str]:
    return [address for name in _RECIPIENTS for _, address in _addresses(message, name)]


def _direct_recipients(message: Message) -> list[str]:
    return [address for name in ("to", "cc") for _, address in _addresses(message, name)]


def _references(message: Message) -> tuple[str, ...]:
    """Return the ids of the mails before this one, the oldest first."""
    found = find_references(str(message.get("References", "")))
    return found or find_references(str(message.get("In-Reply-To", "")))


def _thread_id(
    config: EmailConfig, message: Message, chat_id: str, raw: bytes, tagged_thread: str | None
) -> str:
    """Return the id of the mail that began the thread, perhaps this one's own."""
    tag = find_tag(config, _recipients(message))
    # A client that names only the mail before this one does not say where the thread began; its address does.
    if tag and tagged_thread and is_signed_for(config, tag, chat_id, tagged_thread):
        return tagged_thread
    references = _references(message)
    return short_id(_first_reference(message, references)) if references else _own_id(message, raw)


def _first_reference(message: Message, references: Sequence[str]) -> str:
    """Return the first of all references: of a long thread only the last ones are read otherwise."""
    whole = re.search(r"<[^<>\s]{1,500}>", str(message.get("References", "")))
    return whole[0] if whole else references[0]


def _own_id(message: Message, raw: bytes) -> str:
    found = find_references(str(message.get("Message-ID", "")))
    return short_id(storable(found[0])) if found else f"none.{_digest(message, raw)}"


def _dedupe_key(message: Message, raw: bytes) -> str:
    """Return the mail's id with a digest of what it says: ids are missing, and are used again for other mails."""
    return f"{_own_id(message, raw)[:120]}:{_digest(message, raw)}"


def _digest(message: Message, raw: bytes) -> str:
    """Return a digest of what does not change on the way, as the headers of each delivery do."""
    said = [str(message.get(name, "")) for name in ("From", "Date", "Subject", "Message-ID")]
    _, _, body = raw.replace(b"\r\n", b"\n").partition(b"\n\n")
    return hashlib.sha256("\n".join(said).encode("utf-8", "replace") + b"\n\n" + body).hexdigest()[:40]


def _text(message: Message, mail: Mail, files: Sequence[InboundFile]) -> str:
    """Return what was newly written: without what it answers, below its subject where it begins a thread."""
    subject, written = mail.header("subject"), mail.text.strip()
    is_answer = bool(_references(message)) and not _FORWARDED.match(subject)
    if is_answer:
        written = _without_quotes(written) or written
    elif subject and written:
        written = f"Subject: {subject}\n\n{written}"
    said = [f"[file: {file.name}]" for file in files] + [written or ("" if is_answer else subject)]
    return storable(" ".join(part for part in said if part).strip())


def _without_quotes(text: str) -> str:
    head, rest = text[:_MAX_QUOTED_CHARS], text[_MAX_QUOTED_CHARS:]
    found = str(EmailReplyParser(languages=_LANGUAGES).read(head).latest_reply or "")
    # A text whose answer reaches to the end of what was looked at goes on behind it.
    written = found + (rest if found and head.endswith(found) else "")
    return "\n".join(_without_quoted_end(written.split("\n"))).strip()


def _without_quoted_end(lines: list[str]) -> list[str]:
    """Take away what stands quoted at the end: some clients do not say whose words they are."""
    while lines and (not lines[-1].strip() or lines[-1].lstrip().startswith(">")):
        lines.pop()
    return lines


def _files(mail: Mail, stored: Stored) -> tuple[InboundFile, ...]:
    return tuple(
        InboundFile(
            ref=stored.file_ref(number),
            name=storable(file.name) or "unnamed",
            content_type=file.mime_type,
            size=file.size_bytes,
        )
        for number, file in enumerate(mail.attachments, start=1)
    )


def _title(shown: str, address: str, list_to: str | None, doubt: str | None) -> str:
    if list_to is not None:
        return list_to
    title = address if shown == address else f"{shown} <{address}>"
    return title if doubt is None else f"{title} (unverified)"


def _sent_at(header: str, received_at: datetime) -> datetime:
    """Return when a mail was written, as its sender says; when it was read here where that cannot be."""
    try:
        said = parsedate_to_datetime(header)
        said = said if said.tzinfo else said.replace(tzinfo=UTC)
        return said if _OLDEST < said < received_at + timedelta(days=1) else received_at
    except (ValueError, TypeError, OverflowError, IndexError):
        return received_at
