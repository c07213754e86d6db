"""Every page: it opens, is clean, is closed to strangers, and shows nothing of another tenant."""

from __future__ import annotations

import uuid

import pytest
from django.test import Client

from services.api.dashboard.urls import urlpatterns
from tests.dashboard.conftest import assert_clean
from tests.dashboard.samples import Everything, make_everything

LISTS = (
    "/", "/agents", "/agents/new", "/playbooks", "/playbooks/new", "/links", "/links/new/telegram",
    "/links/new/slack", "/approvals",
    "/approvals/rules", "/approvals/rules/new", "/deliveries", "/deliveries?status=failed", "/secrets", "/mcp-servers",
    "/accounts", "/accounts/new/gmail", "/destinations", "/rooms",
    "/usage", "/usage?days=7&by=model", "/usage?days=90&by=chat", "/usage.csv", "/settings/notifications",
    "/settings/models", "/settings/tokens", "/settings/members", "/settings/connected-apps",
    "/settings/organisation", "/settings/audit", "/organisations/new", "/settings/security",
    "/settings/webhooks",
)  # fmt: skip


SERVER_BUTTONS = ("refresh", "approve", "connect", "credential", "delete")
ACCOUNT_BUTTONS = ("check", "connect", "switch", "delete")


def pages_of(made: Everything) -> list[str]:
    """Name the pages about single things."""
    return [
        f"/workspaces/{made.task.workspace_id}",
        f"/workspaces/{made.task.workspace_id}/waits",
        f"/workspaces/{made.task.workspace_id}/terminal",
        f"/agents/{made.task.agent_id}",
        f"/playbooks/{made.playbook.id}",
        f"/links/{made.link.id}",
        f"/chats/{made.chat.id}",
        f"/chats/{made.chat.id}/wire",
        f"/wirings/{made.wiring.id}",
        f"/deliveries/{made.delivery.id}",
        f"/mcp-servers/{made.server.id}",
        f"/secrets/{made.secret.id}",
        f"/accounts/{made.account.id}",
        f"/accounts/{made.account.id}/settings",
        f"/settings/models/keys/{made.model_key.id}",
        f"/approvals/rules/{made.rule.id}",
        f"/destinations/{made.destination.id}",
        f"/rooms/{made.room.id}",
        f"/rooms/{made.room.id}/entries",
        f"/settings/webhooks/{made.webhook.id}",
        f"/settings/webhook-deliveries/{made.webhook_delivery.id}",
    ]


def pages_of_files(made: Everything) -> list[str]:
    """Name the pages that a running sandbox answers for."""
    files = f"/workspaces/{made.task.workspace_id}/files"
    return [files, f"{files}/image"]


def buttons_of(made: Everything) -> list[str]:
    """Name the addresses that change single things."""
    workspace, playbook, link = (
        f"/workspaces/{made.task.workspace_id}", f"/playbooks/{made.playbook.id}", f"/links/{made.link.id}",
    )  # fmt: skip
    return [
        f"{workspace}/prompt", f"{workspace}/tasks/{made.task.id}/stop",
        f"{workspace}/tasks/{made.task.id}/retry", f"{workspace}/rename", f"{workspace}/archive",
        f"{workspace}/delete", f"/agents/{made.task.agent_id}/archive", f"{workspace}/wake",
        *(f"{workspace}/files/{name}" for name in ("upload", "folder", "move", "delete", "save")),
        f"/agents/{made.task.agent_id}/build", f"{playbook}/run", f"{playbook}/switch",
        *(f"{link}/senders/{made.sender.id}/{name}" for name in ("allow", "deny", "forget")),
        f"{link}/unknown-senders", f"{playbook}/delete", f"{link}/pair", f"/agents/{made.task.agent_id}/people",
        f"/agents/{made.task.agent_id}/people/{uuid.uuid4()}/remove",
        f"{link}/connect", f"{link}/check", f"{link}/chats", f"{link}/delete", f"/wirings/{made.wiring.id}/delete",
        f"/deliveries/{made.delivery.id}/retry", f"/secrets/{made.secret.id}/delete",
        f"/settings/connected-apps/{made.app.id}/disconnect",
        *(f"/settings/models/keys/{made.model_key.id}/{name}" for name in ("check", "switch", "delete")),
        f"/settings/models/budgets/{made.budget.id}/delete",
        *(f"/settings/tokens/{made.token.id}/{name}" for name in ("rotate", "revoke")),
        f"/approvals/{made.approval.id}/decide",
        f"/approvals/rules/{made.rule.id}/delete",
        *(f"/mcp-servers/{made.server.id}/{name}" for name in SERVER_BUTTONS),
        f"/secrets/{made.secret.id}/value", f"/secrets/{made.secret.id}/rollback",
        f"/questions/{made.question.id}/answer",
        *(f"/accounts/{made.account.id}/{name}" for name in ACCOUNT_BUTTONS),
        f"/destinations/{made.destination.id}/delete",
        *(f"/rooms/{made.room.id}/{name}" for name in ("agents", "press", "react", "delete")),
        f"/settings/notifications/accounts/{made.chat_account.id}/unlink",
        f"/settings/notifications/push/{made.browser.id}/remove",
        *(f"/settings/webhooks/{made.webhook.id}/{name}" for name in ("test", "switch", "rotate", "delete")),
        f"/settings/webhook-deliveries/{made.webhook_delivery.id}/again",
    ]  # fmt: skip


