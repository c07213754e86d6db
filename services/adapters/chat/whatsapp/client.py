"""Calls to the Cloud API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.adapters.chat.calls import away, request
from services.adapters.chat.whatsapp.config import WhatsappConfig
from services.adapters.chat.whatsapp.failures import LABEL, translate

API_VERSION = "v25.0"


def ask(
    base_url: str,
    config: WhatsappConfig,
    method: str,
    path: str,
    *,
    json: Any = None,
    params: Mapping[str, Any] | None = None,
    data: Mapping[str, Any] | None = None,
    files: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Make one call and return its JSON. Raises: PlatformThrottled, PlatformAway, PlatformRefused."""
    answer = request(
        LABEL,
        method,
        f"{base_url}/{API_VERSION}/{path}",
        headers=authorization(config),
        params=params,
        json=json,
        data=data,
        files=files,
    )
    if not answer.is_success:
        raise translate(answer)
    try:
        found: dict[str, Any] = answer.json()
    except ValueError as error:
        raise away(LABEL, may_have_arrived=True) from error
    return found


def authorization(config: WhatsappConfig) -> dict[str, str]:
    """Return the header that shows who asks."""
    return {"Authorization": f"Bearer {config.access_token.get_secret_value()}"}
