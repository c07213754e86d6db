"""Writing to issues and pull requests: comments, their changes, reactions, and finding what was written."""

from __future__ import annotations

import hashlib
import hmac
from datetime import timedelta
from typing import Any

from services.adapters.chat.emoji import emoji_named
from services.adapters.chat.github.client import ask
from services.adapters.chat.github.config import GithubConfig
from services.adapters.chat.github.places import Spot, message_path, read_place
from services.domain.errors import PlatformRefused
from services.domain.ports.chat import Place, Receipt
from services.kit.clock import now
from services.kit.emoji import bare

SEEN = "eyes"
# Source: https://docs.github.com/en/rest/reactions/reactions#about-reactions
_REACTIONS = {
    "👍": "+1",
    "👎": "-1",
    "😁": "laugh",
    "😄": "laugh",
    "😕": "confused",
    "❤": "heart",
    "🎉": "hooray",
    "🚀": "rocket",
    "👀": SEEN,
}
_NAMES = {*_REACTIONS.values()}
_ALIASES = {"rocket": "🚀", "smile": "😄", "confused": "😕"}
_LOOK_BACK = timedelta(hours=6)
_PER_PAGE, _MAX_PAGES = 100, 5


def send(base_url: str, config: GithubConfig, place: Place, part: str, key: str | None = None) -> Receipt:
    """Write a comment: in the thread on a line, if there is one, else below the issue or pull request."""
    spot = read_place(place)
    body = part if key is None else f"{_marker(config, key)}\n{part}"
    given: dict[str, Any] = {"body": body}
    path = f"/issues/{spot.number}/comments"
    if spot.thread_id is not None:
        path, given["in_reply_to"] = f"/pulls/{spot.number}/comments", spot.thread_id
    made = ask(base_url, config, spot.repository, "POST", path, json=given)
    return _receipt(spot, made)


def find_sent(base_url: str, config: GithubConfig, place: Place, key: str) -> Receipt | None:
    """Look for our comment with a key among those of the last hours. Others may have copied the hidden line."""
    try:
        spot = read_place(place)
    except PlatformRefused:
        return None
    marker = _marker(config, key)
    kind = "issues" if spot.thread_id is None else "pulls"
    params = {"since": f"{now() - _LOOK_BACK:%Y-%m-%dT%H:%M:%SZ}", "per_page": _PER_PAGE}
    for page in range(1, _MAX_PAGES + 1):
        path = f"/{kind}/{spot.number}/comments"
        found = ask(base_url, config, spot.repository, "GET", path, params=params | {"page": page})
        for comment in found:
            if str(comment.get("body", "")).startswith(marker) and _is_ours(config, comment):
                return _receipt(spot, comment)
        if len(found) < _PER_PAGE:
            break
    return None


def edit(base_url: str, config: GithubConfig, place: Place, message_id: str, part: str) -> None:
    """Replace a comment's text."""
    spot = read_place(place)
    ask(
        base_url,
        config,
        spot.repository,
        "PATCH",
        _comment_path(spot, message_id),
        json={"body": part},
    )


def delete(base_url: str, config: GithubConfig, place: Place, message_id: str) -> None:
    """Delete a comment."""
    spot = read_place(place)
    path = _comment_path(spot, message_id)
    try:
        ask(base_url, config, spot.repository, "DELETE", path)
    except PlatformRefused as error:
        if error.details.get("answer") != "Not Found":
            raise


def find_emoji(emoji: str) -> str | None:
    """Return GitHub's name of one of its eight reactions."""
    name = emoji.strip().strip(":").lower()
    if name in _NAMES:
        return name
    return _REACTIONS.get(_ALIASES.get(name) or emoji_named(emoji) or bare(emoji))


def react(base_url: str, config: GithubConfig, place: Place, message_id: str, emoji: str) -> None:
    """Add a reaction to a comment, or to the issue or pull request itself."""
    spot = read_place(place)
    path = f"{message_path(spot, message_id)}/reactions"
    ask(base_url, config, spot.repository, "POST", path, json={"content": emoji})


def _comment_path(spot: Spot, message_id: str) -> str:
    if message_id.startswith("issue:"):
        raise PlatformRefused("What somebody else wrote cannot be changed.")
    return message_path(spot, message_id)


def _receipt(spot: Spot, comment: dict[str, Any]) -> Receipt:
    kind = "comment" if spot.thread_id is None else "review_comment"
    return Receipt(message_id=f"{kind}:{comment['id']}")


def _marker(config: GithubConfig, key: str) -> str:
    """Return the hidden first line of a comment, which nobody can make before it is published."""
    secret = config.webhook_secret.get_secret_value().encode()
    digest = hmac.new(secret, f"slipway comment {key}".encode(), hashlib.sha256).hexdigest()
    return f"<!-- slipway:{digest[:32]} -->"


def _is_ours(config: GithubConfig, comment: dict[str, Any]) -> bool:
    author = (comment.get("user") or {}).get("id")
    return not config.bot_id or str(author) == config.bot_id
