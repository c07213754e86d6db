"""Links are looked after: a broken one is seen and told, once, and so is its mending."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from conftest import recorded
from services.adapters.chat.registry import build_adapters
from services.api import linking
from services.api.linking import check_link, connect_link, setup_steps
from services.domain.chats.actions import create_link
from services.domain.chats.health import CHECK_EVERY, all_tenants_claim_due_checks, hook_url
from services.domain.chats.models import Link
from services.domain.errors import Conflict, LinkMissing, PlatformRefused
from services.domain.events.models import Event
from services.domain.identity.models import Membership
from services.domain.outbox.jobs import CheckLink
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now
from services.worker import sweeps
from services.worker.jobs import chats
from services.worker.jobs.links import check_link as run_check
from tests.fakes.serving import Fault
from tests.fakes.slack_server import FakeSlack
from tests.fakes.telegram_server import FakeTelegram
from tests.fakes.webhook_server import SECRET, FakeReceiver

TOKEN = "123456:token-of-the-bot"


@pytest.fixture
def telegram(monkeypatch) -> Iterator[FakeTelegram]:
    with FakeTelegram() as server:
        use(monkeypatch, TELEGRAM_API_BASE=server.url)
        yield server


def use(monkeypatch, **settings: str) -> None:
    built = build_adapters(settings)
    monkeypatch.setattr(chats, "adapters", lambda: built)
    monkeypatch.setattr(linking, "adapters", lambda: built)


@pytest.fixture
def link(acme, telegram) -> Link:
    row = create_link(acme.people["bob"], kind="telegram", name="Helper", config={"bot_token": TOKEN})
    return connect_link(acme.owner, row.id)


def checked(link: Link) -> Link:
    """Let the worker check a link; return it as it is then."""
    run_check(CheckLink(org_id=link.org_id, link_id=link.id))
    return Link.objects.using("operator").get(id=link.id)


def told(tenant, name: str) -> list[str]:
    stream = f"user:{tenant.people[name].user_id}"
    rows = Event.objects.using("operator").filter(stream=stream, type="notification.created").order_by("id")
    return [row.data["message"] for row in rows]


def test_a_link_that_works_stays_connected_and_nobody_is_told(acme, link):
    with recorded() as seen:
        row = checked(link)
    assert (row.status, row.last_error) == ("connected", "")
    assert row.checked_at is not None
    assert row.next_check_at > now() + CHECK_EVERY / 2
    assert (seen.change_types, seen.event_types) == ([], [])


def test_a_broken_webhook_is_told_to_whoever_made_the_link_once_and_so_is_its_mending(acme, link, telegram):
    telegram.break_hook(TOKEN, "Wrong response from the webhook: 502 Bad Gateway")
    with recorded() as seen:
        row = checked(link)
        checked(link)
    assert row.status == "failed"
    assert row.last_error == (
        "Telegram does not reach this address: Wrong response from the webhook: 502 Bad Gateway"
    )
    assert (seen.change_types, seen.event_types) == (["link.changed"], ["notification.created"])
    telegram.hook_errors.clear()
    with recorded() as seen:
        assert checked(link).status == "connected"
    assert (seen.change_types, seen.event_types) == (["link.changed"], ["notification.created"])
    first, second = told(acme, "bob")
    assert first.startswith("The link Helper (telegram) does not work: Telegram does not reach this address")
    assert second == "The link Helper (telegram) works again."
    assert told(acme, "alice") == []


def test_when_its_maker_has_left_the_admins_are_told(acme, link, telegram):
    bob = acme.people["bob"].user_id
    Membership.objects.using("operator").filter(user_id=bob).delete()
    telegram.webhooks.clear()
    assert checked(link).last_error.startswith("Telegram has no address")
    assert len(told(acme, "alice")) == 1


def test_a_webhook_that_leads_elsewhere_is_broken(acme, link, telegram):
    telegram.webhooks[TOKEN]["url"] = "https://elsewhere.example/hook"
    assert "another address" in checked(link).last_error


def test_an_old_error_of_a_webhook_is_over(acme, link, telegram):
    telegram.break_hook(TOKEN, "Connection timed out")
    telegram.hook_errors[TOKEN]["last_error_date"] -= 3_600
    assert checked(link).status == "connected"


def test_a_revoked_token_is_broken_at_once(acme, link, telegram):
    telegram.bots = {}
    assert checked(link).status == "failed"
    assert len(told(acme, "bob")) == 1


def test_a_platform_that_is_away_counts_only_the_third_time(acme, link, telegram):
    telegram.faults.plan(Fault("error", count=3))
    assert [checked(link).status for _ in range(3)] == ["connected", "connected", "failed"]
    assert checked(link).status == "connected"
    assert len(told(acme, "bob")) == 2


def test_a_throttled_check_changes_nothing(acme, link, telegram):
    telegram.faults.plan(Fault("throttle"))
    before = Link.objects.using("operator").get(id=link.id)
    after = checked(link)
    assert (after.status, after.checked_at) == (before.status, before.checked_at)


def test_a_check_is_due_after_a_while_for_one_worker_and_enqueued(acme, link):
    assert all_tenants_claim_due_checks() == []
    Link.objects.using("operator").update(next_check_at=now() - timedelta(seconds=1))
    with recorded() as seen:
        sweeps.sweep_links()
        sweeps.sweep_links()
    assert seen.job_types == ["link.check"]


def test_a_link_that_was_never_connected_is_not_checked(acme, telegram):
    row = create_link(acme.owner, kind="telegram", name="New", config={"bot_token": TOKEN})
    Link.objects.using("operator").update(next_check_at=now() - timedelta(days=1))
    assert all_tenants_claim_due_checks() == []
    assert checked(row).status == "pending"
    with pytest.raises(Conflict):
        check_link(acme.owner, row.id)


def test_a_person_may_ask_now_and_another_tenant_may_not(acme, globex, link, telegram):
    telegram.bots = {}
    assert check_link(acme.people["bob"], link.id).status == "failed"
    with pytest.raises(LinkMissing):
        check_link(globex.owner, link.id)


def test_connecting_a_refused_bot_tells_nobody_but_who_connects_it(acme, telegram):
    telegram.bots = {}
    row = create_link(acme.owner, kind="telegram", name="Wrong", config={"bot_token": TOKEN})
    with recorded() as seen, pytest.raises(PlatformRefused):
        connect_link(acme.owner, row.id)
    assert (seen.change_types, seen.event_types) == (["link.changed"], [])
    assert told(acme, "alice") == []


def test_slacks_token_is_asked_about(acme, monkeypatch):
    with FakeSlack() as slack:
        use(monkeypatch, SLACK_API_BASE=slack.api_base)
        config = {"bot_token": "xoxb-1-abc", "signing_secret": "hush"}
        link = connect_link(acme.owner, create_link(acme.owner, kind="slack", name="S", config=config).id)
        assert checked(link).status == "connected"
        slack.tokens = []
        assert checked(link).last_error == "Slack does not accept the app's token."


def test_a_receiver_that_does_not_know_the_question_is_there(acme, monkeypatch):
    with FakeReceiver() as receiver:
        use(monkeypatch, WEBHOOK_API_BASE=receiver.url)
        config = {"signing_secret": SECRET, "url": "https://receiver.example/hook"}
        row = create_link(acme.owner, kind="webhook", name="W", config=config)
        link = connect_link(acme.owner, row.id)
        assert receiver.hook_url == hook_url(link)
        for status, state in (("400", "connected"), ("501", "connected"), ("401", "failed")):
            receiver.faults.plan(Fault(status, method="link.check"))
            assert checked(link).status == state
        assert checked(link).status == "connected"


def test_every_platform_says_how_it_is_set_up_with_the_links_own_address(acme):
    for kind in linking.adapters():
        with tenant_transaction(acme.organisation.id):
            steps = setup_steps(Link(org_id=acme.organisation.id, kind=kind))
        if kind in ("telegram", "slack", "webhook"):
            assert any(f"/hooks/{kind}/" in step for step in steps)
        assert not any("{hook_url}" in step for step in steps)
