"""Messages of people whom nobody here knows: kept until a person decides, then replayed in order, or refused."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass, replace

from django.db.models import F, Q, QuerySet

from services.domain.actors import Actor
from services.domain.approvals.actions import Question, close_locked_approval, request_approval
from services.domain.approvals.grants import register_grant, register_refusal
from services.domain.approvals.models import Approval, ApprovalScope, ApprovalStatus
from services.domain.approvals.subjects import UNKNOWN_SENDER, UnknownSenderSubject
from services.domain.chats.models import Delivery, InboundMessage
from services.domain.chats.sending import Piece, Spot, write_message
from services.domain.contacts.accounts import find_person
from services.domain.contacts.gate import Ruling, Standing, judge_sender
from services.domain.contacts.models import HeldMessage, HeldMessageState, LinkSender, SenderStanding
from services.domain.events.announcing import announce
from services.domain.events.types import SenderChanged
from services.domain.outbox.jobs import RouteMessage, enqueue
from services.kit.clock import now

# What a stranger can make wait, and so what one yes can set off.
MAX_HELD = 20
HELD = "held: unknown_sender"
REFUSED = "refused: unknown_sender"

_WORDS = {
    "unknown_sender": "I may not answer you.",
    "unknown_sender_strict": "I answer people whom I know. If you are a member here, link this account first.",
    "unknown_sender_expired": "Nobody has decided in time whether I may answer you. Write again, and I ask anew.",
    "unknown_senders_full": "I do not know you yet, and too many people wait already. Please write again later.",
}
_WAIT = "I do not know you yet. I have asked whether I may answer you, and keep your message until then."


@dataclass(frozen=True, slots=True)
class Passage:
    """What the gate said of a message. `outcome` is what became of one that it did not let through."""

    standing: Standing
    ruling: Ruling
    outcome: str | None = None


def pass_gate(message: InboundMessage, agent_id: uuid.UUID | None) -> Passage:
    """Keep a message from the agents if nobody here knows who wrote it.

    `agent_id` is the first agent that would answer, None if none would. Inside the tenant's transaction.
    Locks: the sender. Emits and queues: what `request_approval` and a reply do.
    """
    is_asking = agent_id is not None
    passage = _rule(message, is_asking=is_asking)
    if passage.ruling.becomes == "heard":
        return passage
    sender = _lock_sender_of(message)
    # Somebody may have decided about them while this waited for the lock.
    passage = _rule(message, is_asking=is_asking)
    match passage.ruling.becomes:
        case "heard":
            return passage
        case "held":
            return replace(passage, outcome=_hold(message, sender, agent_id))
    return replace(passage, outcome=_refuse(message, sender, passage.ruling.reason))


def standing_of(message: InboundMessage) -> Standing:
    """Return who a message's writer is, for this message. Inside the tenant's transaction."""
    standing = find_standing(message.link_id, message.sender_id)
    let_in = HeldMessage.objects.filter(message=message, state=HeldMessageState.LET_IN)
    if standing == Standing.UNKNOWN and let_in.exists():
        return Standing.LET_IN
    return standing


def find_standing(link_id: uuid.UUID, platform_user_id: str) -> Standing:
    """Return who somebody on a platform is to the organisation, inside the tenant's transaction."""
    if find_person(link_id, platform_user_id) is not None:
        return Standing.MEMBER
    said = LinkSender.objects.filter(link_id=link_id, platform_user_id=platform_user_id)
    return Standing(said.values_list("standing", flat=True).first() or Standing.UNKNOWN)


def may_speak(policy: str, link_id: uuid.UUID, platform_user_id: str) -> bool:
    """Say whether what somebody writes or presses may reach an agent. Inside the tenant's transaction."""
    standing = find_standing(link_id, platform_user_id)
    return judge_sender(policy, standing, is_asking=True).becomes == "heard"


def may_be_answer(message: InboundMessage) -> bool:
    """Say whether a message may answer what an agent asked. Inside the tenant's transaction."""
    return _rule(message, is_asking=True).ruling.becomes == "heard"


def set_standing(sender: LinkSender, standing: SenderStanding, user_id: uuid.UUID | None) -> None:
    """Write down what a person said about a locked sender. Emits: SenderChanged."""
    if sender.standing == standing:
        return
    sender.standing, sender.decided_by_id, sender.decided_at = standing, user_id, now()
    sender.save(update_fields=["standing", "decided_by", "decided_at"])
    tell_changed(sender, standing.value, user_id)


def tell_changed(sender: LinkSender, standing: str, user_id: uuid.UUID | None) -> None:
    """Say what became of a sender. Emits: SenderChanged."""
    event = SenderChanged.model_validate(
        {
            "sender_id": str(sender.id),
            "link_id": str(sender.link_id),
            "name": sender.display_name or sender.platform_user_id,
            "standing": standing,
            "user_id": str(user_id) if user_id else None,
        }
    )
    announce(event)


