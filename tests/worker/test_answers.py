"""What becomes of a finished task's answer: to the chat that asked, and block by block to destinations. Once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from conftest import Tenant
from services.domain.chats.models import Chat, Delivery
from services.domain.chats.sending import SAID_BY_AGENT, Piece, Spot, batch_key, write_message
from services.domain.contacts.destinations import DestinationFields, create_destination
from services.domain.events.models import Event
from services.domain.outbox.jobs import DeliverAnswer
from services.domain.tasks.finish import Outcome, finish_locked_task
from services.domain.tasks.models import Task
from services.domain.tasks.submit import lock_task
from services.domain.tenancy.transaction import tenant_transaction
from services.worker.jobs import chats
from tests.domain.cast import submit
from tests.fakes.chat_places import ChatPlace, chat_place, deliver_to, drain

OPS = "-100200"


@pytest.fixture
def place(acme, monkeypatch) -> Iterator[ChatPlace]:
    """Give a direct chat, and a group as the destination `ops`."""
    with chat_place("telegram", acme, monkeypatch) as found:
        with tenant_transaction(acme.organisation.id):
            group = Chat.objects.create(
                org_id=acme.organisation.id,
                link=found.link,
                platform_chat_id=OPS,
                kind="group",
                title="Operations",
            )
        create_destination(acme.owner, DestinationFields(name="ops", chat_id=group.id))
        yield found


def finished(acme: Tenant, text: str, status: Any = "succeeded", **order: Any) -> Task:
    task = submit(acme, **order)
    with tenant_transaction(task.org_id):
        finish_locked_task(lock_task(task.id), Outcome(status, text=text))
    return task


def sent(place: ChatPlace) -> list[tuple[str, str]]:
    """List the chat and the text of what arrived."""
    return sorted(
        (str(entry["message"]["chat"]["id"]), entry["message"]["text"]) for entry in place.server.sent.all()
    )


def test_a_plain_answer_goes_to_the_chat_that_asked(acme, place):
    finished(acme, "**The** answer", deliver_to=deliver_to(place))
    drain()
    assert sent(place) == [("501", "The answer")]


def test_blocks_go_to_their_destinations_and_the_rest_to_the_chat_that_asked(acme, place):
    task = finished(
        acme,
        'Told them.\n<message to="ops">Deploy is **red**.</message>\n<message to="here">More follows.</message>',
        deliver_to=deliver_to(place),
    )
    for _ in range(2):
        chats.deliver_answer(DeliverAnswer(org_id=task.org_id, task_id=task.id))
    drain()
    assert sent(place) == [(OPS, "Deploy is red."), ("501", "Told them.\n\nMore follows.")]


def test_who_asked_is_told_where_an_answer_went_that_is_all_for_others(acme, place):
    finished(acme, '<message to="ops">red</message>', deliver_to=deliver_to(place))
    drain()
    assert sent(place) == [(OPS, "red"), ("501", "Sent to ops.")]


def test_a_block_for_an_unknown_name_is_told_back_with_its_reason(acme, place):
    task = finished(acme, 'Done. <message to="oops">the secret plan</message>', deliver_to=deliver_to(place))
    for _ in range(2):
        chats.deliver_answer(DeliverAnswer(org_id=task.org_id, task_id=task.id))
    drain()
    ((chat_id, text),) = sent(place)
    assert chat_id == "501"
    for words in ("Done.", "oops", "not one of your destinations", "the secret plan"):
        assert words in text
    (notice,) = Event.objects.using("operator").filter(type="notification.created")
    assert notice.stream == f"user:{acme.owner.user_id}"
    assert "the secret plan" in notice.data["message"]


def test_work_that_no_chat_asked_for_reaches_its_destinations_too(acme, place):
    finished(acme, 'Nobody reads this. <message to="ops">nightly: fine</message>')
    drain()
    assert sent(place) == [(OPS, "nightly: fine")]


def test_a_block_and_a_tool_call_with_the_same_words_to_the_same_place_go_out_once(acme, place):
    task = submit(acme, deliver_to=deliver_to(place))
    with tenant_transaction(task.org_id):
        group = Chat.objects.get(platform_chat_id=OPS)
        batch = batch_key(f"{SAID_BY_AGENT}{task.id}", group.id, "", "red", None, None)
        write_message(Spot(group), [Piece("red")], batch=batch, task=task)
        text = (
            '<message to="ops">red</message><message to="ops">red</message><message to="ops">green</message>'
        )
        finish_locked_task(lock_task(task.id), Outcome("succeeded", text=text))
    drain()
    assert sent(place) == [(OPS, "green"), (OPS, "red"), ("501", "Sent to ops.")]


def test_a_repeat_of_what_could_not_be_delivered_is_sent(acme, place):
    task = submit(acme, deliver_to=deliver_to(place))
    with tenant_transaction(task.org_id):
        batch = batch_key(f"{SAID_BY_AGENT}{task.id}", place.chat.id, "", "hello", None, None)
        write_message(Spot(place.chat), [Piece("hello")], batch=batch, task=task)
        Delivery.objects.update(status="failed")
        finish_locked_task(lock_task(task.id), Outcome("succeeded", text="hello"))
    drain()
    assert sent(place) == [("501", "hello")]


@pytest.mark.parametrize(
    ("status", "words"),
    [("failed", "did not work"), ("expired", "ran out of time"), ("cancelled", "Cancelled")],
)
def test_a_task_that_did_not_succeed_is_answered_and_sends_nothing_to_others(acme, place, status, words):
    finished(acme, 'so far <message to="ops">red</message>', status, deliver_to=deliver_to(place))
    drain()
    ((chat_id, text),) = sent(place)
    assert chat_id == "501"
    assert words in text


def test_a_task_without_text_is_still_answered(acme, place):
    finished(acme, "", deliver_to=deliver_to(place))
    drain()
    assert sent(place) == [("501", "Done. There was no text to show.")]
