"""Joining an app to Slipway. Linear has no call that sets an app's own webhook: a person enters its address once."""

from __future__ import annotations

from services.adapters.chat.linear.client import ask
from services.adapters.chat.linear.config import LinearConfig
from services.domain.errors import PlatformRefused
from services.domain.ports.chat import LinkIdentity

_VIEWER = "query { viewer { id name displayName } }"


def connect(base_url: str, config: LinearConfig) -> LinkIdentity:
    """Check the secret or token, and learn who the agent is."""
    viewer = ask(base_url, config, _VIEWER, {})["viewer"]
    name = str(viewer.get("displayName") or viewer.get("name", ""))
    return LinkIdentity(platform_id=str(viewer["id"]), display_name=name)


def check_health(base_url: str, config: LinearConfig) -> str | None:
    """Say what a person has to mend, if anything."""
    try:
        connect(base_url, config)
    except PlatformRefused as error:
        return error.message
    return None
