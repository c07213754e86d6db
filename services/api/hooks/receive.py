"""One update of a chat platform: find the link, verify, parse, keep."""

from __future__ import annotations

import uuid

from services.adapters.chat.wire import read_object
from services.api.linking import adapters
from services.api.metrics import count_hook
from services.domain.chats.inbound import (
    LinkHandle,
    all_tenants_find_link,
    count_unknown_update,
    store_inbound,
)
from services.domain.errors import HookUnverified, LinkMissing, MalformedBody
from services.domain.ports.chat import ChatAdapter, HookReply, HookRequest, Parsed
from services.domain.questions.presses import store_presses


def receive_update(kind: str, link_id: uuid.UUID, request: HookRequest) -> HookReply:
    """Keep an update's messages, each once, and return what the platform wants to hear.

    Raises: LinkMissing, HookUnverified, MalformedBody for what is not even JSON.
    """
    adapter = adapters().get(kind)
    handle = all_tenants_find_link(link_id, kind) if adapter is not None else None
    if adapter is None or handle is None:
        raise LinkMissing("There is no such link.")
    config = adapter.config_model.model_validate(handle.config)
    try:
        adapter.verify(config, request)
    except HookUnverified:
        count_hook(kind, "unverified")
        raise
    parsed = _parse(adapter, config, request)
    stored = store_inbound(handle, parsed.messages) + store_presses(handle, parsed.presses)
    _count(handle, parsed, stored)
    return parsed.reply or HookReply()


def _parse(adapter: ChatAdapter, config: object, request: HookRequest) -> Parsed:
    """Read a verified update. One that we cannot read is taken all the same: a refused one would be sent for ever,
    and hold up those behind it.
    """
    try:
        return adapter.parse(config, request)
    except MalformedBody:
        read_object(request.body)
        return Parsed(ignored="unreadable")


def _count(handle: LinkHandle, parsed: Parsed, stored: int) -> None:
    if parsed.ignored is not None:
        count_hook(handle.kind, parsed.ignored)
    if parsed.ignored in ("unknown_type", "unreadable"):
        count_unknown_update(handle)
    repeats = len(parsed.messages) + len(parsed.presses) - stored
    for outcome, times in (("stored", stored), ("repeat", repeats)):
        for _ in range(times):
            count_hook(handle.kind, outcome)
