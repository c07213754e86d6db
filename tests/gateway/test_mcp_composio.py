"""The Composio tools against a local catalogue."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from conftest import Tenant, recorded
from services.domain.integrations.models import Integration
from tests.fakes.composio_server import KEY, USER, ComposioServer
from tests.fakes.serving import Fault
from tests.gateway.account_cast import add, allow, calling, make_impatient, point_at, stored
from tests.gateway.serving import Caller


@pytest.fixture
def catalogue(monkeypatch) -> Iterator[ComposioServer]:
    """Run the catalogue on loopback."""
    with ComposioServer() as server:
        point_at(monkeypatch, composio_api_base=server.url)
        yield server


def connect(tenant: Tenant, name: str = "tools", key: str = KEY, **settings: str) -> Integration:
    return add(
        tenant.owner,
        "composio",
        name,
        settings={"user_id": USER, **settings},
        credentials={"api_key": key},
    )


@pytest.fixture
def running(acme, globex, monkeypatch) -> None:
    """Let tools run without a person's word."""
    make_impatient(monkeypatch)
    for tenant in (acme, globex):
        allow(tenant, "composio.*")


@pytest.fixture
def account(catalogue, acme) -> Integration:
    """Connect it as alice."""
    return connect(acme)


@pytest.fixture
def composio(gateway, acme, account, running) -> Caller:
    """Call the Composio tools for alice, who lets them run."""
    return calling(gateway, acme, "composio")


def test_connecting_says_whose_and_how_many_accounts_there_are(account):
    assert (account.status, stored(account).identity) == ("ok", f"{USER} (2 connected)")


def test_only_the_users_own_connections_are_listed(composio):
    found = composio("composio_list_connections")["connections"]
    assert [(each["connection_id"], each["status"]) for each in found] == [
        ("ca_github", "ACTIVE"),
        ("ca_notion", "EXPIRED"),
    ]


def test_a_tool_is_found_read_and_run(composio, catalogue):
    assert [each["slug"] for each in composio("composio_list_toolkits", search="not")["toolkits"]] == [
        "notion"
    ]
    (found,) = composio("composio_search_tools", query="create", toolkit="github")["tools"]
    schema = composio("composio_get_tool", slug=found["slug"])
    assert json.loads(schema["input_schema_json"])["required"] == ["title"]
    done = composio("composio_execute_tool", slug=found["slug"], arguments={"title": "Bug"})
    assert (done["successful"], json.loads(done["result_json"])) == (True, {"number": 7})
    assert catalogue.executed.all() == [
        {"slug": "GITHUB_CREATE_AN_ISSUE", "user_id": USER, "arguments": {"title": "Bug"}}
    ]


def test_a_tool_that_fails_says_why(composio, catalogue):
    done = composio("composio_execute_tool", slug="NOTION_CREATE_PAGE", arguments={})
    assert (done["successful"], done["error"]) == (False, "missing: title")
    assert not catalogue.executed.all()


def test_a_connection_of_somebody_else_is_not_used(composio, catalogue):
    for connection in ("ca_other", "ca_nothing"):
        words = composio.refused(
            "composio_execute_tool",
            slug="GITHUB_CREATE_AN_ISSUE",
            arguments={"title": "x"},
            connection_id=connection,
        )
        assert words.startswith("item_not_found: There is no such connection.")
    assert not catalogue.executed.all()
    composio(
        "composio_execute_tool",
        slug="GITHUB_CREATE_AN_ISSUE",
        arguments={"title": "x"},
        connection_id="ca_github",
    )
    assert catalogue.executed.all()[0]["connected_account_id"] == "ca_github"


def test_what_the_settings_do_not_allow_is_neither_found_nor_run(gateway, acme, catalogue, running):
    connect(acme, "narrow", toolkits="github", tools="GITHUB_CREATE_*")
    composio = calling(gateway, acme, "composio")
    assert [each["slug"] for each in composio("composio_list_toolkits")["toolkits"]] == ["github"]
    assert composio("composio_search_tools", query="delete")["tools"] == []
    assert [each["toolkit"] for each in composio("composio_list_connections")["connections"]] == ["github"]
    for slug in ("GITHUB_DELETE_A_REPOSITORY", "NOTION_CREATE_PAGE"):
        for name, given in (
            ("composio_get_tool", {}),
            ("composio_execute_tool", {"arguments": {"title": "x"}}),
        ):
            assert composio.refused(name, slug=slug, **given).startswith("account_denied:")
    assert not catalogue.executed.all()


def test_a_long_result_is_cut_and_says_so(composio, catalogue):
    catalogue.result = {"text": "x" * 100_000}
    done = composio("composio_execute_tool", slug="GITHUB_CREATE_AN_ISSUE", arguments={"title": "x"})
    assert (len(done["result_json"]), done["is_cut"]) == (60_000, True)


@pytest.mark.parametrize(
    ("fault", "code"),
    [("throttle", "account_throttled"), ("forbid", "account_denied"), ("error", "account_unreachable")],
)
def test_a_catalogue_that_refuses_costs_the_call_only(composio, catalogue, account, fault, code):
    catalogue.faults.plan(Fault(fault, method="/tools"))
    assert composio.refused("composio_search_tools", query="create").startswith(f"{code}:")
    assert stored(account).status == "ok"


def test_what_is_not_there_is_refused_with_where_to_look(composio):
    assert "composio_search_tools" in composio.refused("composio_get_tool", slug="NO_SUCH_TOOL")
    assert composio.refused("composio_get_tool", slug="../toolkits").startswith("invalid:")


def test_a_key_that_is_not_taken_closes_the_account_and_is_told_without_it(composio, catalogue, account):
    catalogue.keys.clear()
    with recorded() as seen:
        words = composio.refused("composio_list_connections")
    assert words.startswith("account_unauthorised:")
    assert seen.change_types == ["integration.changed"]
    assert seen.event_types == ["notification.created"]
    text = json.dumps(
        [words, [event.data for event in (*seen.events, *seen.changes)], stored(account).settings]
    )
    assert KEY not in text
    assert stored(account).status == "unauthorised"


def test_a_tool_waits_for_a_person_where_no_rule_speaks(gateway, acme, catalogue, account, monkeypatch):
    make_impatient(monkeypatch)
    composio = calling(gateway, acme, "composio")
    words = str(
        composio.raw("composio_execute_tool", slug="GITHUB_CREATE_AN_ISSUE", arguments={"title": "x"})
    )
    assert "held" in words
    assert not catalogue.executed.all()


def test_another_tenant_and_another_member_find_nothing(gateway, acme, globex, account, running):
    mallory = calling(gateway, globex, "composio")
    assert mallory.refused("composio_list_connections").startswith("account_not_connected:")
    bob = calling(gateway, acme, "composio", who=acme.people["bob"])
    words = bob.refused("composio_execute_tool", slug="GITHUB_CREATE_AN_ISSUE", arguments={"title": "x"})
    assert words.startswith("account_not_connected:")
