"""Messages from chats: kept once, routed by rules, answered in order, never with silence."""

from __future__ import annotations

import uuid

import pytest

from conftest import recorded
from services.domain.chats.actions import (
    WiringFields,
    create_link,
    create_wiring,
    read_link_config,
)
from services.domain.chats.answering import route_message
from services.domain.chats.inbound import LinkHandle, all_tenants_find_link, store_inbound
from services.domain.chats.models import Chat, InboundMessage, Link, Wiring
from services.domain.chats.routing import Rule, conversation_scope, judge
from services.domain.errors import ConfigInvalid
from services.domain.ports.chat import ChatKind, Place, Sender
from services.domain.ports.chat import InboundMessage as Incoming
from services.domain.tasks.models import Task
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now

A, B = uuid.UUID(int=1), uuid.UUID(int=2)


def rule(engage: str, *, pattern: str = "", priority: int = 0, enabled: bool = True, number: int = 1) -> Rule:
    return Rule(uuid.UUID(int=number), A, engage, pattern, "shared", priority, enabled)


@pytest.mark.parametrize(
    ("one", "text", "is_mention", "engaged", "reason"),
    [
        (rule("always"), "hi", False, True, "always"),
        (rule("mention"), "hi", True, True, "mentioned"),
        (rule("mention"), "hi", False, False, "not_mentioned"),
        (rule("pattern", pattern=r"^deploy\b"), "deploy it", False, True, "pattern_matched"),
        (rule("pattern", pattern=r"^deploy\b"), "redeploy", True, False, "pattern_not_matched"),
        (rule("never"), "hi", True, False, "never"),
        (rule("always", enabled=False), "hi", True, False, "disabled"),
    ],
)
def test_a_wiring_judges_by_itself(one, text, is_mention, engaged, reason):
    (verdict,) = judge([one], text=text, is_mention=is_mention)
    assert (verdict.is_engaged, verdict.reason) == (engaged, reason)


def test_the_highest_priority_comes_first():
    verdicts = judge(
        [rule("always", number=1), rule("always", priority=5, number=2)], text="", is_mention=False
    )
    assert [verdict.rule.priority for verdict in verdicts] == [5, 0]


def test_a_conversation_is_kept_by_agent_chat_or_thread():
    assert conversation_scope("agent-shared", chat_id=A, thread_id="7") == "agent"
    assert conversation_scope("shared", chat_id=A, thread_id="7") == f"chat:{A}"
    assert conversation_scope("per-thread", chat_id=A, thread_id="7") == f"chat:{A}/thread:7"
    assert conversation_scope("per-thread", chat_id=A, thread_id="") == f"chat:{A}"


@pytest.fixture
def link(acme) -> LinkHandle:
    row = create_link(
        acme.owner,
        kind="telegram",
        name="Bot",
        config={"bot_token": "1:x"},
        default_agent_id=acme.agent.id,
        unknown_senders="public",
    )
    handle = all_tenants_find_link(row.id, "telegram")
    assert handle is not None
    return handle


def incoming(
    key: str, text: str = "hello", *, chat: str = "100", kind=ChatKind.DIRECT, mention: bool = True
) -> Incoming:
    return Incoming(
        dedupe_key=key,
        place=Place(chat),
        chat_kind=kind,
        chat_title="Chat",
        sender=Sender("7", "Ann"),
        text=text,
        is_mention=mention,
        message_id=key,
        sent_at=now(),
    )


def route_all(handle: LinkHandle) -> None:
    rows = InboundMessage.objects.using("operator").filter(routed_at=None).order_by("id")
    for message_id in list(rows.values_list("id", flat=True)):
        route_message(handle.org_id, message_id)


def test_a_links_configuration_is_sealed(acme, link):
    with tenant_transaction(acme.organisation.id):
        row = Link.objects.get()
        assert b"1:x" not in bytes(row.sealed_config)
        assert read_link_config(row) == {"bot_token": "1:x"}


def test_a_message_posted_three_times_is_kept_and_routed_once(acme, link):
    with recorded() as seen:
        for _ in range(3):
            store_inbound(link, [incoming("u1")])
    assert seen.job_types == ["message.route"]
    route_all(link)
    message_id = InboundMessage.objects.using("operator").get().id
    assert route_message(link.org_id, message_id) == []
    with tenant_transaction(acme.organisation.id):
        assert Task.objects.count() == 1


def test_a_direct_chat_of_a_link_with_an_agent_is_answered_in_one_workspace(acme, link):
    store_inbound(link, [incoming("u1", "first"), incoming("u2", "second")])
    route_all(link)
    with tenant_transaction(acme.organisation.id):
        first, second = Task.objects.order_by("id")
        assert first.workspace_id == second.workspace_id
        assert first.source == "telegram"
        assert [row.outcome.split(":")[0] for row in InboundMessage.objects.all()] == ["task", "task"]


def test_what_is_not_answered_in_a_group_stays_as_context_for_what_is(acme, link):
    store_inbound(link, [incoming("u1", "the build is red", kind=ChatKind.GROUP, mention=False)])
    route_all(link)
    store_inbound(link, [incoming("u2", "why?", kind=ChatKind.GROUP)])
    route_all(link)
    with tenant_transaction(acme.organisation.id):
        task = Task.objects.get()
        assert "the build is red" in task.prompt
        assert InboundMessage.objects.order_by("id").first().outcome == "context: not_mentioned"


def test_a_chat_without_a_wiring_records_why_nobody_answers(acme, link):
    Link.objects.using("operator").update(default_agent=None)
    store_inbound(link, [incoming("u1")])
    route_all(link)
    assert InboundMessage.objects.using("operator").get().outcome == "no_wiring"


def test_a_broken_pattern_is_refused_when_it_is_saved(acme, link):
    store_inbound(link, [incoming("u1")])
    with tenant_transaction(acme.organisation.id):
        chat = Chat.objects.get()
        Wiring.objects.all().delete()
    for pattern in ("(", ""):
        with pytest.raises(ConfigInvalid):
            create_wiring(
                acme.owner,
                WiringFields(chat_id=chat.id, agent_id=acme.agent.id, engage="pattern", pattern=pattern),
            )
