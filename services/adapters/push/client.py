"""Posting encrypted messages to push services, at checked addresses only.

| answer | meaning |
|---|---|
| 201, and any other 2xx | taken |
| 404, 410 | the browser is gone: PushGone |
| 413 | too large, which ours never are: refused |
| 429, 5xx, no answer | away, for `Retry-After` seconds |
| all else | refused |

Source: RFC 8030, sections 5 and 7.3; RFC 8188; RFC 8291; RFC 8292.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx2
from py_vapid import Vapid02
from pywebpush import WebPusher, WebPushException

from services.adapters.upstreams.network import Network
from services.domain.errors import PlatformAway, PlatformRefused, PushGone
from services.domain.push.keys import VapidKey

# An encrypted body of 4,096 bytes, less its header, its padding's mark and its tag. Source: RFC 8291, section 4.
MAX_PAYLOAD_BYTES = 3_993
TTL_S = 24 * 3600
_TOKEN_S = 12 * 3600
_TIMEOUT_S = 20.0
_URGENCY = {"low": "low", "normal": "normal", "high": "high"}


async def push(
    subscription: Mapping[str, Any],
    payload: Mapping[str, str],
    *,
    urgency: str,
    topic: str,
    key: VapidKey,
    subject: str,
    network: Network,
) -> None:
    """Encrypt a message for one browser and hand it to its push service. `subject` says whom that may turn to.

    Raises: PushGone, PlatformAway, PlatformRefused, UpstreamAway, UpstreamRefused.
    """
    endpoint = str(subscription["endpoint"])
    headers = {
        "content-type": "application/octet-stream",
        "content-encoding": "aes128gcm",
        "ttl": str(TTL_S),
        "urgency": _URGENCY.get(urgency, "normal"),
        "topic": topic,
        **_authorization(endpoint, key, subject),
    }
    try:
        body = WebPusher(dict(subscription)).encode(fit(payload), content_encoding="aes128gcm")["body"]
    except (WebPushException, ValueError) as error:
        raise PlatformRefused("The browser's keys are not usable.") from error
    try:
        async with network.client(read_s=_TIMEOUT_S) as client:
            answer = await client.post(endpoint, content=bytes(body), headers=headers)
    except httpx2.InvalidURL as error:
        raise PlatformRefused("The push service's address cannot be read.") from error
    _check(answer.status_code, answer.headers.get("retry-after", ""))


def fit(payload: Mapping[str, str]) -> bytes:
    """Return a payload that fits into one push: its text is cut, its tag and address never are. Pure."""
    said = dict(payload)
    while len(data := json.dumps(said, ensure_ascii=False).encode("utf-8", "replace")) > MAX_PAYLOAD_BYTES:
        # No character is written in more than six bytes.
        over = max((len(data) - MAX_PAYLOAD_BYTES) // 6, 1)
        said["body"] = f"{said['body'][: -over - 1]}…"
    return data


def _authorization(endpoint: str, key: VapidKey, subject: str) -> dict[str, str]:
    parts = urlsplit(endpoint)
    claims = {
        "aud": f"{parts.scheme}://{parts.netloc}",
        "exp": int(time.time()) + _TOKEN_S,
        "sub": subject,
    }
    signer = Vapid02.from_pem(key.private_pem.get_secret_value().encode())
    # The library wants a mail address in a public domain; an installation in one's own network has none.
    signer.conf = {"no-strict": True}
    signed = signer.sign(claims)
    return {"authorization": str(signed["Authorization"])}


def _check(status: int, retry_after: str) -> None:
    if 200 <= status < 300:
        return
    if status in (404, 410):
        raise PushGone("The browser is not subscribed any more.")
    if status == 429 or status >= 500:
        wait_s = float(retry_after) if retry_after.isdecimal() and len(retry_after) < 7 else 5.0
        raise PlatformAway("The push service cannot take it now.", retry_after_s=wait_s)
    raise PlatformRefused(f"The push service refused it, with {status}.", answer=str(status))
