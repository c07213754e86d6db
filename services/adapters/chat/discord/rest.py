"""Calls to Discord's REST API, from any thread: one pool of connections, and what is known of the limits."""

from __future__ import annotations

import hashlib
import json
import re
import weakref
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import httpx

from services.adapters.chat.discord import failures
from services.adapters.chat.discord.config import DiscordConfig
from services.adapters.chat.discord.limits import Limits, Route
from services.domain.errors import PlatformRefused, PlatformThrottled
from services.domain.ports.chat_abilities import OutgoingFile

_TIMEOUT = httpx.Timeout(20.0, connect=5.0)
_CONNECTIONS = httpx.Limits(max_connections=64)
_USER_AGENT = "DiscordBot (https://slipway.example, 1)"
_SNOWFLAKE = re.compile(r"[0-9]{1,19}")


def is_snowflake(text: str) -> bool:
    """Say whether this is an id of Discord's."""
    return _SNOWFLAKE.fullmatch(text) is not None


def snowflake(text: str | None) -> str:
    """Return an id if it is one, so that nothing else gets into a path. Raises: PlatformRefused."""
    if text is None or not is_snowflake(text):
        raise PlatformRefused("The chat or message has no id of Discord's.", answer="not an id")
    return text


class Rest:
    """The API at one address."""

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url.rstrip("/")
        self._client = httpx.Client(
            timeout=_TIMEOUT, limits=_CONNECTIONS, headers={"user-agent": _USER_AGENT}, follow_redirects=False
        )
        self._limits = Limits()
        # An adapter has no end of its own; its connections end with it.
        weakref.finalize(self, self._client.close)

    def call(
        self,
        config: DiscordConfig,
        method: str,
        path: str,
        body: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        *,
        file: OutgoingFile | None = None,
        is_authorized: bool = True,
    ) -> Any:
        """Make one call and return its JSON, or None for an answer without one.

        Raises: PlatformThrottled (also before the call, when it would be refused), PlatformAway, PlatformRefused.
        """
        token = config.bot_token.get_secret_value()
        route = _route_of(token, method, path)
        wait_s = self._limits.take(route)
        if wait_s > 0:
            raise PlatformThrottled("Discord takes no more for a moment.", retry_after_s=wait_s)
        headers = {"authorization": f"Bot {token}"} if is_authorized else {}
        try:
            response = self._client.request(
                method, f"{self._base_url}{path}", headers=headers, **_content(body, file)
            )
        except httpx.HTTPError as error:
            raise failures.translate_error(error) from error
        self._limits.learn(route, response.headers)
        if not response.is_success:
            refusal = failures.translate_answer(response)
            if isinstance(refusal, PlatformThrottled):
                self._limits.block(route, refusal.retry_after_s, is_global=failures.is_global(response))
            raise refusal
        if response.status_code == 204 or not response.content:
            return None
        try:
            return response.json()
        except ValueError as error:
            raise failures.unreadable() from error

    def object(
        self,
        config: DiscordConfig,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        file: OutgoingFile | None = None,
    ) -> dict[str, Any]:
        """Make one call whose answer is an object. Raises: as `call`."""
        answer = self.call(config, method, path, body, file=file)
        if not isinstance(answer, dict):
            raise failures.unreadable()
        return answer

    def is_own(self, url: str) -> bool:
        """Say whether an address is of the server itself, as where everything is at one address."""
        ours, other = urlsplit(self._base_url), urlsplit(url)
        return (ours.scheme, ours.netloc) == (other.scheme, other.netloc)


def _content(
    body: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None, file: OutgoingFile | None
) -> dict[str, Any]:
    if file is None:
        return {} if body is None else {"json": body}
    return {
        "data": {"payload_json": json.dumps(body or {})},
        "files": {"files[0]": (file.name, file.data, file.content_type)},
    }


def _route_of(token: str, method: str, path: str) -> Route:
    """Return how Discord counts a call: ids but the first do not matter, nor does which emoji it is."""
    parts = path.split("?", 1)[0].strip("/").split("/")
    place = "/".join(parts[1 : 3 if parts[0] == "webhooks" else 2])
    form = "/".join("*" if _SNOWFLAKE.fullmatch(part) else part for part in parts[2:])
    form = re.sub(r"reactions/[^/]+", "reactions/*", form)
    bot = hashlib.sha256(token.encode()).hexdigest()[:16]
    return Route(bot, f"{method} {parts[0]}/{form}", place)
