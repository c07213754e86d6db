"""Signatures of Standard Webhooks: HMAC-SHA256 over id, time and body. Pure.

Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import datetime

from services.domain.errors import HookUnverified
from services.domain.ports.chat import HookRequest

WINDOW_S = 300
ID, TIME, SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"
_VERSION = "v1"


def sign(key: bytes, webhook_id: str, moment: datetime, body: bytes) -> dict[str, str]:
    """Return the headers with which a call is signed."""
    time = str(int(moment.timestamp()))
    return {ID: webhook_id, TIME: time, SIGNATURE: _signature(key, webhook_id, time, body)}


def verify(key: bytes, request: HookRequest) -> None:
    """Check that one of the signatures is right, and that the call is at most five minutes old or early.

    Raises: HookUnverified.
    """
    webhook_id, time = request.headers.get(ID, ""), request.headers.get(TIME, "")
    if not (webhook_id.isascii() and webhook_id.isprintable() and 0 < len(webhook_id) <= 200):
        raise HookUnverified("The webhook's id is missing.")
    if not (time.isascii() and time.isdecimal() and len(time) <= 11):
        raise HookUnverified("The webhook's time is missing.")
    if abs(request.received_at.timestamp() - int(time)) > WINDOW_S:
        raise HookUnverified("The webhook is too old, or from the future.")
    expected = _signature(key, webhook_id, time, request.body).encode()
    given = request.headers.get(SIGNATURE, "").split(" ")
    # A sender that changes its secret sends two.
    if not any(hmac.compare_digest(one.encode("utf-8", "replace"), expected) for one in given):
        raise HookUnverified("The webhook's signature is missing or wrong.")


def _signature(key: bytes, webhook_id: str, time: str, body: bytes) -> str:
    digest = hmac.new(key, f"{webhook_id}.{time}.".encode() + body, hashlib.sha256).digest()
    return f"{_VERSION},{base64.b64encode(digest).decode()}"
