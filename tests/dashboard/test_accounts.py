"""The pages about accounts: added, authorized in the browser, scoped, switched off, disconnected."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from urllib.parse import urlencode

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from services.domain.integrations.models import Integration
from services.domain.tenancy.transaction import tenant_transaction
from tests.dashboard.conftest import at_browser, sign_in
from tests.fakes.github_server import APP_ID, INSTALLATION, OWNER, GithubServer, private_key
from tests.fakes.gmail_server import ADDRESS, GmailServer
from tests.fakes.mcp_upstream import give_consent
from tests.gateway.account_cast import add, point_at, use_google


@pytest.fixture
def mailbox(monkeypatch) -> Iterator[GmailServer]:
    """Run a mailbox on loopback."""
    with GmailServer() as server:
        use_google(monkeypatch, server)
        yield server


def only(acme) -> Integration:
    with tenant_transaction(acme.organisation.id):
        return Integration.objects.get()


def begin(person, row: Integration) -> str:
    """Press the button; returns where the page's link leads."""
    page = person.post(f"/accounts/{row.id}/connect").content.decode()
    found = re.search(r'href="(http://127[^"]+/auth[^"]+)"', page)
    assert found, page
    return html.unescape(found[1])


def test_an_account_is_added_authorized_scoped_and_disconnected(alice, acme, mailbox):
    answer = alice.post(
        "/accounts/new/gmail", {"name": "work", "settings_may_send": "on", "is_for_all": "on"}
    )
    row = only(acme)
    assert answer.headers["Location"] == f"/accounts/{row.id}"
    assert (row.agent_ids, row.owner_id, row.settings["may_send"]) == (None, acme.users["alice"].pk, True)
    assert "is not connected" in alice.get(f"/accounts/{row.id}").content.decode()
    back = f"/integrations/accounts/callback?{urlencode(give_consent(begin(alice, row)))}"
    # Neither somebody else nor another browser of the same person can end it.
    assert at_browser(acme, "bob").get(back).status_code == 302
    sign_in(acme.users["alice"].email).get(back)
    assert only(acme).status == "unauthorised"
    assert alice.get(back).headers["Location"] == f"/accounts/{row.id}"
    assert only(acme).status == "ok"
    assert ADDRESS in alice.get("/accounts").content.decode()
    alice.post(f"/accounts/{row.id}", {"name": "mail", "agents": str(acme.agent.id)})
    assert (only(acme).name, only(acme).agent_ids) == ("mail", [acme.agent.id])
    alice.post(f"/accounts/{row.id}/switch", {"is_enabled": "false"})
    assert only(acme).is_enabled is False
    alice.post(f"/accounts/{row.id}/delete")
    assert not mailbox.oauth.is_granted
    assert "No account is connected" in alice.get("/accounts").content.decode()


def test_what_is_wrong_stands_beside_its_field(alice, acme, mailbox):
    answer = alice.post("/accounts/new/gmail", {"name": "work", "settings_client_id": "two words"})
    assert answer.status_code == 400
    assert 'id="id_settings_client_id_error"' in answer.content.decode()


def test_a_setting_with_fixed_values_is_chosen_from_a_list(alice):
    page = alice.get("/accounts/new/mail").content.decode()
    for key in ("settings_imap_security", "settings_smtp_security"):
        chosen = re.search(rf'<select name="{key}".*?</select>', page, re.DOTALL)
        assert chosen, key
        assert re.findall(r'<option value="(\w+)"( selected)?', chosen[0]) == [
            ("tls", " selected"),
            ("starttls", ""),
        ]
    answer = alice.post("/accounts/new/mail", {"name": "work", "settings_imap_security": "none"})
    assert answer.status_code == 400
    assert 'id="id_settings_imap_security_error"' in answer.content.decode()


def test_a_refused_or_invented_return_changes_nothing(alice, mailbox):
    for query in ("error=access_denied", "code=x&state=y", "", "code=%00&state=%00"):
        answer = alice.get(f"/integrations/accounts/callback?{query}")
        assert (answer.status_code, answer.headers["Location"]) == (302, "/accounts")


def test_a_member_sees_the_organisations_account_and_no_buttons(alice, bob, acme, mailbox):
    alice.post("/accounts/new/gmail", {"name": "shared", "is_shared": "on"})
    page = bob.get(f"/accounts/{only(acme).id}").content.decode()
    assert "shared" in page
    assert "Disconnect" not in page
    bob.post(f"/accounts/{only(acme).id}/delete")
    assert only(acme).name == "shared"


def test_settings_and_a_new_key_are_given_on_a_page_of_their_own(alice, bob, acme, monkeypatch):
    with GithubServer() as server:
        point_at(monkeypatch, github_api_base=server.url)
        row = add(
            acme.owner,
            "github",
            "code",
            settings={"app_id": APP_ID, "installation_id": INSTALLATION, "repositories": [f"{OWNER}/shop"]},
            credentials={"private_key": private_key()},
        )
        path = f"/accounts/{row.id}/settings"
        page = alice.get(path).content.decode()
        assert f"{OWNER}/shop" in page
        assert "PRIVATE KEY" not in page
        fields = {"settings_app_id": APP_ID, "settings_installation_id": str(INSTALLATION)}
        both = fields | {"settings_repositories": f"{OWNER}/shop\n{OWNER}/site", "settings_may_merge": "on"}
        assert alice.post(path, both).status_code == 302
        changed = only(acme)
        assert changed.settings["repositories"] == [f"{OWNER}/shop", f"{OWNER}/site"]
        # A box that is not ticked is off, the key that was not given stays, and so does what is not shown.
        assert (changed.settings["may_write"], changed.settings["may_merge"], changed.status) == (
            False,
            True,
            "ok",
        )
        other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        server.key = other.public_key()
        alice.post(f"/accounts/{row.id}/check")
        assert only(acme).status == "unauthorised"
        assert alice.post(path, both | {"credentials_private_key": private_key(other)}).status_code == 302
        assert only(acme).status == "ok"
        wrong = alice.post(path, both | {"credentials_private_key": "hush"})
        assert (wrong.status_code, "a PEM file" in wrong.content.decode()) == (400, True)
        assert bob.get(path).status_code == 404
