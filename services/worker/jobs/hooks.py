"""Asking platforms for what their hooks only name."""

from __future__ import annotations

import logging
from typing import Any

from services.domain.chats.inbound import all_tenants_find_link
from services.domain.chats.intake import take_in
from services.domain.errors import MalformedBody, PlatformRefused
from services.domain.outbox.jobs import CompleteHook
from services.domain.ports.chat import ChatAdapter, HookRequest, Parsed
from services.domain.ports.chat_abilities import Completes
from services.worker.jobs import chats

log = logging.getLogger(__name__)


def complete_hook(job: CompleteHook) -> None:
    """Ask the platform for what a hook names, and take it in; one whose link is gone has nobody to be for."""
    handle = all_tenants_find_link(job.link_id, job.kind)
    if handle is None or handle.org_id != job.org_id:
        return
    adapter = chats.adapters()[job.kind]
    request = HookRequest("POST", {}, {}, job.body.encode(), job.received_at)
    take_in(handle, _completed(adapter, adapter.config_model.model_validate(handle.config), request))


def _completed(adapter: ChatAdapter, config: Any, request: HookRequest) -> Parsed:
    """Read a hook once it is complete. What its writer took back meanwhile needs no answer."""
    if not isinstance(adapter, Completes):
        return Parsed(ignored="unreadable")
    try:
        return adapter.parse(config, adapter.complete(config, request))
    except MalformedBody:
        return Parsed(ignored="unreadable")
    except PlatformRefused as error:
        if error.details.get("answer") != "404":
            raise
        log.info("a hook names what is gone: %s", error.message)
        return Parsed(ignored="gone")
