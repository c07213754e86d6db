"""Who a chat is with, and the plus address that says which chat an answer belongs to. Pure."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable

from services.adapters.chat.email.config import ADDRESS_PATTERN, EmailConfig
from services.domain.errors import PlatformRefused
from services.domain.ports.chat import Place

MAX_ID_CHARS = 120
_UNVERIFIED = "unverified:"
_ADDRESS = re.compile(ADDRESS_PATTERN)
_TAG = re.compile(r"\+([a-z2-7]{20})@")
_MAX_LOCAL_CHARS = 64


def is_usable(address: str) -> bool:
    """Say whether an address can be written to and be the id of a chat."""
    return len(address) <= MAX_ID_CHARS - len(_UNVERIFIED) and _ADDRESS.fullmatch(address) is not None


def unverified(address: str) -> str:
    """Return the id of a sender, and of their chat, who may be somebody else."""
    return f"{_UNVERIFIED}{address}"


def recipient_of(place: Place) -> str:
    """Return where a chat's mails go. Raises: PlatformRefused."""
    address = place.chat_id.removeprefix(_UNVERIFIED)
    if not is_usable(address):
        raise PlatformRefused("The chat has no mail address.")
    return address


def short_id(message_id: str) -> str:
    """Return a message id as it can be kept: without its brackets, a digest of one that is too long."""
    bare = message_id.strip().strip("<>")
    return bare if len(bare) <= MAX_ID_CHARS else "sha256." + hashlib.sha256(bare.encode()).hexdigest()


def reply_address(config: EmailConfig, chat_id: str, thread_id: str) -> str:
    """Return the address that answers go to: the mailbox's own, with a tag that is signed for this chat and thread."""
    local, _, domain = config.address.rpartition("@")
    tagged = f"{local}+{_tag(config, chat_id, thread_id)}"
    if not config.has_plus_addresses or "+" in local or len(tagged) > _MAX_LOCAL_CHARS:
        return config.address
    return f"{tagged}@{domain}"


def find_tag(config: EmailConfig, addresses: Iterable[str]) -> str | None:
    """Return the tag of the first of these addresses that is the mailbox's own and has one."""
    for address in addresses:
        found = _TAG.search(address.lower())
        if found and config.is_own(address):
            return found[1]
    return None


def is_signed_for(config: EmailConfig, tag: str, chat_id: str, thread_id: str) -> bool:
    """Say whether a tag was made for this chat and thread."""
    return hmac.compare_digest(tag, _tag(config, chat_id, thread_id))


def _tag(config: EmailConfig, chat_id: str, thread_id: str) -> str:
    return config.sign(f"{chat_id.removeprefix(_UNVERIFIED)}\n{thread_id}")
