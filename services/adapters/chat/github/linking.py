"""Joining an app to Slipway, and whether it still works. The app's settings name the webhook: a person enters it."""

from __future__ import annotations

from typing import Any

from services.adapters.chat.calls import request
from services.adapters.chat.github.client import PERMISSIONS, ask_app, read_json
from services.adapters.chat.github.config import GithubConfig
from services.adapters.chat.github.failures import LABEL, translate
from services.adapters.github_app import VERSION_HEADERS
from services.domain.errors import PlatformRefused
from services.domain.ports.chat import LinkIdentity

EVENTS = ("issues", "issue_comment", "pull_request", "pull_request_review", "pull_request_review_comment")


def connect(base_url: str, config: GithubConfig) -> LinkIdentity:
    """Check the key and the installation, and learn who the app is: its comments are of the user `<app>[bot]`."""
    installation = _installation(base_url, config)
    slug = str(installation["app_slug"])
    lacking = _lacking(installation)
    if lacking:
        raise PlatformRefused(lacking)
    headers = {**VERSION_HEADERS, "User-Agent": "slipway"}
    answer = request(LABEL, "GET", f"{base_url}/users/{slug}%5Bbot%5D", headers=headers)
    if not answer.is_success:
        raise translate(answer)
    return LinkIdentity(platform_id=str(read_json(answer)["id"]), display_name=slug)


def check_health(base_url: str, config: GithubConfig, hook_url: str) -> str | None:
    """Say what a person has to mend of the app, if anything."""
    try:
        installation = _installation(base_url, config)
    except PlatformRefused as error:
        return error.message
    if installation.get("suspended_at"):
        return "The app's installation is suspended. Its owner can allow it again at GitHub."
    lacking = _lacking(installation)
    if lacking:
        return lacking
    hook = read_json(ask_app(base_url, config, "/app/hook/config"))
    if hook.get("url") != hook_url:
        return f"The app's webhook goes to another address. Enter {hook_url} in the app's settings."
    return None


def _installation(base_url: str, config: GithubConfig) -> dict[str, Any]:
    found: dict[str, Any] = read_json(
        ask_app(base_url, config, f"/app/installations/{config.installation_id}")
    )
    return found


def _lacking(installation: dict[str, Any]) -> str | None:
    """Say which rights and events the installation lacks."""
    granted = installation.get("permissions") or {}
    rights = [name for name, level in PERMISSIONS.items() if granted.get(name) != level]
    if rights:
        return f"The app needs the right to write: {', '.join(rights)}. Change it in the app's settings."
    missing = sorted(set(EVENTS) - set(installation.get("events") or EVENTS))
    if missing:
        return f"The app does not subscribe to: {', '.join(missing)}. Change it in the app's settings."
    return None
