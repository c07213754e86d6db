"""Accounts elsewhere: who may use which, checked at each call; refreshed once for all; closed when they are revoked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from conftest import recorded
from services.api.accounts import change_account, check_account, remove_account
from services.domain.agents.actions import AgentFields, create_agent
from tests.fakes.gmail_server import ADDRESS, GmailServer
from tests.gateway.account_cast import add, calling, connect_gmail, stored, use_google
from tests.gateway.serving import Caller, at_work


@pytest.fixture
def mailbox(monkeypatch) -> Iterator[GmailServer]:
    """Run a mailbox on loopback."""
    with GmailServer() as server:
        use_google(monkeypatch, server)
        yield server


def search(gmail: Caller, **given: str) -> str:
    return gmail("gmail_search", query="", **given)["account"]


def test_an_agent_without_an_account_is_told_what_a_person_must_do(gateway, acme, mailbox):
    gmail = calling(gateway, acme, "gmail")
    words = gmail.refused("gmail_search", query="")
    assert words.startswith("account_not_connected: No gmail account is connected for this agent.")
    assert "in the dashboard under Accounts" in words
    assert gmail.refused("gmail_search", query="", account="work").startswith("account_not_connected:")
    assert not mailbox.calls.all()


def test_an_agent_gets_a_token_only_for_servers_that_it_lists(acme, mailbox):
    connect_gmail(acme)
    assert "mcp:gmail" not in at_work(acme, create_agent(acme.owner, AgentFields(name="Plain"))).tokens


def test_the_only_account_needs_no_name_and_several_do(gateway, acme, mailbox):
    gmail = calling(gateway, acme, "gmail")
    connect_gmail(acme, "work")
    assert search(gmail) == "work"
    connect_gmail(acme, "home")
    assert gmail.refused("gmail_search", query="") == (
        "account_ambiguous: There are several accounts. Name one of them as `account`: home, work."
    )
    assert search(gmail, account="HOME") == "home"
    words = gmail.refused("gmail_search", query="", account="other")
    assert words == "account_not_found: There is no account of this name. There are: home, work."


def test_a_grant_is_checked_at_every_call(gateway, acme, mailbox):
    row = connect_gmail(acme)
    gmail = calling(gateway, acme, "gmail")
    assert search(gmail) == "work"
    change_account(acme.owner, row.id, {"agent_ids": [acme.agent.id]})
    before = len(mailbox.calls.all())
    assert gmail.refused("gmail_search", query="").startswith("account_not_connected:")
    assert gmail.refused("gmail_search", query="", account="work").startswith("account_not_granted:")
    change_account(acme.owner, row.id, {"agent_ids": None, "is_enabled": False})
    assert "is switched off" in gmail.refused("gmail_search", query="", account="work")
    assert len(mailbox.calls.all()) == before
    change_account(acme.owner, row.id, {"is_enabled": True})
    assert search(gmail) == "work"


def test_a_personal_account_is_used_by_its_persons_work_only(gateway, acme, globex, mailbox):
    row = connect_gmail(acme, "alices", who="alice")
    bobs = calling(gateway, acme, "gmail", who=acme.people["bob"])
    mallorys = calling(gateway, globex, "gmail")
    for gmail in (bobs, mallorys):
        for account in ({}, {"account": "alices"}, {"account": str(row.id)}):
            words = gmail.refused("gmail_search", query="", **account)
            assert words.startswith("account_not_connected:")
            assert "alices" not in words
    connect_gmail(acme, "shared", is_personal=False)
    assert search(bobs) == "shared"
    assert mallorys.refused("gmail_search", query="").startswith("account_not_connected:")
    assert search(calling(gateway, acme, "gmail"), account="alices") == "alices"


def test_a_persons_own_account_comes_before_the_organisations_of_the_same_name(gateway, acme, mailbox):
    connect_gmail(acme, "mail", is_personal=False)
    own = connect_gmail(acme, "mail")
    gmail = calling(gateway, acme, "gmail")
    search(gmail, account="mail")
    assert stored(own).last_used_at is not None


def test_twenty_calls_at_once_refresh_the_token_once(gateway, acme, mailbox):
    connect_gmail(acme)
    # Four agents, because one task may call a tool only so often.
    agents = [calling(gateway, acme, "gmail") for _ in range(4)]
    gmail = agents[0]
    mailbox.oauth.expire_access_tokens()
    with ThreadPoolExecutor(20) as threads:
        found = list(threads.map(search, agents * 5))
    assert found == ["work"] * 20
    assert mailbox.oauth.refreshes() == 1
    # The refresh token was rotated, and the new one is kept.
    mailbox.oauth.expire_access_tokens()
    assert search(gmail) == "work"
    assert mailbox.oauth.refreshes() == 2


def test_a_revoked_account_fails_closed_is_marked_told_and_asked_no_more(gateway, acme, mailbox):
    row = connect_gmail(acme)
    gmail = calling(gateway, acme, "gmail")
    mailbox.oauth.take_back()
    with recorded() as seen:
        words = gmail.refused("gmail_search", query="")
    assert words.startswith("account_unauthorised:")
    assert (
        "A person must connect it again: in the dashboard under Accounts, work. You cannot mend this."
        in words
    )
    assert seen.change_types == ["integration.changed"]
    assert seen.event_types == ["notification.created"]
    assert [event.readers for event in seen.changes] == [[acme.owner.user_id]]
    assert stored(row).status == "unauthorised"
    asked = len(mailbox.oauth.journal.all()), len(mailbox.calls.all())
    with recorded() as seen:
        assert gmail.refused("gmail_search", query="").startswith("account_unauthorised:")
    assert not (seen.events or seen.changes)
    assert asked == (len(mailbox.oauth.journal.all()), len(mailbox.calls.all()))


def test_an_authorization_server_that_is_down_costs_the_call_only(gateway, acme, mailbox):
    row = connect_gmail(acme)
    gmail = calling(gateway, acme, "gmail")
    mailbox.oauth.expire_access_tokens()
    mailbox.oauth.is_down = True
    assert gmail.refused("gmail_search", query="").startswith("account_unreachable:")
    mailbox.oauth.is_down = False
    assert search(gmail) == "work"
    assert stored(row).status == "ok"


def test_what_opens_an_account_is_in_no_event_error_or_result(gateway, acme, mailbox):
    with recorded() as seen:
        row = connect_gmail(acme)
        gmail = calling(gateway, acme, "gmail")
        result = gmail.raw("gmail_search", query="")
        mailbox.oauth.take_back()
        words = gmail.refused("gmail_search", query="")
    text = json.dumps(
        [[event.data for event in (*seen.events, *seen.changes)], result, words, stored(row).settings]
    )
    assert "ya29." not in text
    assert "1//" not in text
    assert "client-secret" not in text


def test_disconnecting_ends_the_access_at_the_provider(acme, mailbox):
    row = connect_gmail(acme)
    assert (check_account(acme.owner, row.id).status, mailbox.oauth.is_granted) == ("ok", True)
    assert stored(row).identity == ADDRESS
    with recorded() as seen:
        remove_account(acme.owner, row.id)
    assert not mailbox.oauth.is_granted
    assert [(event.type, event.data["change"]) for event in seen.changes] == [
        ("integration.changed", "deleted")
    ]


def test_a_provider_that_cannot_be_told_is_said_to_a_person(acme, mailbox):
    row = connect_gmail(acme)
    mailbox.oauth.is_down = True
    with recorded() as seen:
        remove_account(acme.owner, row.id)
    assert seen.change_types == ["integration.changed"]
    assert seen.event_types == ["notification.created"]
    assert "Take the access back there." in seen.events[0].data["message"]


def test_an_account_that_nobody_has_authorized_says_so(gateway, acme, mailbox):
    row = add(acme.owner, "gmail", "new")
    assert (row.status, "is not connected" in row.last_error) == ("unauthorised", True)
    gmail = calling(gateway, acme, "gmail")
    assert gmail.refused("gmail_search", query="").startswith("account_unauthorised:")
    assert not mailbox.calls.all()
