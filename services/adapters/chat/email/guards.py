"""Mail that no person wrote, or that must not be answered, so that two programs never write to each other. Pure.

Source: RFC 3834 (automatic responses), RFC 3464 (bounces), RFC 2919 and 2369 (lists), MS-OXCMAIL (suppression)
"""

from __future__ import annotations

import re
from email.message import Message

_MACHINES = re.compile(
    r"(?:mailer-daemon|postmaster|no-?reply|do-?not-?reply|bounces?)(?:[+.=-].*)?", re.IGNORECASE
)
_MAILTO = re.compile(r"<mailto:([^>?\s]+)", re.IGNORECASE)
_ANSWERS = ("x-autoreply", "x-autorespond", "x-auto-reply")


def reason_to_ignore(message: Message, address: str) -> str | None:
    """Return why a mail is not answered, in a word, or None."""
    if message.get_content_type() == "multipart/report" or _header(message, "return-path") == "<>":
        return "bounce"
    if _MACHINES.fullmatch(address.rpartition("@")[0]):
        return "automatic_mail"
    submitted = _header(message, "auto-submitted").partition(";")[0].strip()
    if submitted not in ("", "no") or any(_header(message, name) for name in _ANSWERS):
        return "automatic_mail"
    suppressed = {word.strip() for word in _header(message, "x-auto-response-suppress").split(",")}
    if suppressed & {"all", "autoreply"}:
        return "automatic_mail"
    precedence = _header(message, "precedence")
    if precedence == "auto_reply":
        return "automatic_mail"
    is_list = bool(_header(message, "list-id"))
    if is_list and list_address(message) is None:
        return "mailing_list"
    return "bulk_mail" if precedence in ("bulk", "junk", "list") and not is_list else None


def list_address(message: Message) -> str | None:
    """Return where one writes to a mailing list; None when it is none, or one that only sends."""
    if not _header(message, "list-id"):
        return None
    found = _MAILTO.search(str(message.get("List-Post", "")))
    return found[1].lower() if found else None


def _header(message: Message, name: str) -> str:
    return str(message.get(name, "")).strip().lower()
