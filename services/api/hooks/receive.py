"""One update of a chat platform: find the link, verify, parse, keep."""

from __future__ import annotations

import uuid

from services.adapters.chat.wire import read_object
from services.api.linking import adapters
from services.api.metrics import count_hook
from services.domain.chats.inbound import all_tenants_find_link
from services.domain.chats.intake import count_of, keep_incomplete, take_in
from services.domain.errors import HookUnverified, LinkMissing, MalformedBody
from services.domain.ports.chat import ChatAdapter, HookReply, HookRequest, Parsed


def receive_update(kind: str, link_id: uuid.UUID, request: HookRequest) -> HookReply:
    """Keep what an update brings, each thing once, and return what the platform wants to hear.

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
    if parsed.is_incomplete:
        keep_incomplete(handle, request)
        count_hook(kind, "incomplete")
        return parsed.reply or HookReply()
    _count(kind, parsed, take_in(handle, parsed))
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


def _count(kind: str, parsed: Parsed, stored: int) -> None:
    if parsed.ignored is not None:
        count_hook(kind, parsed.ignored)
    for outcome, times in (("stored", stored), ("repeat", count_of(parsed) - stored)):
        for _ in range(times):
            count_hook(kind, outcome)
