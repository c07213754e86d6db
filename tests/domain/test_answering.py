"""What becomes of messages: who takes them, what is kept for later, and the record of why."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest

from conftest import Tenant
from services.domain.actors import Actor
from services.domain.agents.actions import AgentFields, create_agent, update_agent
from services.domain.chats import answering, judging
from services.domain.chats.models import Decision, Engagement, InboundMessage
from services.domain.chats.queries import get_decided, list_decided
from services.domain.chats.wirings import update_wiring
from services.domain.contacts.quiet import QuietHours
from services.domain.errors import (
    ChatMessageMissing,
    ChatMissing,
    ConfigInvalid,
    PatternInvalid,
    PatternTooCostly,
    RoleMissing,
    ScopeMissing,
)
from services.domain.identity.models import Organisation
from services.domain.ports.chat import ChatKind
from services.domain.tasks.models import TaskMessage, TaskStatus
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now
from tests.domain.cast import Runner, start
from tests.domain.chat_bot import Bot, bot_of

GROUP = ChatKind.GROUP


@pytest.fixture
def bot(acme: Tenant) -> Bot:
    return bot_of(acme, unknown_senders="public")


def in_group(bot: Bot, **fields: Any) -> None:
    """Let the bot know a group, and wire it so."""
    bot.hears("hello all", kind=GROUP, mention=False)
    InboundMessage.objects.using("operator").all().delete()
    bot.wires(**fields)


def says(bot: Bot, *texts: str, mention: bool = False, **said: Any) -> None:
    bot.hears(*texts, kind=GROUP, mention=mention, **said)


def decisions() -> list[Decision]:
    return list(Decision.objects.using("operator").order_by("message_id"))


def entries(decision: Decision) -> list[tuple[str, str]]:
    return [(entry["reason"], entry["becomes"]) for entry in decision.wirings]


def at_work(bot: Bot) -> Runner:
    task = bot.tasks()[-1]
    runner = Runner(task, start(task).sandbox.id)
    runner.says("turn.started", provider="shell")
    return runner


# --- The record ------------------------------------------------------------------------------------------


def test_a_decision_says_what_each_wiring_and_the_gate_said_and_what_became_of_it(acme: Tenant, bot: Bot):
    other = create_agent(acme.owner, AgentFields(name="Other"))
    in_group(bot, engage="mention", priority=5)
    bot.wires(agent_id=other.id, engage="never", unanswered="drop")
    says(bot, "do it", mention=True)
    (decision,) = decisions()
    (task,) = bot.tasks()
    assert (decision.standing, decision.ruling, decision.reason) == ("unknown", "heard", "public")
    assert entries(decision) == [("mentioned", "task"), ("never", "dropped")]
    first, second = decision.wirings
    assert (first["agent"], first["task_id"], second["agent"], second["task_id"]) == (
        "Shell", str(task.id), "Other", None,
    )  # fmt: skip
    assert bot.outcomes() == ["task:"]


def test_what_is_refused_or_held_is_on_record_and_nobodys_context(bot: Bot):
    in_group(bot, engage="always")
    bot.becomes("strict")
    says(bot, "let me in", mention=True)
    bot.becomes("request_approval")
    says(bot, "and now?", mention=True)
    refused, held = decisions()
    assert (refused.ruling, refused.reason, entries(refused)) == (
        "refused", "unknown_sender_strict", [("always", "refused")],
    )  # fmt: skip
    assert (held.ruling, entries(held)) == ("held", [("always", "held")])
    bot.becomes("public")
    says(bot, "third")
    assert bot.prompts() == ["third"]


def test_a_replayed_message_has_the_decision_of_the_last_time(bot: Bot):
    bot.becomes("request_approval")
    bot.hears("let me in")
    bot.decides("allow")
    (decision,) = decisions()
    assert (decision.standing, decision.ruling, entries(decision)) == (
        "let_in",
        "heard",
        [("always", "task")],
    )


def test_a_decision_and_its_outcome_are_written_together_or_not_at_all(bot: Bot, monkeypatch):
    bot.takes("hello")

    def fail(*_: object) -> None:
        raise RuntimeError("the last line")

    monkeypatch.setattr(answering, "_write_down", fail)
    message = InboundMessage.objects.using("operator").get()
    with pytest.raises(RuntimeError):
        answering.route_message(message.org_id, message.id)
    assert (bot.outcomes(), bot.tasks(), decisions()) == ([""], [], [])


def test_decisions_are_read_by_who_may_read_chats_and_by_no_other_tenant(
    acme: Tenant, globex: Tenant, bot: Bot
):
    bot.hears("hello")
    message = InboundMessage.objects.using("operator").get()
    with tenant_transaction(acme.organisation.id):
        assert get_decided(acme.owner, message.id).decision.ruling == "heard"
        assert [row.id for row in list_decided(acme.owner, message.chat_id)] == [message.id]
        with pytest.raises(ScopeMissing):
            list_decided(Actor(acme.organisation.id, "token", scopes=frozenset()), message.chat_id)
    with tenant_transaction(globex.organisation.id):
        with pytest.raises(ChatMessageMissing):
            get_decided(globex.owner, message.id)
        with pytest.raises(ChatMissing):
            list_decided(globex.owner, message.chat_id)
        assert not Decision.objects.exists()


# --- Context ---------------------------------------------------------------------------------------------


def test_context_is_given_once_and_to_the_agent_that_keeps_it(acme: Tenant, bot: Bot):
    other = create_agent(acme.owner, AgentFields(name="Other"))
    in_group(bot, engage="mention", priority=5)
    bot.wires(agent_id=other.id, engage="pattern", pattern="^!other")
    says(bot, "the build is red")
    says(bot, "why?", mention=True)
    says(bot, "!other and you?")
    says(bot, "thanks", mention=True)
    why, you, thanks = bot.prompts()
    assert "the build is red" in why
    assert "the build is red" in you
    assert "why?" in you
    assert "the build is red" not in thanks
    assert "!other and you?" in thanks


def test_what_is_dropped_is_no_context(bot: Bot):
    in_group(bot, engage="mention", unanswered="drop")
    says(bot, "between us")
    says(bot, "hello", mention=True)
    assert bot.outcomes()[0] == "dropped: not_mentioned"
    assert bot.prompts() == ["hello"]


def test_an_exclusive_wiring_that_answers_leaves_the_others_out(acme: Tenant, bot: Bot):
    other = create_agent(acme.owner, AgentFields(name="Other"))
    in_group(bot, engage="mention", priority=5, is_exclusive=True)
    bot.wires(agent_id=other.id, engage="always")
    says(bot, "one")
    says(bot, "two", mention=True)
    assert [entries(decision) for decision in decisions()] == [
        [("not_mentioned", "context"), ("always", "task")],
        [("mentioned", "task"), ("outranked", "context")],
    ]


# --- Sticky ----------------------------------------------------------------------------------------------


def test_once_mentioned_in_a_thread_it_goes_on_answering_there(bot: Bot):
    in_group(bot, engage="mention-sticky", session_mode="per-thread")
    says(bot, "before", thread="5")
    says(bot, "hey bot", thread="5", mention=True)
    says(bot, "and more", "from another", thread="5", who="8")
    says(bot, "elsewhere", thread="6")
    assert bot.outcomes() == ["context: not_mentioned", *["task:"] * 3, "context: not_mentioned"]


def test_without_threads_it_goes_on_with_who_mentioned_it_for_a_while(bot: Bot):
    in_group(bot, engage="mention-sticky")
    says(bot, "hey bot", mention=True)
    says(bot, "and more")
    says(bot, "I am another", who="8")
    Engagement.objects.using("operator").update(engaged_at=now() - timedelta(minutes=11))
    says(bot, "later")
    assert bot.outcomes() == ["task:", "task:", "context: not_mentioned", "context: not_mentioned"]


# --- Scope, quiet hours, bots -----------------------------------------------------------------------------


def test_a_wiring_for_named_people_answers_them_alone(acme: Tenant, bot: Bot):
    bob = acme.people["bob"].user_id
    in_group(bot, engage="always", sender_scope="people", people=[str(bob)])
    says(bot, "I am nobody")
    bot.links("bob", who="8")
    says(bot, "I am Bob", who="8")
    assert bot.outcomes() == ["context: sender_not_named", "task:"]


def test_in_quiet_hours_it_keeps_what_is_said_and_says_so_once(bot: Bot, monkeypatch):
    in_group(bot, engage="always")
    asleep = QuietHours(time_zone="Europe/Berlin", quiet_from="22:00", quiet_to="07:00")
    until = now() + timedelta(hours=2)
    monkeypatch.setattr(QuietHours, "quiet_until", lambda hours, moment: until if hours == asleep else None)
    wiring = bot.wires(engage="always", **asleep.model_dump())
    says(bot, "are you there?", mention=True)
    says(bot, "hello?", mention=True)
    says(bot, "among us")
    assert bot.outcomes() == ["context: quiet_hours"] * 3
    (words,) = bot.said()
    assert "quiet hours until" in words
    assert "Europe/Berlin" in words
    update_wiring(bot.tenant.owner, wiring.id, {"quiet_from": None, "quiet_to": None})
    says(bot, "good morning", mention=True)
    assert "are you there?" in bot.prompts()[0]


def test_two_bots_do_not_answer_each_other_for_ever(bot: Bot):
    in_group(bot, engage="always", bot_turns=2)
    for number in range(4):
        says(bot, f"beep {number}", who="B1", is_bot=True)
    assert bot.outcomes() == ["task:", "task:", "context: bot_turns_used", "context: bot_turns_used"]
    says(bot, "stop it, both")
    says(bot, "beep", who="B1", is_bot=True)
    assert bot.outcomes()[4:] == ["task:", "task:"]


def test_a_bot_that_reports_now_and_then_is_heard_each_time(bot: Bot):
    in_group(bot, engage="always", bot_turns=1)
    says(bot, "nightly build", who="B1", is_bot=True)
    InboundMessage.objects.using("operator").update(created_at=now() - judging.BOT_WINDOW)
    says(bot, "nightly build", who="B1", is_bot=True)
    assert bot.outcomes() == ["task:", "task:"]


def test_a_bot_that_nobody_knows_waits_for_a_word_like_anybody(bot: Bot):
    in_group(bot, engage="always", bot_turns=1)
    bot.becomes("request_approval")
    says(bot, "beep", who="B1", is_bot=True)
    assert bot.outcomes() == ["held: unknown_sender"]


# --- Double text -----------------------------------------------------------------------------------------


def set_busy(bot: Bot, when_busy: str) -> None:
    update_agent(bot.tenant.owner, bot.tenant.agent.id, {"when_busy": when_busy})


def test_a_message_goes_into_the_turn_at_work(bot: Bot):
    bot.hears("first")
    runner = at_work(bot)
    bot.hears("second")
    (sent,) = TaskMessage.objects.using("operator").all()
    assert (sent.text, sent.task_id) == ("second", runner.task.id)
    assert (bot.outcomes(), len(bot.tasks())) == (["task:", "steered:"], 1)
    assert entries(decisions()[1]) == [("always", "steered")]


def test_what_the_turn_at_work_did_not_take_is_the_next_one(bot: Bot):
    from services.domain.tasks.messages import submit_left_messages

    bot.hears("first")
    runner = at_work(bot)
    bot.hears("second")
    runner.says("turn.done", status="succeeded", text="done")
    submit_left_messages(runner.task.org_id, runner.task.id)
    assert bot.prompts() == ["first", "second"]
    assert bot.tasks()[1].deliver_to == bot.tasks()[0].deliver_to


def test_what_a_turn_did_not_take_comes_before_what_is_said_after_it(bot: Bot):
    from services.domain.tasks.messages import submit_left_messages

    bot.hears("first")
    runner = at_work(bot)
    bot.hears("second")
    runner.says("turn.done", status="succeeded", text="done")
    # Routed before the job comes that submits what is left.
    bot.hears("third")
    assert bot.prompts() == ["first", "second", "third"]
    submit_left_messages(runner.task.org_id, runner.task.id)
    assert len(bot.tasks()) == 3


def test_a_message_while_nothing_has_begun_is_work_of_its_own(bot: Bot):
    bot.hears("first", "second")
    assert bot.prompts() == ["first", "second"]


def test_a_message_waits_for_the_end_of_the_turn_at_work(bot: Bot):
    set_busy(bot, "queue")
    bot.hears("first")
    at_work(bot)
    bot.hears("second")
    assert [task.status for task in bot.tasks()] == [TaskStatus.RUNNING, TaskStatus.QUEUED]
    assert bot.outcomes() == ["task:", "task:"]


def test_a_message_takes_the_place_of_what_is_at_work_and_of_what_waits(bot: Bot):
    set_busy(bot, "queue")
    bot.hears("first")
    at_work(bot)
    bot.hears("second")
    set_busy(bot, "interrupt")
    bot.hears("third")
    first, second, third = bot.tasks()
    assert (first.status, second.status, third.status) == (
        TaskStatus.RUNNING, TaskStatus.CANCELLED, TaskStatus.QUEUED,
    )  # fmt: skip
    assert first.cancel_requested_at is not None


def test_a_message_is_not_taken_and_its_writer_is_told(bot: Bot):
    set_busy(bot, "reject")
    bot.hears("first")
    at_work(bot)
    bot.hears("second")
    assert bot.outcomes() == ["task:", "rejected: at_work"]
    assert len(bot.tasks()) == 1
    assert "still at work" in bot.said()[-1]


def test_what_is_at_work_for_another_place_is_left_alone(bot: Bot):
    set_busy(bot, "interrupt")
    in_group(bot, engage="always", session_mode="shared")
    says(bot, "in a thread", thread="5")
    at_work(bot)
    says(bot, "in another", thread="6")
    first, second = bot.tasks()
    assert first.workspace_id == second.workspace_id
    assert (first.cancel_requested_at, second.status) == (None, TaskStatus.QUEUED)


def test_a_full_queue_is_told_and_on_record(acme: Tenant, bot: Bot):
    Organisation.objects.using("operator").update(max_queued_tasks=0)
    bot.hears("hello")
    assert bot.outcomes() == ["refused: queue_full"]
    assert "queue is full" in bot.said()[0]
    (entry,) = decisions()[0].wirings
    assert (entry["becomes"], entry["detail"]) == ("refused", "queue_full")


# --- What may be set -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"engage": "pattern", "pattern": "("}, PatternInvalid),
        ({"engage": "pattern", "pattern": ""}, PatternInvalid),
        ({"engage": "pattern", "pattern": "((a{100}){100}){100}"}, PatternTooCostly),
        ({"engage": "command"}, ConfigInvalid),
        ({"sender_scope": "people"}, ConfigInvalid),
        ({"sender_scope": "people", "people": [str(uuid.uuid4())]}, ConfigInvalid),
        ({"quiet_from": "22:00"}, ValueError),
        ({"time_zone": "Mars/Olympus"}, ValueError),
        ({"command": "no spaces"}, ValueError),
        ({"bot_turns": 21}, ValueError),
    ],
)
def test_a_wiring_that_would_not_work_is_refused(bot: Bot, fields, error):
    bot.hears("hello")
    wiring = bot.wires(engage="always")
    with pytest.raises(error):
        update_wiring(bot.tenant.owner, wiring.id, fields)


def test_a_viewer_wires_nothing(acme: Tenant, bot: Bot):
    bot.hears("hello")
    wiring = bot.wires(engage="always")
    viewer = Actor(acme.organisation.id, "user", "viewer")
    with pytest.raises((RoleMissing, ScopeMissing)):
        update_wiring(viewer, wiring.id, {"engage": "never"})
