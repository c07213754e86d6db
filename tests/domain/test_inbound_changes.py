"""What people do to their messages afterwards, the stop button, and the order of one chat's messages."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta

import pytest
from django.db import connections

from conftest import Tenant, recorded
from services.domain.chats import answering
from services.domain.chats.actions import create_link
from services.domain.chats.answering import MAX_FAILURES, route_message
from services.domain.chats.changes import handle_event
from services.domain.chats.listening import HEARD_WITHIN, list_heard
from services.domain.chats.models import InboundEvent, InboundMessage
from services.domain.chats.stopping import stop_turns, tasks_of_place
from services.domain.errors import Temporary
from services.domain.outbox.models import OutboxJob
from services.domain.ports.chat import ChatKind, Place
from services.domain.tasks.models import TaskStatus
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now
from tests.domain.cast import Runner, start
from tests.domain.chat_bot import Bot, bot_of

GROUP = ChatKind.GROUP


@pytest.fixture
def bot(acme: Tenant) -> Bot:
    return bot_of(acme, unknown_senders="public")


def at_work(bot: Bot) -> Runner:
    """Start the newest task."""
    task = bot.tasks()[-1]
    runner = Runner(task, start(task).sandbox.id)
    runner.says("turn.started", provider="shell")
    return runner


def test_an_edit_is_kept_once_however_often_the_platform_says_it(bot: Bot):
    bot.hears("one")
    with recorded() as seen:
        bot.sees_change("u1", "two", key="edit")
        bot.sees_change("u1", "two", key="edit")
    assert seen.event_types == ["message.edited"]
    assert bot.event_outcomes() == ["changed"]
    event = InboundEvent.objects.using("operator").get()
    assert handle_event(event.org_id, event.id) is None


def test_an_edit_changes_a_turn_that_has_not_begun(bot: Bot):
    bot.hears("echo one")
    bot.sees_change("u1", "echo two")
    assert bot.prompts() == ["echo two"]
    assert InboundMessage.objects.using("operator").get().text == "echo two"


def test_an_edit_of_what_a_turn_has_taken_reaches_the_agent_as_context(bot: Bot):
    bot.hears("echo one")
    runner = at_work(bot)
    bot.sees_change("u1", "echo two")
    assert bot.prompts() == ["echo one"]
    assert bot.event_outcomes() == ["context"]
    runner.says("turn.done", status="succeeded", text="one")
    bot.hears("and now?", "again")
    _, told, after = bot.prompts()
    assert "(Eve edited an earlier message, which says now: echo two)" in told
    assert after == "again"


def test_a_message_that_changes_before_it_is_routed_is_routed_as_it_is_now(bot: Bot):
    bot.takes("echo one")
    OutboxJob.objects.using("operator").all().delete()
    bot.sees_change("u1", "echo two")
    message = InboundMessage.objects.using("operator").get()
    route_message(message.org_id, message.id)
    assert bot.prompts() == ["echo two"]


def test_a_change_that_comes_before_its_message_is_kept_for_it(bot: Bot):
    bot.hears("first")
    bot.sees_change("u3", "echo two")
    assert bot.event_outcomes() == ["no_message"]
    assert bot.takes("echo one") == "u3"
    bot.routes()
    assert bot.prompts()[-1] == "echo two"
    assert bot.event_outcomes() == ["changed"]


def test_what_a_platform_reports_without_a_change_is_none(bot: Bot):
    bot.hears("see https://example.com")
    bot.sees_change("u1", "see https://example.com")
    assert bot.event_outcomes() == ["unchanged"]


def test_a_deleted_message_is_no_context_any_more(bot: Bot):
    bot.hears("the secret is 42", "the build is red", kind=GROUP, mention=False)
    bot.sees_change("u1", None)
    bot.hears("why?", kind=GROUP)
    (prompt,) = bot.prompts()
    assert "42" not in prompt
    assert "the build is red" in prompt
    assert InboundMessage.objects.using("operator").order_by("id").first().text == ""


def test_a_turn_that_has_not_begun_ends_with_its_message(bot: Bot):
    bot.hears("never mind this")
    bot.sees_change("u1", None)
    (task,) = bot.tasks()
    assert (task.status, task.error_code) == (TaskStatus.CANCELLED, "message_deleted")
    assert bot.said() == []


def test_a_deleted_message_that_nobody_has_routed_becomes_nothing(bot: Bot):
    bot.takes("oops")
    OutboxJob.objects.using("operator").all().delete()
    bot.sees_change("u1", None)
    bot.sees_change("u1", "again")
    message = InboundMessage.objects.using("operator").get()
    route_message(message.org_id, message.id)
    assert bot.outcomes() == ["deleted"]
    assert bot.event_outcomes() == ["changed", "deleted_before"]
    assert bot.tasks() == []


def test_the_deletion_of_what_a_turn_has_taken_reaches_the_agent_as_context(bot: Bot):
    bot.hears("echo one")
    at_work(bot).says("turn.done", status="succeeded", text="one")
    bot.sees_change("u1", None)
    bot.hears("and now?")
    assert "(Eve deleted an earlier message.)" in bot.prompts()[-1]


def test_another_tenants_event_is_none(bot: Bot, globex: Tenant):
    bot.hears("one")
    bot.takes("two")
    bot.sees_change("u1", "changed")
    event = InboundEvent.objects.using("operator").get()
    InboundEvent.objects.using("operator").update(handled_at=None)
    assert handle_event(globex.organisation.id, event.id) is None


def test_the_stop_button_cancels_what_is_at_work_in_its_place_only(bot: Bot):
    bot.hears("sleep 9", chat="1")
    bot.hears("sleep 9", chat="2")
    first, second = bot.tasks()
    bot.sees_stop(chat="1")
    assert [task.status for task in bot.tasks()] == [TaskStatus.CANCELLED, TaskStatus.QUEUED]
    runner = Runner(second, start(second).sandbox.id)
    runner.says("turn.started", provider="shell")
    bot.sees_stop(chat="2")
    assert bot.tasks()[1].cancel_requested_at is not None
    assert bot.event_outcomes() == ["stopped", "stopped"]
    assert first.id != second.id


def test_a_stop_where_nothing_is_at_work_says_so(bot: Bot):
    bot.hears("hello")
    bot.sees_stop()
    bot.sees_stop()
    assert bot.event_outcomes() == ["stopped", "nothing_at_work"]


def test_who_is_not_heard_stops_nothing_and_nobody_stops_a_members_work_but_they_and_admins(
    bot: Bot, acme: Tenant
):
    bot.hears("first", who="8")
    bot.links("bob", who="8")
    bot.hears("mine", who="8", chat="200")
    (_, mine) = bot.tasks()
    assert mine.user_id == acme.people["bob"].user_id
    bot.sees_stop(who="9", chat="200")
    assert bot.event_outcomes() == ["refused"]
    bot.links("alice", who="9")
    bot.sees_stop(who="9", chat="200")
    assert bot.event_outcomes() == ["refused", "stopped"]
    bot.becomes("strict")
    bot.sees_stop(who="10")
    assert bot.event_outcomes()[-1] == "refused"
    bot.sees_stop(who="8")
    assert bot.event_outcomes()[-1] == "stopped"


def test_a_thread_is_a_place_of_its_own(bot: Bot):
    bot.hears("in a thread", kind=GROUP, thread="5")
    message = InboundMessage.objects.using("operator").select_related("chat__link").get()
    with tenant_transaction(message.org_id):
        assert not tasks_of_place(message.chat_id, "").exists()
        assert stop_turns(message.chat, "", "7").count == 0
        assert stop_turns(message.chat, "5", "7").count == 1


def test_jobs_of_one_chat_that_run_at_once_and_out_of_order_keep_its_order(bot: Bot):
    texts = [f"message {number}" for number in range(8)]
    for text in texts:
        bot.takes(text)
    ids = list(InboundMessage.objects.using("operator").order_by("-id").values_list("id", flat=True))
    barrier = threading.Barrier(len(ids))

    def route(message_id) -> None:
        barrier.wait(30)
        route_message(bot.handle.org_id, message_id)
        connections.close_all()

    threads = [threading.Thread(target=route, args=(message_id,)) for message_id in ids]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert bot.prompts() == texts


def test_a_message_that_cannot_be_routed_is_given_up_and_holds_nobody_up_for_ever(bot: Bot, monkeypatch):
    bot.takes("poison")
    bot.takes("fine")
    judge = answering.judge_message

    def fail(message, *facts):
        if message.text == "poison":
            raise RuntimeError("a bug")
        return judge(message, *facts)

    monkeypatch.setattr(answering, "judge_message", fail)
    second = InboundMessage.objects.using("operator").order_by("id").last()
    for _ in range(MAX_FAILURES - 1):
        with pytest.raises(RuntimeError):
            route_message(second.org_id, second.id)
    assert bot.outcomes() == ["", ""]
    route_message(second.org_id, second.id)
    assert bot.outcomes() == ["failed: RuntimeError", "task:"]
    bot.routes()
    assert any("send it again" in words for words in bot.said())


def test_what_is_only_away_costs_a_message_no_attempt(bot: Bot, monkeypatch):
    bot.takes("patience")

    def away(*_: object, **__: object) -> None:
        raise Temporary("away")

    monkeypatch.setattr(answering, "judge_message", away)
    message = InboundMessage.objects.using("operator").get()
    for _ in range(MAX_FAILURES + 1):
        with pytest.raises(Temporary):
            route_message(message.org_id, message.id)
    assert InboundMessage.objects.using("operator").get().failures == 0


def test_what_bots_say_is_context_and_never_a_question_to_us(bot: Bot):
    bot.hears("build 7 failed", who="B1", kind=GROUP, is_bot=True)
    assert bot.outcomes() == ["context: bot"]
    bot.hears("why?", kind=GROUP)
    assert "build 7 failed" in bot.prompts()[0]


def test_where_somebody_was_heard_lately_is_listed_with_the_last_message_there(bot: Bot):
    bot.takes("one")
    bot.takes("two", chat="200", thread="t1")
    bot.takes("three")
    bot.takes("four", chat="300")
    bot.takes("five", chat="200", thread="t2")
    with tenant_transaction(bot.handle.org_id):
        InboundMessage.objects.filter(platform_message_id="u4").update(
            created_at=now() - HEARD_WITHIN - timedelta(seconds=1)
        )
    other = create_link(bot.tenant.owner, kind="made-up", name="Other", config={})
    elsewhere = replace(bot.handle, link_id=other.id)
    assert list_heard(bot.handle) == [
        (Place("200", "t2"), "u5"),
        (Place("100"), "u3"),
        (Place("200", "t1"), "u2"),
    ]
    assert list_heard(elsewhere) == []
