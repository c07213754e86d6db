"""The uses of a credential stand on its page, whatever kind it is."""

from __future__ import annotations

import re

import pytest

from services.domain.upstreams.actions import NewUpstream, register_upstream
from services.domain.vault.accesses import Access, Used, record_accesses
from services.domain.vault.models import AccessWay
from tests.domain.cast import keep_one_of_each, running, use_of

PAGES = {
    "secret": "/secrets",
    "account": "/accounts",
    "mcp_server": "/mcp-servers",
    "model_key": "/settings/models/keys",
}


def uses_on(page: str) -> str:
    """Return the text of the part about uses."""
    part = page.partition("<h2>Uses</h2>")[2].partition("</section>")[0]
    return re.sub(r"\s+", " ", re.sub("<[^>]+>", " ", part))


@pytest.mark.parametrize("kind", PAGES)
def test_uses_are_shown_with_their_agent_place_and_conversation(alice, mallory, acme, kind):
    row = keep_one_of_each(acme)[kind]
    path = f"{PAGES[kind]}/{row.id}"
    page = alice.get(path).content.decode()
    assert "It was never used." in uses_on(page)
    assert "<dd>never</dd>" in page
    task, _ = running(acme)
    tried = Access.by_person(acme.owner, Used.of(row), AccessWay.CHECK, host="tried.example.com")
    for use in (use_of(task, row, count=3), tried):
        record_accesses(acme.organisation.id, [use])
    page = alice.get(path).content.decode()
    by_person, by_agent = uses_on(page).split("Shell")
    assert "a person Check" in by_person
    assert "tried.example.com" in by_person
    assert "Upstream" in by_agent
    assert "api.example.com , 3 times" in by_agent
    assert ("version 1" in by_agent) == (kind == "secret")
    assert f"/workspaces/{task.workspace_id}" in page
    assert "<dd>never</dd>" not in page.partition("<h2>Uses</h2>")[0].partition("Expires")[0]
    assert mallory.get(path).status_code == 404


def test_a_server_without_a_credential_shows_no_uses(alice, acme):
    row = register_upstream(acme.owner, NewUpstream(name="open", url="https://mcp.example.com/"))
    assert "<h2>Uses</h2>" not in alice.get(f"/mcp-servers/{row.id}").content.decode()


def test_a_keys_page_is_reached_from_the_list_and_shows_no_key(alice, acme):
    row = keep_one_of_each(acme)["model_key"]
    assert f'href="/settings/models/keys/{row.id}"' in alice.get("/settings/models").content.decode()
    assert "sk-ant-own-key" not in alice.get(f"/settings/models/keys/{row.id}").content.decode()
