"""What a thread looks like in the mailbox: its subject and its last mail, which an answer must name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.adapters.chat.email.addresses import short_id
from services.adapters.mailbox.imap import Mailbox
from services.adapters.mailbox.messages import Mail
from services.adapters.mailbox.names import quote
from services.domain.errors import AccountRefused, ItemMissing
from services.kit.letters import find_references

INBOX = "INBOX"
_MAX_LOOKED_AT = 20


@dataclass(frozen=True, slots=True)
class Thread:
    """A thread as an answer continues it. `references` are message ids in their brackets, the oldest first."""

    subject: str = ""
    references: tuple[str, ...] = ()


def find_thread(mailbox: Mailbox, thread_id: str | None) -> Thread:
    """Return what is known of a thread; an empty one for a new one, or one that is not in the mailbox any more."""
    if not thread_id:
        return Thread()
    root = f"<{thread_id}>"
    newest = _newest(mailbox, INBOX, root) or _newest(mailbox, mailbox.find_folder("sent"), root)
    if newest is not None:
        known = find_references(newest.header("references"))
        own = find_references(newest.header("message-id"))
        return Thread(newest.header("subject"), tuple(dict.fromkeys((root, *known, *own))))
    return Thread(references=(root,))


def find_tagged_thread(mailbox: Mailbox, tag: str) -> str | None:
    """Return the thread of the mails that were sent with this tag in their reply address."""
    sent = mailbox.find_folder("sent")
    heads = _heads(mailbox, sent, "HEADER", "Reply-To", quote(f"+{tag}@")) if sent else []
    for head in heads:
        ids = find_references(head.header("references")) or find_references(head.header("message-id"))
        return short_id(ids[0]) if ids else None
    return None


def is_sent(mailbox: Mailbox, message_id: str, recipient: str) -> bool:
    """Say whether the folder of sent mails has this one, to this recipient."""
    sent = mailbox.find_folder("sent")
    if not sent:
        return False
    heads = _heads(mailbox, sent, "HEADER", "Message-ID", quote(f"<{message_id}>"))
    return any(recipient in head.header("to").lower() for head in heads)


def _newest(mailbox: Mailbox, folder: str | None, root: str) -> Mail | None:
    if folder is None or not root.isascii():
        return None
    quoted = quote(root)
    heads = _heads(mailbox, folder, "OR", "HEADER", "Message-ID", quoted, "HEADER", "References", quoted)
    return heads[0] if heads else None


def _heads(mailbox: Mailbox, folder: str, *criteria: str) -> Sequence[Mail]:
    try:
        mailbox.open_folder(folder)
        return mailbox.heads(mailbox.uids(*criteria)[-_MAX_LOOKED_AT:])
    except (ItemMissing, AccountRefused):
        return []
