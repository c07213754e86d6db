"""Wirings: which agents answer in a chat, and by which rules."""

from __future__ import annotations

import uuid
from typing import Any

from pydantic import Field

from services.domain.actors import Actor, require
from services.domain.agents.actions import get_usable_agent
from services.domain.chats.models import (
    Chat,
    Engage,
    LiveAnswers,
    SenderScope,
    SessionMode,
    Unanswered,
    Wiring,
)
from services.domain.chats.patterns import check_pattern
from services.domain.chats.registering import settle_question
from services.domain.contacts.quiet import QuietHours
from services.domain.errors import ChatMissing, ConfigInvalid, Missing, NameTaken
from services.domain.events.announcing import announce_change
from services.domain.events.listed import WiringChanged
from services.domain.identity.models import Membership
from services.domain.tenancy.transaction import tenant_transaction

MAX_BOT_TURNS = 20
MAX_PEOPLE = 100
_COMMAND = r"[a-z0-9_]{1,32}"


class WiringRules(QuietHours):
    """When an agent answers, and whom. In the quiet hours it listens and does not answer."""

    engage: Engage = Engage.MENTION
    pattern: str = Field(
        default="", max_length=300, description="For `pattern`: a regular expression, without look-around."
    )
    command: str = Field(
        default="",
        pattern=f"^({_COMMAND})?$",
        description="For `command`: the word that a message begins with, after `/` or `!`.",
    )
    sender_scope: SenderScope = SenderScope.ALL
    people: list[uuid.UUID] = Field(
        default_factory=list,
        max_length=MAX_PEOPLE,
        description="For the scope `people`: the users it answers.",
    )
    session_mode: SessionMode = SessionMode.SHARED
    unanswered: Unanswered = Field(
        default=Unanswered.ACCUMULATE, description="Whether it reads later what it does not answer."
    )
    priority: int = Field(default=0, ge=-1_000, le=1_000, description="The highest is judged first.")
    is_exclusive: bool = Field(default=False, description="When it answers, those judged after it do not.")
    bot_turns: int = Field(
        default=0,
        ge=0,
        le=MAX_BOT_TURNS,
        description="How many messages of other bots it answers in an hour until a person speaks; 0 for none.",
    )
    is_enabled: bool = True
    live_answers: LiveAnswers = LiveAnswers.AUTO


class WiringFields(WiringRules):
    """What a person may set on a wiring."""

    chat_id: uuid.UUID
    agent_id: uuid.UUID


def create_wiring(actor: Actor, fields: WiringFields) -> Wiring:
    """Wire a chat to an agent; what waited there for one is heard.

    Queues: RouteMessage. Raises: ChatMissing, AgentMissing, PatternInvalid, PatternTooCostly, ConfigInvalid, NameTaken.
    """
    require(actor, "chats:write")
    with tenant_transaction(actor.org_id):
        chat = Chat.objects.filter(id=fields.chat_id).first()
        if chat is None:
            raise ChatMissing("There is no such chat.")
        _check(fields)
        get_usable_agent(actor, fields.agent_id)
        if Wiring.objects.filter(chat_id=fields.chat_id, agent_id=fields.agent_id).exists():
            raise NameTaken("The chat is wired to this agent already.")
        wiring = Wiring.objects.create(org_id=actor.org_id, **fields.model_dump())
        announce_change(WiringChanged, wiring, "created")
        settle_question(chat, actor, fields.agent_id)
        return wiring


def update_wiring(actor: Actor, wiring_id: uuid.UUID, changes: dict[str, Any]) -> Wiring:
    """Change a wiring; its chat and agent stay what they are. Raises: Missing, PatternInvalid, ConfigInvalid."""
    require(actor, "chats:write")
    with tenant_transaction(actor.org_id):
        wiring = Wiring.objects.select_for_update().filter(id=wiring_id).first()
        if wiring is None:
            raise Missing("There is no such wiring.")
        current = {name: getattr(wiring, name) for name in WiringFields.model_fields}
        fields = WiringFields.model_validate(current | changes)
        _check(fields)
        if (fields.chat_id, fields.agent_id) != (wiring.chat_id, wiring.agent_id):
            raise ConfigInvalid("A wiring stays with its chat and agent.", fields={"chat_id": "fixed"})
        for name, value in fields.model_dump().items():
            setattr(wiring, name, value)
        wiring.save()
        announce_change(WiringChanged, wiring)
        return wiring


def delete_wiring(actor: Actor, wiring_id: uuid.UUID) -> None:
    """Remove a wiring. Raises: Missing."""
    require(actor, "chats:write")
    with tenant_transaction(actor.org_id):
        wiring = Wiring.objects.select_for_update().filter(id=wiring_id).first()
        if wiring is None:
            raise Missing("There is no such wiring.")
        announce_change(WiringChanged, wiring, "deleted")
        wiring.delete()


def _check(fields: WiringFields) -> None:
    """Refuse what would never answer. Inside the tenant's transaction. Raises: PatternInvalid, ConfigInvalid."""
    if fields.engage == Engage.PATTERN:
        check_pattern(fields.pattern)
    if fields.engage == Engage.COMMAND and not fields.command:
        raise ConfigInvalid("A command is needed.", fields={"command": "empty"})
    if fields.sender_scope != SenderScope.PEOPLE:
        return
    known = Membership.objects.filter(user_id__in=fields.people).values_list("user_id", flat=True)
    strangers = set(fields.people) - set(known)
    if strangers or not fields.people:
        what = f"no members: {', '.join(map(str, sorted(strangers)))}" if strangers else "empty"
        raise ConfigInvalid("Name the members whom it answers.", fields={"people": what})
