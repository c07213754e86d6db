"""Messages from chats: kept once, routed by rules, answered in order, never with silence."""

from __future__ import annotations

import pytest

from conftest import recorded
from services.domain.chats.actions import create_link, read_link_config
from services.domain.chats.answering import route_message
from services.domain.chats.inbound import LinkHandle, all_tenants_find_link, store_inbound
from services.domain.chats.models import InboundMessage, Link
from services.domain.ports.chat import ChatKind, Place, Sender
from services.domain.ports.chat import InboundMessage as Incoming
from services.domain.tasks.models import Task
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now


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
