"""What a question or an approval looks like in a chat, and when its card has to change. Platforms render it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from services.domain.approvals.kinds import KINDS
from services.domain.approvals.models import Approval, ApprovalStatus
from services.domain.chats.models import Chat, Delivery, DeliveryKind
from services.domain.chats.sending import Piece, Spot, find_batch, write_change, write_message
from services.domain.questions.announcing import find_approval_spots
from services.domain.questions.models import Question, QuestionStatus
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now

SHORT_CHARS = 600
MAX_ARGUMENTS_CHARS = 3_000
# Before the number of what a press chooses.
PICK = "pick"
# Before the number of the page that a press asks for.
MORE = "more"
_CHOSEN_FROM = "agents"
# What a card has room for, beside a no and the next page.
PAGE_CHOICES = 8


@dataclass(frozen=True, slots=True)
class Choice:
    """A button: what it says, and what a press brings back."""

    label: str
    value: str


@dataclass(frozen=True, slots=True)
class CardDue:
    """A card to show, in Markdown. With `closing` it is shown already, and this is what replaces it.

    `hint` says how to answer in words; it stands below the text where there are no buttons.
    """

    kind: str
    batch: str
    text: str
    choices: Sequence[Choice] = ()
    hint: str = ""
    closing: str = ""


def find_question_card(org_id: uuid.UUID, question_id: uuid.UUID) -> CardDue | None:
    """Return what has to be shown of a question in its chat now, or None."""
    with tenant_transaction(org_id):
        question = Question.objects.select_related("chat__link", "agent").filter(id=question_id).first()
        if question is None or question.chat is None:
            return None
        batch = question_batch(question.id)
        head = f"**{question.agent.name} asks**\n\n"
        is_open = question.status == QuestionStatus.PENDING and question.expires_at > now()
        if not is_open:
            words = f"{head}{_short(question.text)}\n\n{_outcome(question)}"
            return CardDue(question.chat.link.kind, batch, "", closing=words)
        choices = [
            Choice(label, f"q:{question.id.hex}:{number}") for number, label in enumerate(question.options)
        ]
        hint = "Reply with the number, or in your own words." if choices else "Reply here to answer."
        return CardDue(question.chat.link.kind, batch, head + question.text, choices, hint)


def list_approval_cards(org_id: uuid.UUID, approval_id: uuid.UUID) -> list[CardDue]:
    """List what has to be shown of an approval in chats now: in each a card, or how it ended.

    With how it ended come the further pages that somebody asked for.
    """
    with tenant_transaction(org_id):
        approval = (
            Approval.objects.select_related("agent", "decided_by", "task").filter(id=approval_id).first()
        )
        if approval is None:
            return []
        pages = range(1 if _is_open(approval) else count_pages(approval))
        spots = find_approval_spots(approval)
        return [_approval_card(approval, spot.chat, page) for spot in spots for page in pages]


def find_approval_page(
    org_id: uuid.UUID, approval_id: uuid.UUID, chat_id: uuid.UUID, page: int
) -> CardDue | None:
    """Return a further page of what an open approval chooses between, for one of its chats; None when it is over."""
    with tenant_transaction(org_id):
        approval = Approval.objects.select_related("agent", "task").filter(id=approval_id).first()
        if approval is None or not _is_open(approval) or not 0 < page < count_pages(approval):
            return None
        chats = [spot.chat for spot in find_approval_spots(approval) if spot.chat.id == chat_id]
        return _approval_card(approval, chats[0], page) if chats else None


def count_pages(approval: Approval) -> int:
    """Return how many cards it takes to show all that an approval chooses between."""
    kind = KINDS[approval.kind]
    offered = len(kind.choices_of(approval.subject)) if kind.has_choice else 0
    return max(1, -(-offered // PAGE_CHOICES))


def _is_open(approval: Approval) -> bool:
    return approval.status == ApprovalStatus.PENDING and approval.expires_at > now()


def _approval_card(approval: Approval, chat: Chat, page: int) -> CardDue:
    platform, batch = chat.link.kind, approval_batch(approval.id, chat.id, page)
    kind = KINDS[approval.kind]
    who = approval.agent.name if approval.agent else kind.who
    subject = kind.show(approval.subject).replace("`", "'")
    text = f"**{who} {kind.question}** `{subject}`"
    if not _is_open(approval):
        return CardDue(platform, batch, "", closing=f"{text}\n\n{_decision(approval)}")
    if page > 0:
        text += f"\n\nPage {page + 1} of {count_pages(approval)}."
    elif arguments := _arguments(approval):
        text += f"\n\n```json\n{arguments}\n```"
    if approval.people > 1:
        text += f"\n\n{approval.people} people must agree."
    return CardDue(platform, batch, text, _buttons(approval, page), "Decide it in the dashboard.")


def _buttons(approval: Approval, page: int) -> list[Choice]:
    """Return what may be said to an approval; of what a yes chooses between, each is a button of its own.

    What one card has no room for is on the next one, which a button asks for.
    """
    kind, given = KINDS[approval.kind], f"a:{approval.id.hex}:"
    deny = Choice("Deny", f"{given}deny")
    if kind.has_choice:
        offered = list(enumerate(kind.choices_of(approval.subject)))
        shown = offered[page * PAGE_CHOICES : (page + 1) * PAGE_CHOICES]
        picks = [Choice(one.label, f"{given}{PICK}{number}") for number, one in shown]
        if page + 1 < count_pages(approval):
            picks.append(Choice("More…", f"{given}{MORE}{page + 1}"))
        return [*picks, deny]
    return [Choice("Allow once", f"{given}once"), Choice("Always", f"{given}always"), deny]


def write_question_card(org_id: uuid.UUID, question_id: uuid.UUID, pieces: Sequence[Piece]) -> None:
    """Write a question's card, once."""
    with tenant_transaction(org_id):
        question = Question.objects.select_related("chat__link", "task").get(id=question_id)
        if question.chat is not None:
            spot = Spot(question.chat, question.thread_id, question.reply_to)
            write_message(spot, pieces, batch=question_batch(question.id), task=question.task)


