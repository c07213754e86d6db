"""The order of a chat: no answer overtakes an earlier one of its conversation, and what cannot go holds up nobody."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from conftest import Tenant
from services.domain.chats import line
from services.domain.chats.models import Chat, Delivery, DeliveryAttempt, ShownAnswer
from services.domain.outbox.jobs import DeliverAnswer, SendDelivery
from services.domain.outbox.models import OutboxJob
from services.domain.tasks.finish import Outcome, finish_locked_task
from services.domain.tasks.models import Task
from services.domain.tasks.submit import lock_task
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now
from services.worker.jobs import chats
from tests.domain.cast import submit
from tests.fakes.chat_places import ChatPlace, chat_place, deliver_to, drain
from tests.fakes.serving import Fault

OTHER = "-100200"


@pytest.fixture
def place(acme, monkeypatch) -> Iterator[ChatPlace]:
    """Give a direct chat."""
    with chat_place("telegram", acme, monkeypatch) as found:
        yield found


def ask(acme: Tenant, place: ChatPlace, count: int, **order: object) -> list[Task]:
    """Submit so many tasks of one conversation, one after the other."""
    first = submit(acme, deliver_to=deliver_to(place), **order)
    rest = [
        submit(acme, workspace_id=first.workspace_id, deliver_to=deliver_to(place)) for _ in range(count - 1)
    ]
    return [first, *rest]


def finish(task: Task, text: str, status: str = "succeeded") -> None:
    with tenant_transaction(task.org_id):
        finish_locked_task(lock_task(task.id), Outcome(status, text=text))


def deliver(*tasks: Task) -> None:
    """Run the jobs of the tasks' answers in this order, as workers may, and then what follows from them."""
    OutboxJob.objects.using("operator").filter(type="answer.deliver").delete()
    for task in tasks:
        chats.deliver_answer(DeliverAnswer(org_id=task.org_id, task_id=task.id))
    drain()


def show(task: Task) -> None:
    """Let a worker hold the lease to show the answer."""
    ShownAnswer.objects.using("operator").create(
        org_id=task.org_id, task=task, lease_until=now() + timedelta(seconds=12)
    )


def let_leases_lapse() -> None:
    ShownAnswer.objects.using("operator").update(lease_until=now() - timedelta(seconds=1))
    OutboxJob.objects.using("operator").update(not_before=now() - timedelta(seconds=1))


def test_answers_go_out_in_the_order_of_the_talk_whatever_the_order_of_their_jobs(acme, place):
    tasks = ask(acme, place, 3)
    for number, task in enumerate(tasks):
        finish(task, f"answer {number}")
    deliver(*reversed(tasks), *tasks)
    assert place.texts() == ["answer 0", "answer 1", "answer 2"]


def test_an_answer_waits_for_an_earlier_one_that_is_being_shown_and_nobody_elses_does(acme, place):
    first, second = ask(acme, place, 2)
    (of_another_agent,) = ask(acme, place, 1)
    show(first)
    for task, text in ((first, "shown"), (second, "behind it"), (of_another_agent, "another agent's")):
        finish(task, text)
    deliver(second, first, of_another_agent)
    assert place.texts() == ["another agent's"]
    let_leases_lapse()
    drain()
    assert place.texts() == ["another agent's", "shown", "behind it"]


def test_a_shared_workspace_answers_one_chat_while_another_waits(acme, place):
    (here,) = ask(acme, place, 1)
    with tenant_transaction(acme.organisation.id):
        there = Chat.objects.create(
            org_id=acme.organisation.id, link=place.link, platform_chat_id=OTHER, kind="group", title="Other"
        )
    elsewhere = submit(acme, workspace_id=here.workspace_id, deliver_to={"chat_id": str(there.id)})
    show(here)
    finish(here, "shown")
    finish(elsewhere, "to the other chat")
    deliver(here, elsewhere)
    assert place.texts() == ["to the other chat"]


def test_what_failed_expired_or_was_cancelled_keeps_its_place_and_holds_nobody_up(acme, place):
    *ended, last = ask(acme, place, 4)
    for task, status in zip(ended, ("failed", "expired", "cancelled"), strict=True):
        finish(task, status, status)
    finish(last, "the last")
    deliver(last)
    texts = place.texts()
    assert [word in text for word, text in zip(("failed", "expired", "cancelled"), texts, strict=False)] == [
        True,
        True,
        True,
    ]
    assert texts[3:] == ["the last"]


def test_one_that_ends_before_its_turn_does_not_wait_for_work_that_goes_on(acme, place):
    at_work, withdrawn = ask(acme, place, 2)
    finish(withdrawn, "", "cancelled")
    deliver(withdrawn)
    finish(at_work, "done")
    deliver(at_work)
    assert place.texts() == ["Cancelled.", "done"]


def test_an_answer_that_cannot_be_written_steps_out_of_the_line(acme, place, monkeypatch):
    broken, sound = ask(acme, place, 2)
    adapter = chats.adapters()["telegram"]
    render = adapter.render
    breaks = {"broken"}
    monkeypatch.setattr(adapter, "render", lambda text: 1 / 0 if text in breaks else render(text))
    finish(broken, "broken")
    finish(sound, "sound")
    deliver(sound)
    assert place.texts() == ["sound"]
    with pytest.raises(ZeroDivisionError):
        deliver(broken)
    # Once its fault is mended it is said, if late.
    breaks.clear()
    deliver(broken)
    assert place.texts() == ["sound", "broken"]


def test_a_message_that_nobody_could_send_yet_is_not_overtaken_however_old_it_is(acme, place):
    first, second = ask(acme, place, 2)
    finish(first, "first")
    finish(second, "second")
    for task in (first, second):
        chats.deliver_answer(DeliverAnswer(org_id=task.org_id, task_id=task.id))
    rows = Delivery.objects.using("operator").order_by("id")
    rows.update(created_at=now() - timedelta(hours=1))
    jobs = OutboxJob.objects.using("operator").filter(type="delivery.send")
    # The job of the first is lost with its worker, the second's comes; then the sweep wakes the first.
    jobs.filter(payload__batch=f"task:{first.id}").delete()
    drain()
    assert place.texts() == []
    chats.send_batch(SendDelivery(org_id=first.org_id, batch=f"task:{first.id}"))
    assert [job.payload["batch"] for job in jobs] == [f"task:{second.id}"]
    drain()
    assert place.texts() == ["first", "second"]


def test_one_that_its_platform_does_not_take_is_passed_after_a_while_and_one_that_failed_at_once(acme, place):
    stuck, second, third = ask(acme, place, 3)
    for task, text in ((stuck, "stuck"), (second, "second"), (third, "third")):
        finish(task, text)
    place.server.faults.plan(Fault("error", method="sendmessage"))
    place.server.faults.plan(Fault("forbid", method="sendmessage"))
    deliver(stuck, second, third)
    assert place.texts() == []
    attempts = DeliveryAttempt.objects.using("operator")
    attempts.update(started_at=now() - line.PATIENCE, note=line.DIED)
    # That senders died says nothing of the message.
    chats.send_batch(SendDelivery(org_id=second.org_id, batch=f"task:{second.id}"))
    assert Delivery.objects.using("operator").get(task=second).status == "queued"
    attempts.update(note="platform_away: gone")
    chats.send_batch(SendDelivery(org_id=second.org_id, batch=f"task:{second.id}"))
    assert Delivery.objects.using("operator").get(task=second).status == "failed"
    drain()
    assert place.texts() == ["third"]
