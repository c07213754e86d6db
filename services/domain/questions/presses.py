"""Presses of buttons: kept once, then judged: who pressed, what for, and whether it is still open."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from services.domain.approvals.actions import Decision, Scope, decide_approval
from services.domain.approvals.kinds import KINDS
from services.domain.approvals.models import Approval
from services.domain.chats.actions import read_link_config
from services.domain.chats.inbound import LinkHandle
from services.domain.chats.models import Chat, Delivery, DeliveryKind, InboundMessage
from services.domain.chats.queries import lock_chat
from services.domain.contacts.accounts import find_person
from services.domain.contacts.holding import may_speak
from services.domain.errors import NotPermitted, QuestionClosed, SlipwayError
from services.domain.outbox.jobs import HandlePress, RouteMessage, ShowApprovalPage, enqueue
from services.domain.ports.chat import InboundPress, Place
from services.domain.questions.actions import Answer, apply_answer, lock_question
from services.domain.questions.cards import MORE, PICK, count_pages, is_shown
from services.domain.questions.models import ButtonPress
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now

_DECISIONS: dict[str, tuple[Decision, Scope]] = {
    "once": ("allow", "once"),
    "always": ("allow", "always"),
    "deny": ("deny", "once"),
}
UNKNOWN = "This button is not known any more."


@dataclass(frozen=True, slots=True)
class PressReply:
    """What whoever pressed is shown. `config` is open: do not log it."""

    kind: str
    config: dict[str, Any]
    place: Place
    press_ref: str
    person_id: str
    text: str
    is_refusal: bool


@dataclass(frozen=True, slots=True)
class _Verdict:
    outcome: str
    text: str
    is_refusal: bool = False


def store_presses(handle: LinkHandle, presses: Sequence[InboundPress]) -> int:
    """Keep verified presses, each once; returns how many were new. Queues: HandlePress for each."""
    stored = 0
    for press in presses:
        with tenant_transaction(handle.org_id):
            chat = Chat.objects.filter(link_id=handle.link_id, platform_chat_id=press.place.chat_id).first()
            if chat is None:
                continue
            row, is_new = ButtonPress.objects.get_or_create(
                link_id=handle.link_id,
                dedupe_key=press.dedupe_key[:200],
                defaults={
                    "org_id": handle.org_id,
                    "chat": chat,
                    "thread_id": press.place.thread_id or "",
                    "platform_message_id": press.message_id[:120],
                    "sender_id": press.sender.platform_id[:120],
                    "sender_name": press.sender.display_name[:200],
                    "value": press.value[:200],
                    "press_ref": press.press_ref[:400],
                },
            )
            if is_new:
                enqueue(HandlePress(org_id=handle.org_id, press_id=row.id))
                stored += 1
    return stored


def handle_press(org_id: uuid.UUID, press_id: uuid.UUID) -> PressReply | None:
    """Do what a press asks for, once, and return what to show; None when it was dealt with before.

    Locks: the press. Emits and queues: what answering or deciding does.
    """
    with tenant_transaction(org_id):
        press = (
            ButtonPress.objects.select_for_update(of=("self",))
            .select_related("link", "chat")
            .filter(id=press_id, handled_at=None)
            .first()
        )
        if press is None:
            return None
        verdict = _judge(press)
        press.outcome, press.handled_at = verdict.outcome[:40], now()
        press.save(update_fields=["outcome", "handled_at"])
        return PressReply(
            press.link.kind,
            read_link_config(press.link),
            Place(press.chat.platform_chat_id, press.thread_id or None),
            press.press_ref,
            press.sender_id,
            verdict.text,
            verdict.is_refusal,
        )


def _judge(press: ButtonPress) -> _Verdict:
    kind, _, rest = press.value.partition(":")
    try:
        with tenant_transaction(press.org_id):
            match kind:
                case "q":
                    return _answer(press, rest)
                case "a":
                    return _decide(press, rest)
                case "c":
                    return _say(press, rest)
    except SlipwayError as error:
        return _Verdict(error.code, error.message, is_refusal=True)
    return _Verdict("unknown", UNKNOWN, is_refusal=True)


def _answer(press: ButtonPress, rest: str) -> _Verdict:
    question_id, index = _read_id(rest)
    question = lock_question(question_id) if question_id else None
    # What a press brings back can be forged by whoever presses: it counts only in the chat that was asked.
    if question is None or question.chat_id != press.chat_id or not index.isdecimal():
        return _Verdict("unknown", UNKNOWN, is_refusal=True)
    option = int(index)
    if option >= len(question.options):
        return _Verdict("unknown", UNKNOWN, is_refusal=True)
    person = find_person(press.link_id, press.sender_id)
    if question.asked_of and person is None:
        raise NotPermitted("This question is for somebody else. If it is for you, link this account first.")
    if not may_speak(press.link.unknown_senders, press.link_id, press.sender_id):
        raise NotPermitted("I do not know you. If you are a member, link this account in the settings first.")
    label = question.options[option]
    user_id = person.user_id if person else None
    apply_answer(question, Answer(label, option, user_id, press.sender_name, press.link.kind))
    return _Verdict("answered", f"Answered: {label}")


def _decide(press: ButtonPress, rest: str) -> _Verdict:
    approval_id, word = _read_id(rest)
    # The card is where it was shown: what a press brings back can be forged by whoever presses.
    approval = Approval.objects.filter(id=approval_id).first() if approval_id else None
    if approval_id is None or approval is None or not is_shown(approval, press.chat):
        return _Verdict("unknown", UNKNOWN, is_refusal=True)
    said, page = _read_decision(approval, word), _read_page(approval, word)
    if said is None and page is None:
        return _Verdict("unknown", UNKNOWN, is_refusal=True)
    person = find_person(press.link_id, press.sender_id)
    if person is None:
        raise NotPermitted(
            "Only members decide this. If you are one, link this account in the settings first."
        )
    if said is None:
        enqueue(
            ShowApprovalPage(
                org_id=press.org_id, approval_id=approval_id, chat_id=press.chat_id, page=page or 0
            )
        )
        return _Verdict("paged", "Here are more.")
    decision, scope, choice = said
    approval = decide_approval(person, approval_id, decision, scope, choice=choice)
    if approval.status == "pending":
        return _Verdict("agreed", "Your yes is kept. More people must agree.")
    return _Verdict("decided", "Allowed." if decision == "allow" else "Denied.")


def _read_decision(approval: Approval, word: str) -> tuple[Decision, Scope, str] | None:
    """Read what a button of an approval says: a word, or the number of one of its choices."""
    if word in _DECISIONS:
        return (*_DECISIONS[word], "")
    number = word.removeprefix(PICK)
    if number == word or not number.isdecimal():
        return None
    offered = KINDS[approval.kind].choices_of(approval.subject)
    return ("allow", "always", offered[int(number)].value) if int(number) < len(offered) else None


def _read_page(approval: Approval, word: str) -> int | None:
    """Read which further page of an approval's choices a button asks for."""
    number = word.removeprefix(MORE)
    if number == word or not number.isdecimal():
        return None
    return int(number) if 0 < int(number) < count_pages(approval) else None


