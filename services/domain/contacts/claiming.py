"""Messages that no wiring is asked about: commands, the answer to a question, what goes on in a claimed workspace."""

from __future__ import annotations

from services.domain.chat_commands.taking import COMMAND, take_command
from services.domain.chats.claiming_threads import CLAIMED, go_on_in_claim
from services.domain.chats.models import InboundMessage
from services.domain.contacts.holding import may_be_answer
from services.domain.contacts.saying import say
from services.domain.questions.replies import answer_by_message

ANSWER = "answer"
TAKEN = (ANSWER, COMMAND, CLAIMED)
"""How the outcomes of such messages begin. They are context for nobody."""


def take_message(message: InboundMessage) -> str | None:
    """Take a message that is not for the wirings to judge; returns what became of it, None for one to route as usual.

    Inside the tenant's transaction.
    """
    taken = take_command(message)
    if taken is not None:
        say(message, taken.words)
        return taken.outcome
    if may_be_answer(message) and answer_by_message(message):
        return ANSWER
    return go_on_in_claim(message)
