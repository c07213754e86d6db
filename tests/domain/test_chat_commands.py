"""Commands in chats: read, refused with a reason, done once, answered, on record."""

from __future__ import annotations

from datetime import timedelta

import pytest

from conftest import Tenant
from services.domain.agents.actions import AgentFields, create_agent
from services.domain.chat_commands.catalogue import COMMANDS, list_hints
from services.domain.chat_commands.parsing import Spoken, read_command
from services.domain.chat_commands.times import read_plan
from services.domain.chats.models import Conversation, InboundMessage, Link, Wiring
from services.domain.contacts.accounts import issue_account_code
from services.domain.contacts.models import AccountCode, LinkSender, PlatformAccount
from services.domain.contacts.quiet import QuietHours, set_quiet_hours
from services.domain.errors import LinkMissing, ScheduleInvalid
from services.domain.identity.models import Membership
from services.domain.outbox.jobs import RouteMessage, enqueue
from services.domain.playbooks.actions import run_playbook
from services.domain.playbooks.models import Playbook
from services.domain.ports.chat import ChatKind
from services.domain.tasks.models import Task, UsageRecord
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now
from services.kit.tokens import hash_token
from tests.domain.talking import Talk, open_talk
from tests.fakes.chat_places import drain

GROUP = {"chat": "-5", "kind": ChatKind.GROUP}


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("/help", Spoken("/", "help")),
        ("!help", Spoken("!", "help")),
        ("  /Stop  ", Spoken("/", "stop")),
        ("/new@Our_Bot", Spoken("/", "new", target="Our_Bot")),
        ("/schedule@our_bot daily 9:00\nreport", Spoken("/", "schedule", "daily 9:00\nreport", "our_bot")),
        ("/model  claude-x ", Spoken("/", "model", "claude-x")),
        ("/usr/bin/env", None),
        ("/", None),
        ("! wow", None),
        ("!!", None),
        ("/2fa", None),
        ("see /help", None),
        ("/" + "x" * 40, None),
        ("/help@", None),
    ],
)
def test_a_command_is_read_as_people_and_platforms_write_it(text, read):
    assert read_command(text) == read


@pytest.mark.parametrize(
    ("text", "cron", "prompt"),
    [
        ("0 9 * * 1-5 write the report", "0 9 * * 1-5", "write the report"),
        ("daily 9:00 write\n  the report", "0 9 * * *", "write\n  the report"),
        ("daily 9 x", "0 9 * * *", "x"),
        ("daily 12am x", "0 0 * * *", "x"),
        ("weekdays 5:30pm x", "30 17 * * 1-5", "x"),
        ("weekends 10:00 x", "0 10 * * 0,6", "x"),
        ("Mon,thursday 17:00 x y", "0 17 * * 1,4", "x y"),
        ("monthly 1 9:00 x", "0 9 1 * *", "x"),
        ("hourly x", "0 * * * *", "x"),
        ("every 15 minutes x", "*/15 * * * *", "x"),
        ("every 2h x", "0 */2 * * *", "x"),
    ],
)
def test_a_time_is_read_as_people_write_it(text, cron, prompt):
    planned = read_plan(text)
    assert (planned.cron, planned.prompt) == (cron, prompt)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "daily",
        "daily 9:00",
        "daily 25:00 x",
        "daily 13pm x",
        "sometimes x",
        "every 1 minute x",
        "monthly 31 9:00 x",
        "1 2 3 4",
        "every x",
    ],
)
def test_a_time_that_cannot_be_read_is_refused(text):
    with pytest.raises(ScheduleInvalid):
        read_plan(text)


def test_every_command_has_a_name_that_all_platforms_take_and_a_line_of_help():
    names = [hint.name for hint in list_hints()]
    assert names == ["help", "new", "stop", "status", "agent", "model", "link", "claim", "usage", "schedule"]
    for hint in list_hints():
        assert 3 <= len(hint.help) <= 100
        assert not hint.help.endswith(".")


@pytest.fixture
def talk(acme: Tenant) -> Talk:
    return open_talk(acme)


