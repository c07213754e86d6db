"""Agents, playbooks, links, secrets and tokens: what forms make, and what they say when they are refused."""

from __future__ import annotations

import html
from datetime import timedelta

import pytest

from services.api.dashboard.schedules import words_for
from services.domain.agents.models import Agent
from services.domain.approvals.models import Approval
from services.domain.chats.actions import update_link
from services.domain.chats.inbound import all_tenants_find_link, store_inbound
from services.domain.chats.models import Chat, Delivery, Link, Wiring
from services.domain.contacts.models import LinkSender
from services.domain.identity.models import ApiToken, Membership
from services.domain.identity.queries import all_tenants_authenticate
from services.domain.playbooks.models import Playbook
from services.domain.ports.chat import ChatKind, Place, Sender
from services.domain.ports.chat import InboundMessage as Incoming
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.upstreams.actions import NewUpstream, register_upstream
from services.domain.vault.models import Secret
from services.kit.clock import now
from tests.dashboard.samples import make_everything
from tests.domain.cast import granted
from tests.fakes.chat_places import drain

AGENT = {
    "name": "Reporter", "provider": "claude", "model": "", "instructions": "Be brief.", "mcp_servers": ["memory"],
    "tools": "Bash\nRead", "timeout_s": "600", "max_budget_usd": "1.5", "memory_mb": "512", "cpus": "0.5",
    "idle_stop_s": "60", "when_busy": "queue",
}  # fmt: skip


def only(tenant, model):
    """Return the newest row of a tenant."""
    with tenant_transaction(tenant.organisation.id):
        return model.objects.order_by("-id").first()


def test_an_agent_is_made_with_what_was_typed(alice, acme):
    assert alice.post("/agents/new", AGENT).headers["Location"] == "/agents"
    agent = only(acme, Agent)
    assert agent.when_busy == "queue"
    assert (agent.name, agent.provider, agent.mcp_servers, agent.tools) == (
        "Reporter",
        "claude",
        ["memory"],
        ["Bash", "Read"],
    )
    assert (agent.max_budget_microusd, agent.timeout_s, agent.cpus) == (1_500_000, 600, 0.5)


def test_an_agents_page_shows_what_was_saved_and_saves_what_is_changed(alice, acme):
    alice.post("/agents/new", AGENT)
    agent = only(acme, Agent)
    page = alice.get(f"/agents/{agent.id}").content.decode()
    assert 'value="1.5"' in page
    assert "Bash\nRead" in page
    alice.post(f"/agents/{agent.id}", {**AGENT, "name": "Writer", "max_budget_usd": "", "tools": ""})
    agent = only(acme, Agent)
    assert (agent.name, agent.max_budget_microusd, agent.tools) == ("Writer", None, None)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("name", "", "This field is required."),
        ("timeout_s", "0", "greater than or equal to 1"),
        ("provider", "pigeon", "Select a valid choice"),
        ("mcp_servers", ["nowhere"], "Select a valid choice"),
        ("max_budget_usd", "-1", "greater than or equal to 0"),
        ("cpus", "nan", "Enter a number"),
    ],
)
def test_a_wrong_field_says_what_is_wrong_beside_it(alice, field, value, message):
    answer = alice.post("/agents/new", {**AGENT, field: value})
    assert answer.status_code == 400
    page = answer.content.decode()
    assert "Nothing was saved." in page
    assert message in page
    assert "Be brief." in page


def test_a_name_that_is_taken_is_said_in_words(alice):
    alice.post("/agents/new", AGENT)
    answer = alice.post("/agents/new", AGENT)
    assert answer.status_code == 400
    assert "An agent with this name exists." in answer.content.decode()


def test_an_archived_agent_leaves_the_list(alice, acme):
    alice.post(f"/agents/{acme.agent.id}/archive")
    assert "No agent yet" in alice.get("/agents").content.decode()
    assert "This agent is archived." in alice.get(f"/agents/{acme.agent.id}").content.decode()


def playbook_fields(tenant, **changes):
    return {
        "name": "Morning", "agent_id": str(tenant.agent.id), "prompt": "df -h", "cron": "30 7 * * 1-5",
        "timezone": "Europe/Berlin", "is_enabled": "on", **changes,
    }  # fmt: skip


