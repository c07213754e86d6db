"""Linear's webhook calls: verified by signature and time, then read. Pure.

Source: https://linear.app/developers/webhooks, https://linear.app/developers/agent-interaction
"""

from __future__ import annotations

import hashlib
import hmac
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from services.adapters.chat.linear.config import LinearConfig
from services.adapters.chat.linear.options import read_option
from services.adapters.chat.linear.payloads import Activity, Call, Entity, Person, Session
from services.adapters.chat.linear.places import session_place
from services.adapters.chat.linear.text import without_mention
from services.adapters.chat.wire import read_object
from services.domain.errors import HookUnverified, MalformedBody
from services.domain.ports.chat import (
    ChangeKind,
    ChatKind,
    HookRequest,
    InboundChange,
    InboundMessage,
    InboundPress,
    InboundStop,
    Parsed,
    Place,
    Sender,
)

SIGNATURE_HEADER = "linear-signature"
DELIVERY_HEADER = "linear-delivery"
MAX_AGE_S = 60
STOP = "stop"
# Who tells an agent what its session is about: no person.
_LINEAR = Sender("linear", "Linear", is_bot=True)


def verify(config: LinearConfig, request: HookRequest) -> None:
    """Check the signature over the raw body, and that the time in it is at most 60 s away. Raises: HookUnverified."""
    secret = config.webhook_secret.get_secret_value().encode()
    good = hmac.new(secret, request.body, hashlib.sha256).hexdigest()
    given = request.headers.get(SIGNATURE_HEADER, "")
    if not hmac.compare_digest(given.encode("utf-8", "replace"), good.encode()):
        raise HookUnverified("The request's signature is missing or wrong.")
    try:
        sent_ms = read_object(request.body).get("webhookTimestamp")
    except MalformedBody as error:
        raise HookUnverified("The request has no time.") from error
    if not isinstance(sent_ms, int | float) or isinstance(sent_ms, bool):
        raise HookUnverified("The request has no time.")
    if abs(request.received_at.timestamp() - sent_ms / 1000) > MAX_AGE_S:
        raise HookUnverified("The request is too old.")


def parse(config: LinearConfig, request: HookRequest) -> Parsed:
    """Read one call. Raises: MalformedBody."""
    raw = read_object(request.body)
    try:
        call = Call.model_validate(raw)
        match call.type:
            case "AgentSessionEvent":
                return _read_session(config, call, raw)
            case "Comment" | "Issue" if config.is_agent:
                # What is said to an agent comes as its session's. Read here as well, it would be answered twice.
                return Parsed(ignored="sessions_only")
            case "Comment":
                return _read_comment(config, call, request.headers.get(DELIVERY_HEADER, ""), raw)
            case "Issue":
                return _read_issue(config, call, request.headers.get(DELIVERY_HEADER, ""), raw)
            case _:
                return Parsed(ignored="unknown_type")
    except ValidationError as error:
        raise MalformedBody("The body is not an event of Linear's.") from error


# --- Sessions --------------------------------------------------------------------------------------------


def _read_session(config: LinearConfig, call: Call, raw: dict[str, Any]) -> Parsed:
    session = Session.model_validate(raw.get("agentSession"))
    if call.app_user_id and config.bot_id and call.app_user_id != config.bot_id:
        return Parsed(ignored="other_app")
    match call.action:
        case "created":
            return _created(config, call, session, raw)
        case "prompted":
            return _prompted(config, session, Activity.model_validate(raw.get("agentActivity")), raw)
        case _:
            return Parsed(ignored="unknown_type")


def _created(config: LinearConfig, call: Call, session: Session, raw: dict[str, Any]) -> Parsed:
    """Read a mention or a delegation, and before it what Linear tells of the issue."""
    creator = session.creator
    if creator is not None and creator.id == config.bot_id:
        return Parsed(ignored="own_message")
    said = session.comment.body if session.comment is not None else None
    text, _ = without_mention(said or session.words(), config.bot_name)
    if not text:
        return Parsed(ignored="no_text")
    place = session_place(session.id, session.issue_ref())
    sent_at = _time(session.created_at or call.created_at)
    message_id = f"comment:{session.comment.id}" if session.comment else f"issue:{session.issue_ref()}"
    message = InboundMessage(
        dedupe_key=f"session:{session.id}",
        place=place,
        chat_kind=ChatKind.CHANNEL,
        chat_title=session.title(),
        sender=_sender(creator, session.creator_id),
        text=text,
        is_mention=True,
        message_id=message_id,
        sent_at=sent_at,
        raw=raw,
    )
    if not call.prompt_context:
        return Parsed(messages=(message,))
    context = InboundMessage(
        dedupe_key=f"context:{session.id}",
        place=place,
        chat_kind=ChatKind.CHANNEL,
        chat_title=session.title(),
        sender=_LINEAR,
        text=call.prompt_context,
        is_mention=False,
        message_id=f"context:{session.id}",
        sent_at=sent_at,
    )
    return Parsed(messages=(context, message))