def test_help_lists_every_command_in_the_platforms_own_markup(talk):
    assert talk.says("/help") == "command: help"
    (said,) = talk.said()
    assert all(f"/{command.name}" in said for command in COMMANDS)
    assert "**" not in said
    assert talk.tasks() == []


def test_a_command_is_no_context_for_the_agent(talk):
    talk.says("/status")
    talk.says("hello")
    assert [task.prompt for task in talk.tasks()] == ["hello"]


def test_a_repeated_command_is_done_and_answered_once(talk):
    talk.says("/help")
    InboundMessage.objects.using("operator").update(routed_at=None)
    with tenant_transaction(talk.handle.org_id):
        enqueue(RouteMessage(org_id=talk.handle.org_id, message_id=InboundMessage.objects.get().id))
    drain("message.route", "reply.write")
    assert len(talk.said()) == 1


def test_an_unknown_command_is_text_for_the_agent_unless_nobody_would_read_it(talk):
    assert talk.says("/deploy now").startswith("task:")
    Wiring.objects.using("operator").update(is_enabled=False)
    assert talk.says("/deploy now") == "command: unknown"
    assert "I know no command /deploy" in talk.said()[-1]
    assert talk.says("!deploy now") == "context: disabled"


def test_a_command_for_another_bot_is_not_taken(talk):
    assert talk.says("/status@other_bot", mention=False, **GROUP).startswith("context")
    assert talk.says("/status@our_bot", **GROUP) == "command: status"


def test_in_a_group_a_command_is_to_be_said_to_the_bot(talk):
    assert talk.says("!status", mention=False, **GROUP).startswith("context")
    assert talk.says("hello", thread="t1", **GROUP).startswith("task:")
    assert talk.says("!status", mention=False, thread="t1", **GROUP) == "command: status"
    assert "has been at work" not in talk.said()[-1]
    assert "waits for its turn" in talk.said()[-1]


def test_what_a_stranger_commands_waits_like_what_a_stranger_writes(acme):
    talk = open_talk(acme, unknown_senders="request_approval")
    assert talk.says("/status").startswith("held: unknown_sender")
    assert talk.says("/help") == "command: help"
    LinkSender.objects.using("operator").update(standing="denied")
    assert talk.says("/help").startswith("refused")
    assert talk.says("/stop").startswith("refused")


# --- new, stop, status --------------------------------------------------------------------------------


def test_new_begins_a_fresh_conversation_without_what_was_said_before(talk):
    talk.says("remember blue", mention=False, **GROUP)
    talk.says("first", **GROUP)
    talk.knows("alice", "1", chat="-5")
    assert talk.says("/new", **GROUP) == "command: new refused: not_permitted"
    assert talk.says("/new", who="1", **GROUP) == "command: new"
    assert Conversation.objects.using("operator").count() == 0
    talk.says("second", **GROUP)
    first, second = talk.tasks()
    assert first.workspace_id != second.workspace_id
    assert "blue" in first.prompt
    assert second.prompt == "second"


def test_new_in_a_conversation_that_all_chats_share_is_for_admins(talk):
    talk.knows("bob", "2", **GROUP)
    talk.knows("alice", "1", chat="-5")
    Wiring.objects.using("operator").update(session_mode="agent-shared")
    assert talk.says("/new", who="2", **GROUP) == "command: new refused: role_missing"
    assert "only an admin" in talk.said()[-1]
    assert talk.says("/new", who="1", **GROUP) == "command: new"


def test_stop_cancels_the_work_of_this_place_and_no_other(talk):
    talk.says("one")
    talk.says("two", chat="200")
    assert talk.says("/stop") == "command: stop"
    assert [task.status for task in talk.tasks()] == ["cancelled", "queued"]
    assert talk.said()[-1] == "Stopping."
    talk.says("/stop")
    assert talk.said()[-1] == "Nothing is at work here."