def test_a_playbook_is_made_and_its_secret_shown_once(alice, acme):
    page = alice.post("/playbooks/new", playbook_fields(acme)).content.decode()
    playbook = only(acme, Playbook)
    assert "whsec_" in page
    assert f"/hooks/playbook/{playbook.id}" in page
    assert "on weekdays at 07:30" in page
    assert playbook.next_run_at is not None
    assert "whsec_" not in alice.get(f"/playbooks/{playbook.id}").content.decode()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("cron", "every day", "A schedule has five fields"),
        ("cron", "99 * * * *", "The schedule cannot be read"),
        ("timezone", "Middle/Earth", "There is no such time zone"),
        ("prompt", "", "This field is required."),
    ],
)
def test_a_wrong_playbook_says_what_is_wrong(alice, acme, field, value, message):
    answer = alice.post("/playbooks/new", playbook_fields(acme, **{field: value}))
    assert answer.status_code == 400
    assert message in answer.content.decode()


def test_a_playbook_is_switched_run_and_deleted(alice, acme):
    alice.post("/playbooks/new", playbook_fields(acme))
    playbook = only(acme, Playbook)
    address = f"/playbooks/{playbook.id}"
    alice.post(f"{address}/switch", {"is_enabled": "no"})
    assert not only(acme, Playbook).is_enabled
    first = alice.post(f"{address}/run", {"key": "once"})
    assert first.headers["Location"].startswith("/workspaces/")
    assert alice.post(f"{address}/run", {"key": "once"}).headers["Location"] == first.headers["Location"]
    assert first.headers["Location"] in alice.get(address).content.decode()
    alice.post(f"{address}/delete")
    assert only(acme, Playbook) is None


def test_a_run_that_could_not_start_says_why(alice, acme):
    alice.post("/playbooks/new", playbook_fields(acme))
    playbook = only(acme, Playbook)
    alice.post(f"/agents/{acme.agent.id}/archive")
    address = f"/playbooks/{playbook.id}"
    assert alice.post(f"{address}/run").headers["Location"] == address
    assert "It did not run." in alice.get(address).content.decode()


@pytest.mark.parametrize(
    ("cron", "words"),
    [
        ("* * * * *", "every minute"),
        ("*/15 * * * *", "every 15 minutes"),
        ("5 * * * *", "every hour at :05"),
        ("0 */6 * * *", "every 6 hours at :00"),
        ("30 7 * * *", "every day at 07:30"),
        ("30 7 * * 1-5", "on weekdays at 07:30"),
        ("0 9 * * 1", "on Mondays at 09:00"),
        ("0 9 1 * *", "on day 1 of each month at 09:00"),
        ("0 9 1 1 *", "0 9 1 1 *"),
        ("0 9 1 * 1", "0 9 1 * 1"),
        ("1,2 3 * * *", "1,2 3 * * *"),
        ("", ""),
    ],
)
def test_a_schedule_is_read_out_loud(cron, words):
    assert words_for(cron) == words


def test_a_link_whose_platform_refuses_is_kept_with_the_reason(alice, acme, monkeypatch):
    from services.api import linking
    from services.domain.errors import PlatformRefused

    class Refusing:
        def __init__(self, adapter):
            self._adapter = adapter

        def __getattr__(self, name):
            return getattr(self._adapter, name)

        def connect(self, config, hook_url):
            raise PlatformRefused("Telegram does not know this token.")

    real = linking.adapters()
    monkeypatch.setattr(
        linking, "adapters", lambda: {kind: Refusing(adapter) for kind, adapter in real.items()}
    )
    answer = alice.post(
        "/links/new/telegram", {"name": "Helpdesk", "bot_token": "123:abc", "unknown_senders": "strict"}
    )
    link = only(acme, Link)
    assert link.unknown_senders == "strict"
    assert answer.headers["Location"] == f"/links/{link.id}"
    page = alice.get(f"/links/{link.id}").content.decode()
    assert "Telegram does not know this token." in page
    assert f"/hooks/telegram/{link.id}" in page
    assert "123:abc" not in page


