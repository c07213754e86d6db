"""Deliveries that never arrived: GitHub does not repeat them, but keeps them for three days.

Source: https://docs.github.com/en/rest/apps/webhooks#list-deliveries-for-an-app-webhook
"""

from __future__ import annotations

from typing import Any

from services.adapters.chat.github.client import ask_app, read_json
from services.adapters.chat.github.config import GithubConfig
from services.adapters.chat.github.inbound import EVENT_HEADER, read_event
from services.adapters.chat.wire import read_object
from services.domain.errors import MalformedBody
from services.domain.ports.chat import Parsed
from services.domain.ports.chat_abilities import Inbox

LOOK_EVERY_S = 300.0
_PER_PAGE, _MAX_PAGES = 100, 10


def listen(base_url: str, config: GithubConfig, inbox: Inbox) -> None:
    """Look every five minutes. `state` has the id of the newest delivery that was looked at; ids only grow.

    At first nothing is taken: what failed before there was a listener is too late to be answered.
    """
    known = inbox.load_state().get("newest")
    while not inbox.is_stopping():
        found = _list_new(base_url, config, known)
        for delivery in found if known is not None else []:
            if not _arrived(delivery):
                inbox.keep(_missed(base_url, config, delivery), {"newest": int(delivery["id"])})
        newest = int(found[-1]["id"]) if found else known or 0
        if newest != known:
            inbox.keep(Parsed(), {"newest": newest})
            known = newest
        inbox.wait(LOOK_EVERY_S)


def _arrived(delivery: dict[str, Any]) -> bool:
    return 200 <= int(delivery.get("status_code") or 0) < 300


def _missed(base_url: str, config: GithubConfig, delivery: dict[str, Any]) -> Parsed:
    """Read a delivery that failed as if it had come."""
    if delivery.get("installation_id") != config.installation_id:
        return Parsed(ignored="other_installation")
    answer = ask_app(base_url, config, f"/app/hook/deliveries/{int(delivery['id'])}")
    try:
        request = read_object(answer.content).get("request") or {}
        headers = {str(name).lower(): str(value) for name, value in (request.get("headers") or {}).items()}
        name = headers.get(EVENT_HEADER, str(delivery.get("event", "")))
        return read_event(config, name, str(delivery.get("guid", "")), dict(request.get("payload") or {}))
    except (MalformedBody, TypeError, AttributeError, ValueError):
        # One that cannot be read must not hold up those behind it.
        return Parsed(ignored="unreadable")


def _list_new(base_url: str, config: GithubConfig, known: int | None) -> list[dict[str, Any]]:
    """List the deliveries after one, the oldest first. GitHub gives the newest first, in pages."""
    found: list[dict[str, Any]] = []
    params: dict[str, Any] = {"per_page": _PER_PAGE}
    for _ in range(_MAX_PAGES):
        answer = ask_app(base_url, config, "/app/hook/deliveries", params)
        page = [entry for entry in read_json(answer) if int(entry["id"]) > (known or 0)]
        found += page
        following = answer.links.get("next", {}).get("url", "")
        if known is None or len(page) < _PER_PAGE or "cursor=" not in following:
            break
        params["cursor"] = following.partition("cursor=")[2].partition("&")[0]
    return found[::-1]