def test_status_says_who_is_at_work_on_what(talk, acme):
    talk.says("/status")
    assert "no conversation here yet" in talk.said()[-1]
    talk.says("count the stars")
    talk.says("/status")
    assert f"{acme.agent.name} waits for its turn" in talk.said()[-1]
    assert "count the stars" in talk.said()[-1]
    Task.objects.using("operator").update(status="running", started_at=now() - timedelta(minutes=5))
    talk.says("/status")
    assert "has been at work for 5 min" in talk.said()[-1]


# --- agent, model -------------------------------------------------------------------------------------


@pytest.fixture
def writer(acme: Tenant):
    return create_agent(acme.owner, AgentFields(name="Writer", slug="writer"))


def test_a_member_chooses_the_agent_of_their_own_direct_chat(talk, acme, writer):
    talk.knows("bob", "2")
    talk.says("/agent", who="2")
    assert "writer" in talk.said()[-1]
    assert talk.says("/agent Writer", who="2") == "command: agent"
    assert talk.says("hello", who="2").startswith("task:")
    (task,) = talk.tasks()
    assert task.agent_id == writer.id
    (wiring,) = Wiring.objects.using("operator").all()
    assert (wiring.engage, wiring.agent_id) == ("always", writer.id)


def test_in_a_group_only_admins_choose_and_the_refusal_says_so(talk, acme, writer):
    talk.knows("bob", "2", **GROUP)
    talk.knows("alice", "1", chat="-5")
    assert talk.says("/agent writer", who="2", **GROUP) == "command: agent refused: role_missing"
    assert "it is for admins. You are a member." in talk.said()[-1]
    assert talk.says("/agent writer", who="9", **GROUP) == "command: agent refused: not_permitted"
    assert talk.says("/agent nobody", who="1", **GROUP) == "command: agent refused: agent_not_found"
    assert talk.says("/agent writer", who="1", **GROUP) == "command: agent"
    assert Wiring.objects.using("operator").get().agent_id == writer.id


def test_an_agent_that_is_not_shared_with_a_member_cannot_be_chosen(talk, acme):
    create_agent(acme.owner, AgentFields(name="Secret", slug="secret", is_shared=False))
    talk.knows("bob", "2")
    assert talk.says("/agent secret", who="2") == "command: agent refused: agent_not_found"
    talk.says("/agent", who="2")
    assert "secret" not in talk.said()[-1]


def test_a_model_is_chosen_for_one_conversation_within_the_rules(talk, acme):
    writer = create_agent(
        acme.owner, AgentFields(name="W", slug="w", provider="claude", allowed_models=["claude-*"])
    )
    talk.knows("bob", "2")
    talk.says("/agent w", who="2")
    assert talk.says("/model gpt-5", who="2") == "command: model refused: model_not_allowed"
    assert talk.says("/model claude-test-9", who="2") == "command: model"
    talk.says("hello", who="2")
    assert talk.tasks()[-1].model == "claude-test-9"
    talk.says("/model", who="2")
    assert "claude-test-9, chosen here" in talk.said()[-1]
    talk.says("/model default", who="2")
    talk.says("hello again", who="2")
    assert talk.tasks()[-1].model == writer.model


# --- link ---------------------------------------------------------------------------------------------


def test_a_code_links_an_account_once_within_ten_minutes(talk, acme):
    issued = issue_account_code(acme.people["bob"])
    assert timedelta(minutes=9) < issued.expires_at - now() <= timedelta(minutes=10)
    assert AccountCode.objects.using("operator").get().code_hash == hash_token(issued.code)
    assert talk.says(f"/link {issued.code.lower()}") == "command: link"
    assert "linked to bob@acme.example" in talk.said()[-1]
    talk.says(f"/start {issued.code}", who="8", chat="8")
    assert "not valid" in talk.said()[-1]
    assert PlatformAccount.objects.using("operator").get().user_id == acme.people["bob"].user_id
    late = issue_account_code(acme.people["bob"])
    AccountCode.objects.using("operator").update(expires_at=now())
    talk.says(f"!link {late.code}", who="8", chat="8")
    assert "not valid" in talk.said()[-1]