def test_a_links_wrong_configuration_is_refused_without_being_repeated(alice, acme):
    answer = alice.post(
        "/links/new/telegram",
        {"name": "Helpdesk", "bot_token": "not-a-token-at-all", "unknown_senders": "strict"},
    )
    assert answer.status_code == 400
    assert "not-a-token-at-all" not in answer.content.decode()
    assert only(acme, Link) is None


def test_a_chat_is_wired_changed_and_unwired(alice, acme):
    made = make_everything(acme)
    with tenant_transaction(acme.organisation.id):
        chat = Chat.objects.create(
            org_id=acme.organisation.id, link=made.link, platform_chat_id="-200", kind="group", title="Second"
        )
    bob = str(acme.people["bob"].user_id)
    fields = {"agent_id": str(acme.agent.id), "engage": "pattern", "pattern": "^deploy", "session_mode": "shared",
              "sender_scope": "people", "people": bob, "unanswered": "drop", "bot_turns": "2", "is_exclusive": "on",
              "quiet_from": "22:00", "quiet_to": "07:00", "time_zone": "Europe/Berlin",
              "priority": "5", "is_enabled": "on", "live_answers": "auto"}  # fmt: skip
    assert alice.post(f"/chats/{chat.id}/wire", fields).headers["Location"] == f"/chats/{chat.id}"
    wiring = only(acme, Wiring)
    assert (wiring.engage, wiring.pattern, wiring.priority) == ("pattern", "^deploy", 5)
    assert (wiring.sender_scope, [str(one) for one in wiring.people]) == ("people", [bob])
    assert (wiring.unanswered, wiring.bot_turns, wiring.is_exclusive) == ("drop", 2, True)
    assert (wiring.quiet_from.hour, wiring.quiet_to.hour, wiring.time_zone) == (22, 7, "Europe/Berlin")
    page = alice.get(f"/chats/{chat.id}").content.decode()
    assert "answers: pattern" in page
    assert "quiet 22:00–07:00 Europe/Berlin" in page
    again = alice.post(f"/chats/{chat.id}/wire", fields)
    assert "The chat is wired to this agent already." in again.content.decode()
    broken = alice.post(f"/wirings/{wiring.id}", {**fields, "pattern": "("})
    assert broken.status_code == 400
    assert "This is no regular expression that can be used" in broken.content.decode()
    alice.post(f"/wirings/{wiring.id}", {**fields, "engage": "always"})
    assert only(acme, Wiring).engage == "always"
    alice.post(f"/wirings/{wiring.id}/delete")
    assert only(acme, Wiring).id != wiring.id


def test_a_chats_page_says_why_a_message_was_answered_or_not(alice, acme):
    made = make_everything(acme)
    update_link(acme.owner, made.link.id, unknown_senders="public")
    handle = all_tenants_find_link(made.link.id, made.link.kind)
    for key, is_mention in (("m1", False), ("m2", True)):
        message = Incoming(
            key,
            Place(made.chat.platform_chat_id),
            ChatKind.GROUP,
            "",
            Sender("9", "Eve"),
            key,
            is_mention,
            key,
            now(),
        )
        store_inbound(handle, [message])
    drain("message.route")
    page = alice.get(f"/chats/{made.chat.id}").content.decode()
    assert "it was not spoken to" in page
    assert "it was spoken to" in page
    assert "this bot answers anybody" in page
    context = alice.get(f"/chats/{made.chat.id}?became=context").content.decode()
    assert ("m1" in context, "m2" in context) == (True, False)


def test_an_admin_chooses_the_agent_of_a_new_chat(alice, acme):
    made = make_everything(acme)
    update_link(acme.owner, made.link.id, unknown_senders="public")
    handle = all_tenants_find_link(made.link.id, made.link.kind)
    message = Incoming(
        "m1", Place("-300"), ChatKind.GROUP, "New", Sender("9", "Eve"), "hi", True, "m1", now()
    )
    with tenant_transaction(acme.organisation.id):
        Link.objects.update(default_agent=None)
    store_inbound(handle, [message])
    drain("message.route")
    with tenant_transaction(acme.organisation.id):
        approval = Approval.objects.get(kind="new_chat")
    page = alice.get("/approvals").content.decode()
    assert "A bot has no agent for this" in page
    assert f'<option value="{acme.agent.id}">' in page
    alice.post(f"/approvals/{approval.id}/decide", {"decision": "allow", "choice": str(acme.agent.id)})
    with tenant_transaction(acme.organisation.id):
        assert Wiring.objects.get(chat__platform_chat_id="-300").agent_id == acme.agent.id


