"""Signed calls to a receiver, at checked addresses only."""

from __future__ import annotations

import asyncio
import functools
import json
import uuid
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx2

from services.adapters.chat.webhook.config import WebhookConfig
from services.adapters.chat.webhook.failures import check_status, translate
from services.adapters.chat.webhook.signing import sign
from services.adapters.upstreams.network import Network
from services.domain.errors import FileTooLarge, PlatformRefused, UpstreamAway, UpstreamRefused
from services.kit.clock import now
from services.kit.environment import environment

_TIMEOUT_S = 20.0


def post(
    base_url: str, config: WebhookConfig, body: dict[str, Any], webhook_id: str | None = None
) -> dict[str, Any]:
    """Post one event; returns what the receiver says, if that is a JSON object.

    Raises: PlatformThrottled, PlatformAway, PlatformRefused.
    """
    content = json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
    headers = sign(config.key, webhook_id or f"msg_{uuid.uuid4().hex}", now(), content)
    status, retry_after, answer = asyncio.run(
        _post(base_url, config.url, content, headers | {"content-type": "application/json"})
    )
    check_status(status, retry_after)
    try:
        said = json.loads(answer)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def get(base_url: str, config: WebhookConfig, url: str, max_bytes: int) -> bytes:
    """Fetch a file from the receiver's own host, signed like all else.

    Raises: FileTooLarge, PlatformThrottled, PlatformAway, PlatformRefused.
    """
    there, asked = urlsplit(config.url), urlsplit(url)
    if (asked.scheme, asked.netloc) != (there.scheme, there.netloc):
        raise PlatformRefused("The file lies on another host than the link's, and is not fetched from there.")
    headers = sign(config.key, f"file_{uuid.uuid4().hex}", now(), b"")
    return asyncio.run(_get(base_url, url, headers, max_bytes))


async def _post(base_url: str, url: str, content: bytes, headers: dict[str, str]) -> tuple[int, str, bytes]:
    try:
        async with _network(base_url).client(read_s=_TIMEOUT_S) as client:
            answer = await client.post(_target(base_url, url), content=content, headers=headers)
            return answer.status_code, answer.headers.get("retry-after", ""), answer.content
    except (UpstreamAway, UpstreamRefused) as error:
        raise translate(error) from error
    except httpx2.InvalidURL as error:
        raise PlatformRefused("The receiver's address cannot be read.") from error


async def _get(base_url: str, url: str, headers: dict[str, str], max_bytes: int) -> bytes:
    data = bytearray()
    try:
        async with (
            _network(base_url).client(read_s=_TIMEOUT_S) as client,
            client.stream("GET", _target(base_url, url), headers=headers) as answer,
        ):
            check_status(answer.status_code, answer.headers.get("retry-after", ""))
            async for chunk in answer.aiter_bytes():
                data += chunk
                if len(data) > max_bytes:
                    raise FileTooLarge(f"The file is larger than {max_bytes} bytes.")
    except (UpstreamAway, UpstreamRefused) as error:
        raise translate(error) from error
    except httpx2.InvalidURL as error:
        raise PlatformRefused("The file's address cannot be read.") from error
    return bytes(data)


def _target(base_url: str, url: str) -> str:
    """Return where a call goes: the address itself, or its path at the server that stands in for all receivers."""
    if not base_url:
        return url
    base, parts = urlsplit(base_url), urlsplit(url)
    return urlunsplit((base.scheme, base.netloc, parts.path, parts.query, ""))


@functools.cache
def _network(base_url: str) -> Network:
    hosts = environment().internal_hosts()
    stand_in = urlsplit(base_url).hostname
    return Network(internal_hosts=hosts | {stand_in} if stand_in else hosts)
