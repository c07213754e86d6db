"""Writing to Linear: comments on issues, activities of sessions, reactions, and finding what was written.

What is made has an id of ours, made from the delivery's key: Linear does not make it twice.
Source: https://linear.app/developers/agent-interaction, https://linear.app/developers/graphql
"""

from __future__ import annotations

import hashlib
import hmac
import uuid
from collections.abc import Sequence
from typing import Any

from services.adapters.chat.emoji import NAMES, read_name
from services.adapters.chat.linear.client import ask
from services.adapters.chat.linear.config import LinearConfig
from services.adapters.chat.linear.options import option_value
from services.adapters.chat.linear.places import checked_id, read_message_id, session_of
from services.domain.errors import PlatformRefused
from services.domain.ports.chat import Place, Receipt
from services.domain.ports.chat_abilities import Button, ButtonLimits
from services.kit.emoji import bare

# No limits are told of the options that a session offers.
BUTTON_LIMITS = ButtonLimits(
    buttons=20, label_chars=100, value_bytes=500, source="https://linear.app/developers/agent-signals"
)
TAKEN_UP = "I am on it."
AT_WORK = "Still working on it."
_CREATE_COMMENT = (
    "mutation($input: CommentCreateInput!) { commentCreate(input: $input) { success comment { id } } }"
)
_UPDATE_COMMENT = (
    "mutation($id: String!, $input: CommentUpdateInput!)"
    " { commentUpdate(id: $id, input: $input) { success } }"
)
_DELETE_COMMENT = "mutation($id: String!) { commentDelete(id: $id) { success } }"
_CREATE_REACTION = "mutation($input: ReactionCreateInput!) { reactionCreate(input: $input) { success } }"
_CREATE_ACTIVITY = (
    "mutation($input: AgentActivityCreateInput!)"
    " { agentActivityCreate(input: $input) { success agentActivity { id } } }"
)
_FIND_COMMENT = "query($id: String!) { comment(id: $id) { id } }"
_FIND_ACTIVITY = "query($id: String!) { agentActivity(id: $id) { id } }"


def send(base_url: str, config: LinearConfig, place: Place, part: str, key: str | None = None) -> Receipt:
    """Say one part: as the session's response, or as a comment on the issue."""
    session_id = session_of(place)
    if session_id is not None:
        return _say(base_url, config, session_id, {"type": "response", "body": part}, key=key)
    given: dict[str, Any] = {"issueId": checked_id(place.chat_id), "body": part}
    if place.thread_id:
        given["parentId"] = checked_id(place.thread_id)
    return _create(base_url, config, _CREATE_COMMENT, given, key)


def send_card(
    base_url: str,
    config: LinearConfig,
    place: Place,
    part: str,
    buttons: Sequence[Button],
    key: str | None = None,
) -> Receipt:
    """Ask in a session, with options to choose from. Elsewhere Linear has none: they are numbered below the text."""
    session_id = session_of(place)
    if session_id is None:
        listed = "\n".join(
            f"{number}. {button.label}{f' ({button.url})' if button.url else ''}"
            for number, button in enumerate(buttons, 1)
        )
        return send(base_url, config, place, f"{part}\n\n{listed}".strip(), key)
    links = "\n".join(f"[{button.label}]({button.url})" for button in buttons if button.url)
    content = {"type": "elicitation", "body": "\n\n".join(filter(None, (part, links)))}
    key = key or str(uuid.uuid4())
    options = [
        {"label": button.label, "value": option_value(button, _id_of(config, key))}
        for button in buttons
        if not button.url
    ]
    more = {"signal": "select", "signalMetadata": {"options": options}} if options else {}
    return _say(base_url, config, session_id, content, key=key, more=more)


def find_sent(base_url: str, config: LinearConfig, place: Place, key: str) -> Receipt | None:
    """Look for what was made under a key."""
    try:
        is_session = session_of(place) is not None
        if not is_session:
            checked_id(place.chat_id)
    except PlatformRefused:
        return None
    return _find(base_url, config, _id_of(config, key), is_activity=is_session)


def edit(base_url: str, config: LinearConfig, place: Place, message_id: str, part: str) -> None:
    """Replace a comment's text."""
    comment_id = _comment_id(message_id)
    ask(base_url, config, _UPDATE_COMMENT, {"id": comment_id, "input": {"body": part}})