def test_a_failed_delivery_is_sent_again_once(alice, acme):
    made = make_everything(acme)
    address = f"/deliveries/{made.delivery.id}/retry"
    alice.post(address)
    assert only(acme, Delivery).status == "queued"
    alice.post(address)
    assert "Only a failed delivery can be sent again." in alice.get("/deliveries").content.decode()


def test_a_secret_is_sealed_granted_and_never_shown(alice, acme):
    fields = {"name": "GITHUB_TOKEN", "value": "ghp_very_secret", "agents": [str(acme.agent.id)]}
    assert alice.post("/secrets", fields).headers["Location"] == "/secrets"
    page = alice.get("/secrets").content.decode()
    assert "GITHUB_TOKEN" in page
    assert "ghp_very_secret" not in page
    assert granted(acme) == {"GITHUB_TOKEN": "ghp_very_secret"}


def test_a_secret_without_a_grant_reaches_no_agent(alice, acme):
    alice.post("/secrets", {"name": "LONELY", "value": "x"})
    assert granted(acme) == {}


@pytest.mark.parametrize("name", ["lower", "ANTHROPIC_API_KEY", "PATH", "1ST"])
def test_a_secret_with_a_forbidden_name_is_refused_without_showing_it(alice, acme, name):
    answer = alice.post("/secrets", {"name": name, "value": "the-value-itself"})
    assert answer.status_code == 400
    assert only(acme, Secret) is None


def test_a_secret_is_deleted(alice, acme):
    alice.post("/secrets", {"name": "OLD", "value": "x", "is_for_all": "on"})
    alice.post(f"/secrets/{only(acme, Secret).id}/delete")
    assert only(acme, Secret) is None


def test_a_secret_is_brokered_changed_and_gone_back_to_on_its_page(alice, acme):
    line = "api.example.com/repos GET -> header Authorization: Bearer {value}"
    fields = {
        "name": "HELD",
        "value": "value-number-one",
        "mode": "brokered",
        "bindings": line,
        "is_for_all": "on",
    }
    alice.post("/secrets", fields)
    address = f"/secrets/{only(acme, Secret).id}"
    assert line in html.unescape(alice.get(address).content.decode())
    moved = {**fields, "bindings": "evil.example.com -> query key", "value": ""}
    refused = alice.post(address, moved)
    assert (refused.status_code, "needs its value again" in refused.content.decode()) == (400, True)
    nonsense = alice.post(address, {**fields, "bindings": "to wherever", "value": "value-number-two"})
    assert nonsense.status_code == 400
    assert "value-number-two" not in nonsense.content.decode()
    alice.post(f"{address}/value", {"value": "value-number-two"})
    alice.post(f"{address}/rollback", {"version": "1"})
    assert (only(acme, Secret).version, granted(acme)) == (1, {"HELD": "value-number-one"})
    page = alice.get(address).content.decode()
    assert "Version 2" in page
    assert "value-number" not in page


def test_a_token_is_shown_once_and_works(alice, acme):
    page = alice.post(
        "/settings/tokens", {"name": "laptop", "days": "30", "scopes": ["tasks:read"]}
    ).content.decode()
    text = page.partition("data-made-token>")[2].partition("<")[0]
    actor = all_tenants_authenticate(text)
    assert actor.scopes == frozenset({"tasks:read"})
    assert only(acme, ApiToken).expires_at < now() + timedelta(days=31)
    assert text not in alice.get("/settings/tokens").content.decode()


def test_a_token_may_be_for_mcp_servers_alone_and_only_for_those_that_there_are(alice, acme, globex):
    for tenant, name in ((acme, "weather"), (globex, "theirs")):
        register_upstream(tenant.owner, NewUpstream(name=name, url=f"https://{name}.example.com/mcp"))
    fields = {"name": "editor", "days": "7", "mcp_scopes": ["mcp:gmail:read", "mcp:upstream/weather"]}
    page = alice.post("/settings/tokens", fields).content.decode()
    text = page.partition("data-made-token>")[2].partition("<")[0]
    assert all_tenants_authenticate(text).scopes == frozenset({"mcp:gmail:read", "mcp:upstream/weather"})
    refused = alice.post("/settings/tokens", {**fields, "mcp_scopes": ["mcp:upstream/theirs"]})
    assert refused.status_code == 400
    assert "theirs" not in alice.get("/settings/tokens").content.decode()


