"""What a hook names, asked of Webex: the message or the submitted card, who wrote it, and where.

A completed body is an object of `hook`, as it came, and `fetched`, `person`, `room`, `files` beside it.
Source: https://developer.webex.com/docs/api/guides/webhooks
"""

from __future__ import annotations

import json
from dataclasses import replace
from email.message import Message
from typing import Any
from urllib.parse import quote

from services.adapters.chat.webex.client import WebexClient
from services.adapters.chat.webex.config import WebexConfig
from services.adapters.chat.wire import read_object
from services.domain.errors import MalformedBody, PlatformRefused
from services.domain.ports.chat import HookRequest

HOOK, FETCHED, PERSON, ROOM, FILES = "hook", "fetched", "person", "room", "files"
MAX_FILES = 10
_PATHS = {"messages": "messages", "attachmentActions": "attachment/actions"}


def complete(client: WebexClient, config: WebexConfig, request: HookRequest) -> HookRequest:
    """Fetch what a hook names. Raises: MalformedBody, and as the port does; PlatformRefused when it is gone."""
    hook = read_object(request.body)
    named = hook.get("data")
    path = _PATHS.get(str(hook.get("resource")))
    if path is None or not isinstance(named, dict) or not isinstance(named.get("id"), str):
        raise MalformedBody("A Webex hook names nothing.")
    fetched = client.get(config, f"{path}/{quote(named['id'], safe='')}")
    body: dict[str, Any] = {HOOK: hook, FETCHED: fetched}
    body[PERSON] = _ask(client, config, "people", fetched.get("personId"))
    if fetched.get("roomType") != "direct":
        body[ROOM] = _ask(client, config, "rooms", fetched.get("roomId"))
    files = fetched.get("files")
    if isinstance(files, list):
        body[FILES] = [_describe(client, config, str(url)) for url in files[:MAX_FILES]]
    return replace(request, body=json.dumps(body).encode())


def _ask(client: WebexClient, config: WebexConfig, path: str, identifier: object) -> dict[str, Any]:
    """Ask for a name that is shown to people; where Webex does not tell it, the id has to do."""
    if not isinstance(identifier, str):
        return {}
    try:
        return client.get(config, f"{path}/{quote(identifier, safe='')}")
    except PlatformRefused:
        return {}


def _describe(client: WebexClient, config: WebexConfig, url: str) -> dict[str, Any]:
    """Ask what a file is; of one that is still being scanned, or gone, the address is all that is known."""
    try:
        headers = client.head_file(config, url)
    except PlatformRefused:
        return {"url": url}
    disposition = Message()
    disposition["content-disposition"] = headers.get("content-disposition", "")
    length = headers.get("content-length", "")
    return {
        "url": url,
        "name": disposition.get_filename() or "",
        "content_type": headers.get("content-type", ""),
        "size": int(length) if length.isdecimal() else None,
    }