def write_approval_card(
    org_id: uuid.UUID, approval_id: uuid.UUID, batch: str, pieces: Sequence[Piece]
) -> None:
    """Write one of an approval's cards, once."""
    with tenant_transaction(org_id):
        approval = Approval.objects.select_related("task").get(id=approval_id)
        for spot in find_approval_spots(approval):
            if batch in _batches(approval, spot.chat):
                write_message(spot, pieces, batch=batch, task=approval.task)


def write_closing(org_id: uuid.UUID, batch: str, text: str) -> None:
    """Change a card that was shown to how it ended; nothing happens where none was."""
    with tenant_transaction(org_id):
        rows: list[Delivery] = find_batch(batch)
        if rows and rows[-1].status != "failed":
            write_change(rows[-1], DeliveryKind.EDIT, text=text, task=None)


def question_batch(question_id: uuid.UUID) -> str:
    """Return the batch of a question's card."""
    return f"question:{question_id}"


def approval_batch(approval_id: uuid.UUID, chat_id: uuid.UUID, page: int = 0) -> str:
    """Return the batch of an approval's card in one chat, or of a further page of it."""
    return f"approval:{approval_id}:{chat_id}" + (f":{page}" if page else "")


def _batches(approval: Approval, chat: Chat) -> list[str]:
    return [approval_batch(approval.id, chat.id, page) for page in range(count_pages(approval))]


def is_shown(approval: Approval, chat: Chat) -> bool:
    """Say whether a chat has been shown an approval. In the tenant's transaction."""
    return Delivery.objects.filter(batch__in=_batches(approval, chat), chat=chat).exists()


def _arguments(approval: Approval) -> str:
    """Return what one line cannot show, in full as far as a message can hold it; what is chosen from has buttons."""
    hidden = _CHOSEN_FROM if KINDS[approval.kind].has_choice else ""
    subject = {name: value for name, value in approval.subject.items() if name != hidden}
    text = json.dumps(subject, indent=1, ensure_ascii=False, sort_keys=True).replace("```", "'''")
    if len(text) > MAX_ARGUMENTS_CHARS:
        return text[:MAX_ARGUMENTS_CHARS] + "\n… the rest is in the dashboard"
    return text


def _outcome(question: Question) -> str:
    match question.status:
        case QuestionStatus.ANSWERED:
            by = f" ({question.answered_by_name})" if question.answered_by_name else ""
            return f"✅ {_short(question.answer)}{by}"
        case QuestionStatus.WITHDRAWN:
            return "The work that asked this is over."
    return "⌛ Nobody answered in time."


def _decision(approval: Approval) -> str:
    by = ""
    if approval.decided_by is not None:
        by = f" by {approval.decided_by.shown_name}"
    match approval.status:
        case ApprovalStatus.ALLOWED:
            if approval.choice:
                return f"✅ {_chosen(approval)}{by}."
            return f"✅ Allowed{' always' if approval.scope == 'always' else ' once'}{by}."
        case ApprovalStatus.DENIED:
            return f"⛔ Denied{by}."
    return "⌛ Nobody decided in time."


def _chosen(approval: Approval) -> str:
    offered = KINDS[approval.kind].choices_of(approval.subject)
    return next((one.label for one in offered if one.value == approval.choice), "Another was chosen")


def _short(text: str) -> str:
    return text if len(text) <= SHORT_CHARS else text[:SHORT_CHARS] + "…"
