"""Answers that people write in the chat where they were asked."""

from __future__ import annotations

from services.domain.chats.models import InboundMessage
from services.domain.contacts.accounts import find_person
from services.domain.questions.actions import Answer, apply_answer, lock_question, read_words
from services.domain.questions.models import Question, QuestionStatus
from services.kit.clock import now


def answer_by_message(message: InboundMessage) -> bool:
    """Take a message as the answer to what was asked last in its chat and thread, if its writer may answer.

    In a thread all that is said answers, elsewhere only what is said to the bot. Inside the tenant's transaction.
    """
    if not (message.is_mention or message.thread_id) or not message.text.strip():
        return False
    asked = Question.objects.filter(
        chat_id=message.chat_id,
        thread_id=message.thread_id,
        status=QuestionStatus.PENDING,
        expires_at__gt=now(),
        asked_at__lte=message.created_at,
    ).order_by("-id")
    person = find_person(message.link_id, message.sender_id)
    user_id = person.user_id if person else None
    for question_id, asked_of in asked.values_list("id", "asked_of"):
        if asked_of and user_id not in asked_of:
            continue
        question = lock_question(question_id)
        if question is None or question.status != QuestionStatus.PENDING or question.expires_at <= now():
            continue
        text, option = read_words(question, message.text)
        by = message.sender_name or message.sender_id
        apply_answer(question, Answer(text, option, user_id, by, message.link.kind))
        return True
    return False
