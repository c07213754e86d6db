"""Messages that are not for an agent's next task: a code that links an account, the answer to a question."""

from __future__ import annotations

from services.domain.chats.models import InboundMessage
from services.domain.chats.sending import Piece, Spot, write_message
from services.domain.contacts.accounts import claim_account, find_person
from services.domain.contacts.holding import may_be_answer, welcome
from services.domain.questions.replies import answer_by_message

ACCOUNT = "account"
ANSWER = "answer"
TAKEN = (ACCOUNT, ANSWER)


def take_message(message: InboundMessage) -> str | None:
    """Take a message that is for the platform itself; returns what it was, None for one to route as usual.

    Inside the tenant's transaction.
    """
    words = claim_account(message)
    if words is None:
        return ANSWER if may_be_answer(message) and answer_by_message(message) else None
    say(message, words)
    if find_person(message.link_id, message.sender_id) is not None:
        welcome(message)
    return ACCOUNT


def say(message: InboundMessage, words: str) -> None:
    """Answer a message in plain words of the platform's own, once."""
    spot = Spot(message.chat, message.thread_id, message.platform_message_id)
    write_message(spot, [Piece(words)], batch=f"reply:{message.id}", task=None)
