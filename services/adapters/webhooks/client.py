"""One call of a webhook: signed, at checked addresses only, its answer read as far as the log keeps it."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx2

from services.adapters.chat.webhook.signing import SIGNATURE, sign
from services.adapters.upstreams.network import Network
from services.domain.errors import UpstreamAway, UpstreamRefused

TIMEOUT_S = 20.0
TOTAL_S = 60.0
"""For a whole call; shorter than the lease under which it is made."""
MAX_ANSWER_BYTES = 64 * 1024
_SECRET_PREFIX = "whsec_"  # noqa: S105  # the form, not a secret


@dataclass(frozen=True, slots=True)
class Called:
    """What came of it: `status` None means that no answer came, for the reason in `error`."""

    duration_ms: int
    status: int | None
    error: str
    answer: str


async def call_webhook(
    network: Network,
    url: str,
    secrets: Sequence[str],
    webhook_id: str,
    moment: datetime,
    body: dict[str, Any],
) -> Called:
    """Post a body, signed with each of the secrets. Redirects are not followed. Source: Standard Webhooks."""
    content = json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
    headers = {"content-type": "application/json", **_signed(secrets, webhook_id, moment, content)}
    started = time.monotonic()
    status, error, answer = None, "", b""
    try:
        # An answer that comes a byte at a time is no answer.
        async with (
            asyncio.timeout(TOTAL_S),
            network.client(read_s=TIMEOUT_S, most_bytes=MAX_ANSWER_BYTES) as client,
        ):
            answered = await client.post(
                url, content=content, headers=headers | {"user-agent": "slipway-webhooks"}
            )
            status, answer = answered.status_code, answered.content
    except (UpstreamAway, UpstreamRefused) as failure:
        error = failure.message
    except TimeoutError:
        error = "The receiver took too long."
    except httpx2.InvalidURL:
        error = "The address cannot be read."
    duration_ms = round((time.monotonic() - started) * 1_000)
    # What cannot be stored is left out.
    return Called(duration_ms, status, error, answer[:1_000].decode("utf-8", "replace").replace("\x00", ""))


def _signed(secrets: Sequence[str], webhook_id: str, moment: datetime, content: bytes) -> dict[str, str]:
    """Return the headers; two secrets give two signatures, either of which is good."""
    keys = [base64.b64decode(secret.removeprefix(_SECRET_PREFIX)) for secret in secrets]
    signed = [sign(key, webhook_id, moment, content) for key in keys]
    return signed[0] | {SIGNATURE: " ".join(one[SIGNATURE] for one in signed)}