def delete(base_url: str, config: LinearConfig, place: Place, message_id: str) -> None:
    """Delete a comment. One that cannot be found is gone."""
    comment_id = _comment_id(message_id)
    try:
        ask(base_url, config, _DELETE_COMMENT, {"id": comment_id})
    except PlatformRefused:
        if _find(base_url, config, comment_id, is_activity=False) is not None:
            raise


def find_emoji(emoji: str) -> str | None:
    """Return Linear's name: of an emoji that we know, or whatever name was given."""
    return NAMES.get(bare(emoji)) or read_name(emoji)


def react(base_url: str, config: LinearConfig, place: Place, message_id: str, emoji: str) -> None:
    """Add a reaction to a comment or an issue."""
    kind, found = read_message_id(message_id)
    if kind == "activity":
        raise PlatformRefused("Linear has no reactions in an agent's session.")
    target = {"commentId": found} if kind == "comment" else {"issueId": found}
    # The same reaction of the same user has the same id, so that it is there once.
    given = target | {"id": _id_of(config, f"reaction {found} {emoji}"), "emoji": emoji}
    try:
        ask(base_url, config, _CREATE_REACTION, {"input": given})
    except PlatformRefused as error:
        if "already" not in str(error.details.get("answer", "")).lower():
            raise


def acknowledge(base_url: str, config: LinearConfig, place: Place, message_id: str) -> None:
    """Answer a session within its ten seconds with a thought, which goes away with the next activity."""
    session_id = session_of(place)
    if session_id is not None:
        think(base_url, config, session_id, TAKEN_UP, key=f"taken up {session_id} {message_id}")


def think(base_url: str, config: LinearConfig, session_id: str, words: str, key: str | None = None) -> None:
    """Show a thought for a while."""
    _say(base_url, config, session_id, {"type": "thought", "body": words}, key=key, more={"ephemeral": True})


def say_refused(base_url: str, config: LinearConfig, session_id: str, words: str) -> None:
    """Say in a session that something was refused; it goes on waiting for who may decide."""
    _say(base_url, config, session_id, {"type": "elicitation", "body": words}, key=None)


def _say(
    base_url: str,
    config: LinearConfig,
    session_id: str,
    content: dict[str, Any],
    *,
    key: str | None,
    more: dict[str, Any] | None = None,
) -> Receipt:
    given = {"agentSessionId": session_id, "content": content, **(more or {})}
    return _create(base_url, config, _CREATE_ACTIVITY, given, key)


def _create(
    base_url: str, config: LinearConfig, mutation: str, given: dict[str, Any], key: str | None
) -> Receipt:
    """Make a comment or an activity; one that is there under its key already is the one that was wanted."""
    is_activity = mutation is _CREATE_ACTIVITY
    own_id = _id_of(config, key) if key is not None else None
    try:
        answer = ask(
            base_url, config, mutation, {"input": given | ({"id": own_id} if own_id is not None else {})}
        )
    except PlatformRefused:
        earlier = _find(base_url, config, own_id, is_activity=is_activity) if own_id is not None else None
        if earlier is None:
            raise
        return earlier
    made = (
        answer["agentActivityCreate"]["agentActivity"] if is_activity else answer["commentCreate"]["comment"]
    )
    return _receipt(str(made["id"]), is_activity=is_activity)


def _find(base_url: str, config: LinearConfig, own_id: str, *, is_activity: bool) -> Receipt | None:
    name, query = ("agentActivity", _FIND_ACTIVITY) if is_activity else ("comment", _FIND_COMMENT)
    try:
        found = ask(base_url, config, query, {"id": own_id}).get(name)
    except PlatformRefused:
        return None
    return _receipt(str(found["id"]), is_activity=is_activity) if found else None


def _receipt(made_id: str, *, is_activity: bool) -> Receipt:
    return Receipt(message_id=f"{'activity' if is_activity else 'comment'}:{made_id}")


def _comment_id(message_id: str) -> str:
    kind, found = read_message_id(message_id)
    if kind != "comment":
        raise PlatformRefused("What was said in an agent's session cannot be changed.")
    return found


def _id_of(config: LinearConfig, key: str) -> str:
    """Return the UUID of a key, which only this link can make."""
    secret = config.webhook_secret.get_secret_value().encode()
    digest = hmac.new(secret, key.encode(), hashlib.sha256).digest()
    return str(uuid.UUID(bytes=digest[:16], version=4))