def allow_sender(sender: LinkSender, approval: Approval | None, user_id: uuid.UUID | None) -> None:
    """Hear a locked sender from now on, and all that waits. Emits: SenderChanged. Queues: RouteMessage."""
    set_standing(sender, SenderStanding.ALLOWED, user_id)
    _replay(sender, approval)


def deny_sender(sender: LinkSender, user_id: uuid.UUID | None) -> None:
    """Hear a locked sender no more; what waits is refused. Emits: SenderChanged. Queues: SendDelivery."""
    set_standing(sender, SenderStanding.DENIED, user_id)
    _give_up(sender, "unknown_sender", f"unknown_sender:{sender.id}")


def admit(message: InboundMessage, user_id: uuid.UUID | None) -> None:
    """Let a message's writer in, if nobody has said anything about them. Inside the tenant's transaction.

    Locks: the sender. Emits: SenderChanged. Queues: RouteMessage.
    """
    if find_standing(message.link_id, message.sender_id) == Standing.UNKNOWN:
        allow_sender(_lock_sender_of(message), None, user_id)


def welcome(message: InboundMessage) -> None:
    """Hear what waits of somebody who has just turned out to be a member; nobody is asked about them any more.

    Inside the tenant's transaction. Locks: the approval, then the sender. Queues: RouteMessage. Emits: ApprovalDecided.
    """
    senders = LinkSender.objects.filter(link_id=message.link_id, platform_user_id=message.sender_id)
    if (known := senders.first()) is None:
        return
    asked = open_questions_about(known).select_for_update(of=("self",)).first()
    sender = senders.select_for_update().first()
    if sender is not None:
        _replay(sender, None)
    if asked is not None:
        close_locked_approval(asked, ApprovalStatus.EXPIRED)


def open_questions_about(sender: LinkSender) -> QuerySet[Approval]:
    """Return what is asked about a sender and not decided; one at most."""
    return Approval.objects.filter(
        kind=UNKNOWN_SENDER, subject_key=_key_about(sender), status=ApprovalStatus.PENDING
    )


def register() -> None:
    """Tell the approvals what a yes and a no about a sender do."""
    register_grant(UNKNOWN_SENDER, ApprovalScope.ONCE, _let_in_once)
    register_grant(UNKNOWN_SENDER, ApprovalScope.ALWAYS, _let_in_always)
    register_refusal(UNKNOWN_SENDER, _turn_away)


def _rule(message: InboundMessage, *, is_asking: bool) -> Passage:
    standing = standing_of(message)
    return Passage(standing, judge_sender(message.link.unknown_senders, standing, is_asking=is_asking))


def _lock_sender_of(message: InboundMessage) -> LinkSender:
    _, is_new = LinkSender.objects.get_or_create(
        link_id=message.link_id,
        platform_user_id=message.sender_id,
        defaults={"org_id": message.org_id, "chat_id": message.chat_id},
    )
    sender = LinkSender.objects.select_for_update().get(
        link_id=message.link_id, platform_user_id=message.sender_id
    )
    sender.display_name = message.sender_name or sender.display_name
    sender.chat_id, sender.last_heard_at = message.chat_id, message.created_at
    sender.save(update_fields=["display_name", "chat", "last_heard_at"])
    if is_new:
        tell_changed(sender, "unknown", None)
    return sender


def _hold(message: InboundMessage, sender: LinkSender, agent_id: uuid.UUID | None) -> str:
    if sender.held_messages.filter(state=HeldMessageState.WAITING).count() >= MAX_HELD:
        return _refuse(message, sender, "unknown_sender_flood")
    asked = request_approval(
        Question(
            org_id=message.org_id,
            kind=UNKNOWN_SENDER,
            subject=_subject(message).stored(),
            agent_id=agent_id,
            identity=_identity(sender),
        )
    )
    if asked is None:
        return _refuse(message, sender, "unknown_senders_full")
    if asked.status == ApprovalStatus.DENIED:
        return _refuse(message, sender, "unknown_sender")
    HeldMessage.objects.update_or_create(
        message=message,
        defaults={"sender": sender, "approval": asked, "state": HeldMessageState.WAITING},
        create_defaults={"org_id": message.org_id, "sender": sender, "approval": asked},
    )
    _say_once(message, _wait_batch(asked.id), _WAIT)
    return f"{HELD} {asked.id}"


def _refuse(message: InboundMessage, sender: LinkSender, reason: str) -> str:
    LinkSender.objects.filter(id=sender.id).update(refused_messages=F("refused_messages") + 1)
    if words := _WORDS.get(reason):
        _say_once(message, f"{reason}:{sender.id}", words)
    return f"refused: {reason}"