def test_a_token_without_scopes_is_refused(alice):
    answer = alice.post("/settings/tokens", {"name": "laptop", "days": "30"})
    assert answer.status_code == 400
    assert "data-made-token" not in answer.content.decode()


def test_members_revoke_their_own_tokens_only(alice, bob, acme):
    with tenant_transaction(acme.organisation.id):
        theirs = ApiToken.objects.get(user=acme.users["alice"])
        own = ApiToken.objects.get(user=acme.users["bob"])
    assert bob.post(f"/settings/tokens/{theirs.id}/revoke").status_code == 404
    bob.post(f"/settings/tokens/{own.id}/revoke")
    with tenant_transaction(acme.organisation.id):
        assert ApiToken.objects.get(id=own.id).revoked_at is not None
        assert ApiToken.objects.get(id=theirs.id).revoked_at is None


def test_members_are_removed_by_admins_only(alice, bob, acme):
    address = f"/settings/members/{acme.users['bob'].pk}/remove"
    bob.post(f"/settings/members/{acme.users['alice'].pk}/remove")
    assert "This needs the role admin." in bob.get("/settings/members").content.decode()
    alice.post(address)
    with tenant_transaction(acme.organisation.id):
        assert Membership.objects.count() == 1


def test_the_last_owner_stays(alice, acme):
    alice.post(f"/settings/members/{acme.users['alice'].pk}/remove")
    assert "The last owner cannot leave." in alice.get("/settings/members").content.decode()


def policy_of(link: Link) -> str:
    return Link.objects.using("operator").get(id=link.id).unknown_senders


def test_unknown_senders_of_a_link_are_let_in_refused_and_forgotten(alice, bob, acme):
    made = make_everything(acme)
    link = f"/links/{made.link.id}"
    assert "Eve" in alice.get(link).content.decode()
    assert "Let in" not in bob.get(link).content.decode()
    bob.post(f"{link}/senders/{made.sender.id}/allow")
    assert only(acme, LinkSender).standing == "unknown"
    for name, standing in (("allow", "allowed"), ("deny", "denied")):
        assert alice.post(f"{link}/senders/{made.sender.id}/{name}").headers["Location"] == link
        assert only(acme, LinkSender).standing == standing
    alice.post(f"{link}/senders/{made.sender.id}/forget")
    assert only(acme, LinkSender) is None
    bob.post(f"{link}/unknown-senders", {"unknown_senders": "public"})
    assert policy_of(made.link) == "request_approval"
    alice.post(f"{link}/unknown-senders", {"unknown_senders": "public"})
    assert policy_of(made.link) == "public"
    assert "Are answered like anybody" in alice.get(link).content.decode()
    assert alice.post(f"{link}/unknown-senders", {"unknown_senders": "anybody"}).status_code == 400


def test_roles_are_changed_by_admins_only(alice, bob, acme):
    address = f"/settings/members/{acme.users['bob'].pk}/role"
    bob.post(address, {"role": "admin"})
    assert "This needs the role admin." in bob.get("/settings/members").content.decode()
    alice.post(address, {"role": "admin"})
    assert "The role is changed." in alice.get("/settings/members").content.decode()
    alice.post(f"/settings/members/{acme.users['alice'].pk}/role", {"role": "viewer"})
    assert "The last owner stays one." in alice.get("/settings/members").content.decode()


def test_the_people_of_an_agent_are_given_roles_on_its_page(alice, acme):
    page = f"/agents/{acme.agent.id}"
    bob = acme.users["bob"]
    alice.post(f"{page}/people", {"user_id": str(bob.pk), "role": "admin"})
    assert "The role is given." in (shown := alice.get(page).content.decode())
    assert f"{page}/people/{bob.pk}/remove" in shown
    alice.post(f"{page}/people/{bob.pk}/remove")
    assert f"{page}/people/{bob.pk}/remove" not in alice.get(page).content.decode()