def _prompted(config: LinearConfig, session: Session, activity: Activity, raw: dict[str, Any]) -> Parsed:
    """Read what a person says in a session: words, an option that was offered, or that the agent is to stop."""
    person_id = activity.user_id or (activity.user.id if activity.user else "")
    if person_id and person_id == config.bot_id:
        return Parsed(ignored="own_message")
    sender = _sender(activity.user, person_id or session.creator_id)
    place = session_place(session.id, session.issue_ref())
    key = f"activity:{activity.id}"
    if activity.signal == STOP:
        return Parsed(stops=(InboundStop(dedupe_key=key, place=place, sender=sender),))
    said = activity.content.body.strip()
    chosen = read_option(said)
    if chosen is not None:
        press = InboundPress(
            dedupe_key=f"press:{activity.id}",
            place=place,
            sender=sender,
            message_id=f"activity:{chosen[0]}",
            value=chosen[1],
            press_ref=activity.id,
        )
        return Parsed(presses=(press,))
    text, _ = without_mention(said, config.bot_name)
    if not text:
        return Parsed(ignored="no_text")
    source = activity.source_comment_id
    return Parsed(
        messages=(
            InboundMessage(
                dedupe_key=key,
                place=place,
                chat_kind=ChatKind.CHANNEL,
                chat_title=session.title(),
                sender=sender,
                text=text,
                is_mention=True,
                message_id=f"comment:{source}" if source else key,
                sent_at=_time(activity.created_at),
                raw=raw,
            ),
        )
    )


# --- Comments and issues, for a link that acts as a person ---------------------------------------------------


def _read_comment(config: LinearConfig, call: Call, delivery: str, raw: dict[str, Any]) -> Parsed:
    comment = Entity.model_validate(raw.get("data"))
    author = comment.user or call.actor
    if _is_own(config, comment.user_id or (author.id if author else "")):
        return Parsed(ignored="own_message")
    if not comment.issue_id:
        return Parsed(ignored="unknown_type")
    thread_id = comment.parent_id or comment.id
    place, sender = Place(comment.issue_id, thread_id), _sender(call.actor or author, comment.user_id)
    message_id = f"comment:{comment.id}"
    if call.action in ("update", "remove"):
        return _changed(call, comment, delivery, place, sender, message_id, comment.body or "")
    if call.action != "create":
        return Parsed(ignored="unknown_type")
    text, is_named = without_mention(comment.body or "", config.bot_name)
    if not text:
        return Parsed(ignored="no_text")
    issue = comment.issue
    return Parsed(
        messages=(
            InboundMessage(
                dedupe_key=message_id,
                place=place,
                chat_kind=ChatKind.CHANNEL,
                chat_title=issue.label() if issue else "",
                sender=sender,
                text=text,
                is_mention=is_named,
                message_id=message_id,
                sent_at=_time(comment.created_at),
                raw=raw,
            ),
        )
    )


def _read_issue(config: LinearConfig, call: Call, delivery: str, raw: dict[str, Any]) -> Parsed:
    issue = Entity.model_validate(raw.get("data"))
    if _is_own(config, call.actor.id if call.actor else issue.creator_id):
        return Parsed(ignored="own_message")
    is_ours = bool(config.bot_id) and issue.assignee_id == config.bot_id
    is_assigned = is_ours and "assigneeId" in (call.updated_from or {})
    place, sender = Place(issue.id), _sender(call.actor, issue.creator_id)
    message_id = f"issue:{issue.id}"
    if call.action == "remove" or (call.action == "update" and not is_assigned):
        if call.action == "update" and not {"title", "description"} & set(call.updated_from or {}):
            return Parsed(ignored="not_for_the_agent")
        return _changed(call, issue, delivery, place, sender, message_id, issue.words())
    if call.action not in ("create", "update"):
        return Parsed(ignored="unknown_type")
    text, is_named = without_mention(issue.words(), config.bot_name)
    if not text:
        return Parsed(ignored="no_text")
    return Parsed(
        messages=(
            InboundMessage(
                dedupe_key=message_id if call.action == "create" else f"assigned:{_needed(delivery)}",
                place=place,
                chat_kind=ChatKind.CHANNEL,
                chat_title=issue.label(),
                sender=sender,
                text=text,
                is_mention=is_named or is_ours,
                message_id=message_id,
                sent_at=_time(issue.created_at),
                raw=raw,
            ),
        )
    )


def _changed(
    call: Call, entity: Entity, delivery: str, place: Place, sender: Sender, message_id: str, text: str
) -> Parsed:
    is_gone = call.action == "remove"
    change = InboundChange(
        dedupe_key=f"{call.type}:{_needed(delivery)}",
        place=place,
        sender=sender,
        message_id=message_id,
        kind=ChangeKind.DELETED if is_gone else ChangeKind.EDITED,
        text="" if is_gone else text,
        changed_at=_time(entity.updated_at or call.created_at or entity.created_at),
    )
    return Parsed(changes=(change,))


def _is_own(config: LinearConfig, author_id: str) -> bool:
    return bool(author_id) and author_id == config.bot_id


def _sender(person: Person | None, person_id: str) -> Sender:
    found = person.id if person is not None and person.id else person_id
    if not found:
        raise MalformedBody("An event of Linear's lacks its person.")
    is_bot = person is not None and person.type not in ("", "user")
    return Sender(found, (person.shown() if person is not None else "") or found, is_bot)


def _needed(delivery: str) -> str:
    if not delivery:
        raise MalformedBody("A call of Linear's lacks the id of its delivery.")
    return delivery


def _time(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise MalformedBody("A time of Linear's is not a time.") from error
    if moment.tzinfo is None:
        raise MalformedBody("A time of Linear's has no zone.")
    return moment