def _say(press: ButtonPress, rest: str) -> _Verdict:
    """Take the press of an agent's own card as if its label had been written in the chat."""
    card = Delivery.objects.filter(
        chat=press.chat, platform_message_id=press.platform_message_id, kind=DeliveryKind.CARD
    ).first()
    buttons = (card.payload or {}).get("buttons", []) if card is not None else []
    pressed = next((button for button in buttons if button.get("value") == f"c:{rest}"), None)
    if card is None or pressed is None:
        return _Verdict("unknown", UNKNOWN, is_refusal=True)
    if card.changes.exclude(kind=DeliveryKind.REACT).exists():
        raise QuestionClosed("This card has changed meanwhile.")
    lock_chat(press.chat_id)
    message = InboundMessage.objects.create(
        org_id=press.org_id,
        link_id=press.link_id,
        chat_id=press.chat_id,
        dedupe_key=f"press:{press.id}",
        thread_id=press.thread_id or card.thread_id,
        platform_message_id=press.platform_message_id,
        sender_id=press.sender_id,
        sender_name=press.sender_name,
        text=pressed["label"],
        is_mention=True,
        sent_at=press.created_at,
    )
    enqueue(RouteMessage(org_id=press.org_id, message_id=message.id))
    return _Verdict("said", pressed["label"])


def _read_id(rest: str) -> tuple[uuid.UUID | None, str]:
    text, _, word = rest.partition(":")
    try:
        return uuid.UUID(hex=text), word
    except ValueError:
        return None, word