def _identity(sender: LinkSender) -> dict[str, str]:
    # Not the account: who was forgotten and writes again is asked about anew.
    return {"sender": str(sender.id)}


def _key_about(sender: LinkSender) -> str:
    return Question(sender.org_id, UNKNOWN_SENDER, {}, identity=_identity(sender)).key


def _subject(message: InboundMessage) -> UnknownSenderSubject:
    return UnknownSenderSubject(
        link_id=message.link_id,
        chat_id=message.chat_id,
        sender_id=message.sender_id,
        sender_name=message.sender_name,
        chat_title=message.chat.title,
        text=message.text[:1_000],
    )


def _say_once(message: InboundMessage, batch: str, words: str) -> None:
    """Answer somebody who spoke to the bot, once for each batch. Where it was not spoken to, it does not speak up."""
    if message.is_mention:
        spot = Spot(message.chat, message.thread_id, message.platform_message_id)
        write_message(spot, [Piece(words)], batch=batch, task=None)


def _let_in_once(actor: Actor, approval: Approval) -> None:
    """Let in what waits in the chat that was asked about; what waits elsewhere is asked about anew."""
    sender = _lock_asked(approval)
    if sender is not None:
        set_standing(sender, SenderStanding.UNKNOWN, actor.user_id)
        chat_id = UnknownSenderSubject.model_validate(approval.subject).chat_id
        _replay(sender, approval, chat_ids=[chat_id])


def _let_in_always(actor: Actor, approval: Approval) -> None:
    sender = _lock_asked(approval)
    if sender is not None:
        allow_sender(sender, approval, actor.user_id)


def _turn_away(approval: Approval) -> None:
    """Refuse what waits for an approval that was denied or has expired; only a denial is remembered."""
    if approval.status == ApprovalStatus.DENIED:
        sender = _lock_asked(approval)
        if sender is not None:
            deny_sender(sender, approval.decided_by_id)
        return
    # Without a lock: whoever routes a message has the sender's, and may be waiting for the approval's.
    asked = _find_asked(approval).first()
    if asked is not None:
        _give_up(asked, "unknown_sender_expired", f"unknown_sender_expired:{approval.id}")


def _lock_asked(approval: Approval) -> LinkSender | None:
    """Return the sender that an approval is about, locked; None for one that was forgotten."""
    sender = _find_asked(approval).select_for_update().first()
    is_same = sender is not None and _key_about(sender) == approval.subject_key
    return sender if is_same else None


def _find_asked(approval: Approval) -> QuerySet[LinkSender]:
    asked = UnknownSenderSubject.model_validate(approval.subject)
    return LinkSender.objects.filter(link_id=asked.link_id, platform_user_id=asked.sender_id)


def _replay(
    sender: LinkSender, approval: Approval | None, *, chat_ids: Iterable[uuid.UUID] | None = None
) -> None:
    """Route anew what waits, and what this approval's own denial refused; of other chats as if it had just come."""
    waiting = Q(state=HeldMessageState.WAITING)
    if approval is not None:
        waiting |= Q(state=HeldMessageState.REFUSED, approval=approval)
    held = list(sender.held_messages.filter(waiting).select_related("message").order_by("message_id"))
    for one in held:
        if chat_ids is None or one.message.chat_id in chat_ids:
            one.state = HeldMessageState.LET_IN
            one.save(update_fields=["state"])
        else:
            one.delete()
        one.message.routed_at, one.message.outcome = None, ""
        one.message.save(update_fields=["routed_at", "outcome"])
        enqueue(RouteMessage(org_id=sender.org_id, message_id=one.message_id))


def _give_up(sender: LinkSender, reason: str, batch: str) -> None:
    """Refuse what waits, and say so where its writer was told to wait."""
    waiting = list(sender.held_messages.filter(state=HeldMessageState.WAITING).order_by("message_id"))
    if not waiting:
        return
    message_ids = [one.message_id for one in waiting]
    HeldMessage.objects.filter(message_id__in=message_ids).update(state=HeldMessageState.REFUSED)
    InboundMessage.objects.filter(id__in=message_ids).update(outcome=f"refused: {reason}")
    LinkSender.objects.filter(id=sender.id).update(refused_messages=F("refused_messages") + len(waiting))
    batches = {_wait_batch(one.approval_id) for one in waiting}
    told = Delivery.objects.select_related("chat").filter(batch__in=batches).order_by("-id").first()
    if told is not None:
        write_message(
            Spot(told.chat, told.thread_id, told.reply_to), [Piece(_WORDS[reason])], batch=batch, task=None
        )


def _wait_batch(approval_id: uuid.UUID | None) -> str:
    return f"unknown_sender_wait:{approval_id}"
