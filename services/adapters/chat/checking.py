"""Asking a platform whether a link works."""

from __future__ import annotations

from typing import Any

from services.domain.errors import Permanent, PlatformThrottled, Temporary
from services.domain.ports.chat import ChatAdapter
from services.domain.ports.chat_abilities import ChecksHealth, Health


def ask_health(adapter: ChatAdapter, config: dict[str, Any], hook_url: str) -> Health | None:
    """Return what a platform says of a link, None where nothing is to be learned: it cannot be asked, or not now."""
    if not isinstance(adapter, ChecksHealth):
        return None
    try:
        problem = adapter.check_health(adapter.config_model.model_validate(config), hook_url)
    except PlatformThrottled:
        return None
    except Temporary as error:
        return Health(error.message, is_silent=True)
    except Permanent as error:
        return Health(error.message)
    return Health(problem or "")
