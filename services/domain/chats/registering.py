"""Chats that no agent answers in: an admin is asked which one should, and what was said is kept until then."""

from __future__ import annotations

import uuid

from services.domain.actors import Actor
from services.domain.agents.actions import get_usable_agent
from services.domain.agents.models import Agent
from services.domain.approvals.actions import Question, close_locked_approval, request_approval
from services.domain.approvals.grants import register_grant, register_refusal
from services.domain.approvals.models import Approval, ApprovalScope, ApprovalStatus
from services.domain.approvals.subjects import NEW_CHAT, NewChatSubject, OfferedAgent
from services.domain.chats.first_wiring import wire_as_usual
from services.domain.chats.models import Chat, Delivery, InboundMessage
from services.domain.chats.sending import Piece, Spot, write_message
from services.domain.chats.waiting import HELD, REFUSED, count_waiting, give_up_waiting, replay_waiting
from services.domain.contacts.holding import Passage, admit, pass_gate
from services.domain.ports.chat import ChatKind

MAX_WAITING = 20
# A card shows some of them at a time; any other agent is chosen on the chat's page.
MAX_OFFERED = 64
NO_WIRING = "no_wiring"

_WAIT = "No agent answers in this chat yet. I have asked which one should, and keep your message until then."
_WORDS = {
    "unknown_chat": "No agent answers in this chat. An admin has decided so.",
    "unknown_chat_expired": "Nobody has decided in time which agent answers here. Write again, and I ask anew.",
    "unknown_chats_full": "No agent answers in this chat yet, and too many questions wait already. Try again later.",
}


def ask_for_agent(message: InboundMessage) -> tuple[str, Passage | None]:
    """Ask which agent is to answer in a chat without any, if the bot was spoken to; returns what became of the message.

    Who is refused by the gate asks nothing. Inside the tenant's transaction, under the chat's lock.
    Emits and queues: what `request_approval` and a reply do.
    """
    if not message.is_mention or message.is_bot:
        return NO_WIRING, None
    passage = pass_gate(message, None)
    if passage.outcome is not None:
        return passage.outcome, passage
    if count_waiting(message.chat_id) >= MAX_WAITING:
        return f"{REFUSED}_flood", passage
    asked = request_approval(_question(message.chat, _subject(message)))
    if asked is None:
        return _refuse(message, "unknown_chats_full"), passage
    if asked.status == ApprovalStatus.DENIED:
        return _refuse(message, "unknown_chat"), passage
    _say_once(message, _batch("wait", asked.id), _WAIT)
    return f"{HELD} {asked.id}", passage


def settle_question(chat: Chat, actor: Actor, agent_id: uuid.UUID) -> None:
    """Hear what waits in a chat that a person has wired, and ask nobody any more. Inside the tenant's transaction.

    Locks: the approval, then the chat.
    """
    key = Question(chat.org_id, NEW_CHAT, {}, identity={"chat": str(chat.id)}).key
    asked = (
        Approval.objects.select_for_update(of=("self",))
        .filter(kind=NEW_CHAT, subject_key=key, status__in=(ApprovalStatus.PENDING, ApprovalStatus.DENIED))
        .first()
    )
    if asked is not None:
        asked.choice = str(agent_id)
        asked.save(update_fields=["choice"])
        close_locked_approval(
            asked, ApprovalStatus.ALLOWED, scope=ApprovalScope.ALWAYS, user_id=actor.user_id
        )
    replay_waiting(chat.org_id, chat.id)


def register() -> None:
    """Tell the approvals what a yes and a no about a chat do."""
    for scope in ApprovalScope:
        register_grant(NEW_CHAT, scope, _wire)
    register_refusal(NEW_CHAT, _turn_away)


def _question(chat: Chat, subject: NewChatSubject) -> Question:
    return Question(
        org_id=chat.org_id, kind=NEW_CHAT, subject=subject.stored(), identity={"chat": str(chat.id)}
    )


def _subject(message: InboundMessage) -> NewChatSubject:
    offered = Agent.objects.filter(is_shared=True, archived_at=None).order_by("name", "id")[:MAX_OFFERED]
    return NewChatSubject(
        link_id=message.link_id,
        link_name=message.link.name,
        chat_id=message.chat_id,
        chat_title=message.chat.title,
        chat_kind=message.chat.kind,
        message_id=message.id,
        sender_id=message.sender_id,
        sender_name=message.sender_name,
        text=message.text[:1_000],
        agents=[OfferedAgent(id=agent.id, name=agent.name) for agent in offered],
    )


def _wire(actor: Actor, approval: Approval) -> None:
    """Wire the chat to the chosen agent, and hear what waits. In a direct chat its person is let in with it.

    Raises: AgentMissing, AgentArchived, Invalid.
    """
    asked = NewChatSubject.model_validate(approval.subject)
    agent = get_usable_agent(actor, uuid.UUID(approval.choice))
    chat = Chat.objects.filter(id=asked.chat_id).first()
    if chat is None:
        return
    wire_as_usual(chat, agent.id)
    if chat.kind == ChatKind.DIRECT:
        message = InboundMessage.objects.select_related("link").filter(id=asked.message_id).first()
        if message is not None:
            admit(message, actor.user_id)
    replay_waiting(chat.org_id, chat.id)


def _turn_away(approval: Approval) -> None:
    """Refuse what waits for a question that was denied or has expired; only a denial is remembered."""
    asked = NewChatSubject.model_validate(approval.subject)
    is_denied = approval.status == ApprovalStatus.DENIED
    reason = "unknown_chat" if is_denied else "unknown_chat_expired"
    # With the question's id: a denial may become a yes later, and then these are replayed.
    outcome = f"{REFUSED} {approval.id}" if is_denied else f"refused: {reason}"
    if not give_up_waiting(asked.chat_id, outcome):
        return
    told = Delivery.objects.select_related("chat").filter(batch=_batch("wait", approval.id)).first()
    if told is not None:
        spot = Spot(told.chat, told.thread_id, told.reply_to)
        write_message(spot, [Piece(_WORDS[reason])], batch=_batch(reason, approval.id), task=None)


def _refuse(message: InboundMessage, reason: str) -> str:
    _say_once(message, _batch(reason, message.chat_id), _WORDS[reason])
    return f"refused: {reason}"


def _say_once(message: InboundMessage, batch: str, words: str) -> None:
    spot = Spot(message.chat, message.thread_id, message.platform_message_id)
    write_message(spot, [Piece(words)], batch=batch, task=None)


def _batch(what: str, about: uuid.UUID) -> str:
    return f"new_chat:{what}:{about}"
