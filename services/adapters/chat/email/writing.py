"""Writing an answer as a mail: plain text and HTML of one rendered part, in its thread, known as a program's. Pure."""

from __future__ import annotations

import hashlib
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formataddr, formatdate

from services.adapters.chat.email.addresses import recipient_of, reply_address
from services.adapters.chat.email.config import EmailConfig
from services.adapters.chat.email.threads import Thread
from services.adapters.chat.html_markup import plain
from services.domain.ports.chat import Place
from services.domain.ports.chat_abilities import OutgoingFile
from services.kit.letters import reply_subject

_MAX_REFERENCES = 20
_MAX_SUBJECT_CHARS = 60
_FRAME = '<!DOCTYPE html><html><body style="font-family:sans-serif;font-size:15px;line-height:1.5">{}</body></html>'


def mint_message_id(config: EmailConfig, key: str) -> str:
    """Return the message id, without brackets, of what is sent under a key: the same for each attempt."""
    domain = config.address.rpartition("@")[2]
    return f"{hashlib.sha256(key.encode()).hexdigest()[:40]}.slipway@{domain}"


def write_answer(
    config: EmailConfig,
    place: Place,
    part: str,
    *,
    thread: Thread,
    message_id: str,
    file: OutgoingFile | None = None,
) -> bytes:
    """Return the mail as bytes. Raises: PlatformRefused when the chat has no address."""
    recipient, text = recipient_of(place), plain(part)
    message = EmailMessage(policy=SMTP)
    message["From"] = formataddr((config.display_name, config.address))
    message["To"] = recipient
    message["Reply-To"] = reply_address(config, place.chat_id, place.thread_id or message_id)
    message["Subject"] = _subject(thread, text, file)
    message["Date"] = formatdate(usegmt=True)
    message["Message-ID"] = f"<{message_id}>"
    if thread.references:
        message["In-Reply-To"] = thread.references[-1]
        message["References"] = " ".join(_shortened(thread.references))
    # Programs that answer by themselves do not answer this; another agent leaves it alone. Source: RFC 3834
    message["Auto-Submitted"] = "auto-replied" if thread.references else "auto-generated"
    message["X-Auto-Response-Suppress"] = "OOF, AutoReply"
    message.set_content(text)
    message.add_alternative(_FRAME.format(part), subtype="html")
    if file is not None:
        main, _, sub = file.content_type.partition("/")
        # A mail within a mail may not travel as base64 (RFC 2046, 5.2.1); as bytes it arrives whole.
        if main in ("message", "multipart") or not sub:
            main, sub = "application", "octet-stream"
        message.add_attachment(file.data, maintype=main, subtype=sub, filename=file.name)
    return message.as_bytes()


def _subject(thread: Thread, text: str, file: OutgoingFile | None) -> str:
    """Return the thread's subject, or the first words of what begins one."""
    if thread.subject:
        return reply_subject(thread.subject)
    words = " ".join((text or (file.name if file else "")).split())
    return words if len(words) <= _MAX_SUBJECT_CHARS else f"{words[: _MAX_SUBJECT_CHARS - 3].rstrip()}..."


def _shortened(references: tuple[str, ...]) -> tuple[str, ...]:
    """Keep the first, by which the thread is known, and the last ones. Source: RFC 5322, 3.6.4"""
    return (
        references if len(references) <= _MAX_REFERENCES else (references[0], *references[-_MAX_REFERENCES:])
    )