def test_every_page_opens_and_has_nothing_inline(alice, acme):
    made = make_everything(acme)
    for path in [*LISTS, *pages_of(made)]:
        answer = alice.get(path)
        assert answer.status_code == 200, path
        assert_clean(answer.content.decode())
        assert "sealed-value" not in answer.content.decode()


def test_every_page_is_clean_and_says_what_to_do_next_while_there_is_nothing(mallory):
    for path in LISTS:
        answer = mallory.get(path)
        assert answer.status_code == 200, path
        assert_clean(answer.content.decode())
    assert "No playbook yet" in mallory.get("/playbooks").content.decode()
    assert "No bot is linked" in mallory.get("/links").content.decode()


def test_every_page_carries_a_policy_that_forbids_inline_code_and_other_origins(alice):
    for path in LISTS:
        policy = alice.get(path).headers["Content-Security-Policy"]
        assert "unsafe" not in policy
        assert "script-src 'self'" in policy
        assert "ws://127.0.0.1:8001" in policy


def test_no_page_is_kept_by_a_cache(alice):
    assert "no-store" in alice.get("/").headers["Cache-Control"]


def test_a_stranger_is_asked_to_sign_in_everywhere(acme):
    made = make_everything(acme)
    for path in [*LISTS, *pages_of(made), *pages_of_files(made)]:
        answer = Client().get(path)
        assert answer.status_code == 302, path
        assert answer.headers["Location"].startswith("/sign-in")
    for path in buttons_of(made):
        assert Client().post(path).headers["Location"].startswith("/sign-in"), path


def test_another_tenants_things_are_not_found(mallory, acme):
    made = make_everything(acme)
    for path in [*pages_of(made), *pages_of_files(made)]:
        answer = mallory.get(path)
        assert answer.status_code == 404, path
        assert "Not found" in answer.content.decode()
        assert_clean(answer.content.decode())
    for path in buttons_of(made):
        answer = mallory.post(path, {"prompt": "x", "key": "k"})
        assert answer.status_code == 404, path


def test_another_tenants_member_is_not_found(mallory, acme):
    answer = mallory.post(f"/settings/members/{acme.users['bob'].pk}/remove")
    assert answer.status_code == 404


def test_what_does_not_exist_is_not_found(alice):
    nothing = uuid.uuid4()
    for path in (f"/workspaces/{nothing}", f"/agents/{nothing}", "/links/new/pigeon", "/nowhere"):
        assert alice.get(path).status_code == 404


def test_every_form_without_its_token_is_refused(alice, acme):
    made = make_everything(acme)
    for path in [*buttons_of(made), "/", "/tickets", "/sign-out", "/organisation"]:
        answer = alice.client.post(path, {"org": alice.org_id})
        assert answer.status_code == 403, path
        assert "too old" in answer.content.decode()


def test_buttons_do_nothing_when_they_are_only_looked_at(alice, acme):
    for path in buttons_of(make_everything(acme)):
        assert alice.get(path).status_code == 405, path


def test_a_form_made_for_another_organisation_changes_nothing(alice, acme):
    answer = alice.post("/agents/new", {"org": str(uuid.uuid4()), "name": "Stray", "provider": "shell"})
    assert answer.status_code == 409
    assert "Stray" not in alice.get("/agents").content.decode()


@pytest.mark.parametrize(
    "path", ["/", "/agents", "/playbooks", "/links", "/rooms", "/destinations", "/deliveries", "/secrets"]
)
def test_the_navigation_marks_where_one_is(alice, path):
    assert f'href="{path}" aria-current="page"' in alice.get(path).content.decode()


def test_every_address_of_the_dashboard_is_walked_here(acme):
    made = make_everything(acme)
    walked = {
        *(path.partition("?")[0] for path in LISTS), *pages_of(made), *pages_of_files(made), *buttons_of(made),
        "/tickets", "/sign-out", "/organisation", "/palette", "/oauth/authorize", "/activate", "/sign-in",
        "/integrations/mcp/callback",
        "/integrations/accounts/callback", "/settings/notifications/code", "/settings/notifications/push",
        f"/settings/members/{acme.users['bob'].pk}/remove", f"/settings/members/{acme.users['bob'].pk}/role",
        "/settings/notifications/person", "/join/swi_x", "/settings/security/sessions/end",
        f"/settings/security/sessions/{uuid.uuid4()}/end", "/settings/organisation/leave",
        "/settings/organisation/export", "/settings/organisation/end", "/settings/security/end",
        f"/settings/members/invitations/{uuid.uuid4()}/revoke",
        f"/rooms/{made.room.id}/files/{uuid.uuid4()}",
    }  # fmt: skip
    for pattern in urlpatterns:
        assert any(pattern.pattern.match(path.lstrip("/")) for path in walked), pattern.pattern