def test_a_code_that_others_can_read_is_good_no_more(talk, acme):
    issued = issue_account_code(acme.people["bob"])
    talk.says(f"/link {issued.code}", **GROUP)
    assert "direct chat" in talk.said()[-1]
    assert not AccountCode.objects.using("operator").exists()
    talk.says(f"/link {issued.code}")
    assert not PlatformAccount.objects.using("operator").exists()


def test_a_pairing_code_is_for_one_bot(talk, acme, globex):
    other = open_talk(acme)
    link = Link.objects.using("operator").get(id=talk.handle.link_id)
    issued = issue_account_code(acme.owner, link.id)
    other.says(f"/link {issued.code}", chat="300")
    assert "not valid" in other.said()[-1]
    talk.says(f"/link {issued.code}")
    assert PlatformAccount.objects.using("operator").get().link_id == link.id
    with pytest.raises(LinkMissing):
        issue_account_code(globex.owner, link.id)


def test_start_alone_says_what_there_is(talk):
    assert talk.says("/start") == "command: start"
    assert "/schedule" in talk.said()[-1]


# --- usage, schedule ----------------------------------------------------------------------------------


def test_usage_adds_up_the_askers_and_the_chats(talk, acme):
    talk.knows("bob", "2")
    talk.says("hello", who="2")
    (task,) = talk.tasks()
    with tenant_transaction(acme.organisation.id):
        UsageRecord.objects.create(
            org_id=acme.organisation.id, task=task, kind="llm", cost_microusd=1_500_000, input_tokens=1_200
        )
    talk.says("/usage", who="2")
    assert talk.said()[-1].count("$1.5000, 1 model calls, 1,200 tokens in") == 4
    assert talk.says("/usage", who="9", chat="9") == "command: usage refused: not_permitted"


def test_a_schedule_is_made_listed_run_and_removed_where_it_answers(talk, acme):
    set_quiet_hours(acme.people["bob"], QuietHours(time_zone="Europe/Berlin"))
    talk.knows("bob", "2")
    assert talk.says("/schedule weekdays 8:30 write the report", who="2") == "command: schedule"
    playbook = Playbook.objects.using("operator").get()
    assert (playbook.cron, playbook.timezone, playbook.user_id) == (
        "30 8 * * 1-5",
        "Europe/Berlin",
        acme.people["bob"].user_id,
    )
    assert playbook.deliver_to["chat_id"] == str(talk.chat().id)
    run = run_playbook(acme.owner, playbook.id)
    assert run.task is not None
    assert run.task.deliver_to == {**playbook.deliver_to, "reply_to": ""}
    talk.says("/schedule", who="2")
    assert "write the report" in talk.said()[-1]
    code = playbook.id.hex[-6:]
    assert code in talk.said()[-1]
    assert talk.says("/schedule remove nothing", who="2") == "command: schedule refused: playbook_not_found"
    assert talk.says(f"/schedule remove {code}", who="2") == "command: schedule"
    assert not Playbook.objects.using("operator").exists()


def test_what_is_scheduled_for_another_chat_is_not_shown_or_removed(talk, acme):
    talk.knows("bob", "2")
    talk.knows("alice", "1", chat="200")
    talk.says("/schedule daily 9:00 mine", who="2")
    code = Playbook.objects.using("operator").get().id.hex[-6:]
    talk.says("/schedule", who="1", chat="200")
    assert "Nothing is scheduled" in talk.said()[-1]
    talk.says(f"/schedule remove {code}", who="1", chat="200")
    assert Playbook.objects.using("operator").count() == 1


def test_a_viewer_schedules_nothing(talk, acme):
    talk.knows("bob", "2")
    Membership.objects.using("operator").filter(user=acme.users["bob"]).update(role="viewer")
    assert talk.says("/schedule daily 9:00 x", who="2") == "command: schedule refused: scope_missing"
    assert talk.says("/schedule whenever x", who="2") == "command: schedule refused: schedule_invalid"


def test_where_an_agent_hears_all_that_is_said_a_command_is_said_to_it(talk):
    talk.says("hello", **GROUP)
    Wiring.objects.using("operator").update(engage="always")
    assert talk.says("/status", mention=False, **GROUP) == "command: status"
