"""Sending mail, keeping a copy of it, and finding that copy again."""

from __future__ import annotations

from contextlib import suppress
from uuid import uuid4

from services.adapters.chat.email.addresses import recipient_of
from services.adapters.chat.email.config import EmailConfig
from services.adapters.chat.email.servers import MailServers
from services.adapters.chat.email.threads import Thread, find_thread, is_sent
from services.adapters.chat.email.writing import mint_message_id, write_answer
from services.domain.errors import (
    AccountAway,
    AccountRefused,
    AccountThrottled,
    FileTooLarge,
    ItemMissing,
    PlatformRefused,
)
from services.domain.ports.chat import Place, Receipt
from services.domain.ports.chat_abilities import OutgoingFile

# Most servers take mails of 25 MB, in which a file is larger by 37 %.
MAX_FILE_BYTES = 18_000_000
MAX_CAPTION = 50_000


def send(
    servers: MailServers,
    config: EmailConfig,
    place: Place,
    part: str,
    *,
    key: str | None = None,
    reply_to: str | None = None,
    file: OutgoingFile | None = None,
) -> Receipt:
    """Send a mail in its thread. Under a key it has the same message id each time, so that a repeat is known as one."""
    recipient, message_id = recipient_of(place), mint_message_id(config, key or uuid4().hex)
    with servers.mailbox(config) as mailbox:
        thread = _answering(find_thread(mailbox, place.thread_id), reply_to)
        mime = write_answer(config, place, part, thread=thread, message_id=message_id, file=file)
        servers.send(config, mime, recipient)
        # It has gone out: whatever the mailbox says now must not make anybody send it again.
        with suppress(AccountAway, AccountRefused, AccountThrottled, ItemMissing):
            mailbox.keep("sent", mime, r"(\Seen)")
    return Receipt(message_id)


def find_sent(servers: MailServers, config: EmailConfig, place: Place, key: str) -> Receipt | None:
    """Look for the copy of what was sent under a key. A mailbox without a folder for copies has none."""
    try:
        recipient, message_id = recipient_of(place), mint_message_id(config, key)
        with servers.mailbox(config) as mailbox:
            return Receipt(message_id) if is_sent(mailbox, message_id, recipient) else None
    except PlatformRefused:
        return None


def fetch_file(servers: MailServers, config: EmailConfig, ref: str, max_bytes: int) -> bytes:
    """Return the bytes of one file of a mail. Raises also: FileTooLarge."""
    numbers = ref.split(".")
    if len(numbers) != 3 or not all(number.isascii() and number.isdigit() for number in numbers):
        raise PlatformRefused("This is not a file of a mail.")
    validity, uid, number = map(int, numbers)
    with servers.mailbox(config) as mailbox:
        if mailbox.open_folder("INBOX")[0] != validity:
            raise PlatformRefused("The mailbox was made anew: the mail is not found any more.")
        content = mailbox.enclosure("INBOX", uid, number, max_bytes).content
    if len(content) > max_bytes:
        raise FileTooLarge(f"The file has more than {max_bytes} bytes.", max_bytes=max_bytes)
    return content


def _answering(thread: Thread, reply_to: str | None) -> Thread:
    """Put the mail that is answered last."""
    if not reply_to or reply_to.startswith(("sha256.", "none.")):
        return thread
    answered = f"<{reply_to}>"
    others = tuple(known for known in thread.references if known != answered)
    return Thread(thread.subject, (*others, answered))
