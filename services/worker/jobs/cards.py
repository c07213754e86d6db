"""Showing questions and approvals in chats, and answering the presses of their buttons."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict

from services.adapters.chat.cards import render_card
from services.domain.chats.models import DeliveryKind
from services.domain.chats.sending import Piece
from services.domain.errors import SlipwayError
from services.domain.outbox.jobs import HandlePress, ShowApproval, ShowApprovalPage, ShowQuestion
from services.domain.ports.chat_abilities import Button, Edits, HasButtons
from services.domain.questions import cards, presses
from services.worker.jobs import chats

log = logging.getLogger(__name__)


def show_question(job: ShowQuestion) -> None:
    """Write a question's card, or the change of it that says how it ended."""
    due = cards.find_question_card(job.org_id, job.question_id)
    _show(due, job, lambda pieces: cards.write_question_card(job.org_id, job.question_id, pieces))


def show_approval(job: ShowApproval) -> None:
    """Write an approval's cards, or the changes of them that say how it ended."""
    for due in cards.list_approval_cards(job.org_id, job.approval_id):
        write = functools.partial(cards.write_approval_card, job.org_id, job.approval_id, due.batch)
        _show(due, job, write)


def show_approval_page(job: ShowApprovalPage) -> None:
    """Write a further page of an approval's choices, once."""
    due = cards.find_approval_page(job.org_id, job.approval_id, job.chat_id, job.page)
    if due is not None:
        _show(due, job, functools.partial(cards.write_approval_card, job.org_id, job.approval_id, due.batch))


def handle_press(job: HandlePress) -> None:
    """Do what a press asks for, then show whoever pressed what came of it: a courtesy that no more hangs on."""
    reply = presses.handle_press(job.org_id, job.press_id)
    if reply is None:
        return
    adapter = chats.adapters()[reply.kind]
    config = adapter.config_model.model_validate(reply.config)
    if not isinstance(adapter, HasButtons):
        return
    try:
        adapter.answer_press(
            config,
            reply.place,
            reply.press_ref,
            reply.person_id,
            reply.text,
            is_refusal=reply.is_refusal,
        )
    except SlipwayError as error:
        log.info("a press was not answered: %s", error)


def _show(
    due: cards.CardDue | None,
    job: ShowQuestion | ShowApproval | ShowApprovalPage,
    write: Callable[[Sequence[Piece]], None],
) -> None:
    if due is None:
        return
    adapter = chats.adapters()[due.kind]
    if due.closing:
        if isinstance(adapter, Edits):
            cards.write_closing(job.org_id, due.batch, adapter.render(due.closing)[0])
        return
    rendered = render_card(
        adapter, due.text, [Button(one.label, one.value) for one in due.choices], hint=due.hint
    )
    *before, last = rendered.parts
    payload = {"buttons": [asdict(button) for button in rendered.buttons]}
    kind = DeliveryKind.CARD if rendered.buttons else DeliveryKind.TEXT
    write([*(Piece(part) for part in before), Piece(last, kind, payload if rendered.buttons else None)])
