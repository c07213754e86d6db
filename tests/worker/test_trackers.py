"""What is said at GitHub and Linear becomes work that knows what it is about, and the answer goes back there."""

from __future__ import annotations

import json
from typing import Any

import pytest

from conftest import Tenant
from services.adapters.chat.github.tests.payloads import CONFIG as GITHUB
from services.adapters.chat.github.tests.payloads import SECRET as GITHUB_SECRET
from services.adapters.chat.linear.tests.payloads import CONFIG as LINEAR
from services.adapters.chat.linear.tests.payloads import SECRET as LINEAR_SECRET
from services.adapters.chat.registry import build_adapters
from services.api.hooks import receive
from services.domain.chats.actions import create_link
from services.domain.chats.models import Link
from services.domain.ports.chat import HookRequest
from services.domain.tasks.models import Task
from services.kit.clock import now
from services.worker.jobs import chats
from tests.fakes import github_chat_server, linear_server
from tests.fakes.chat_places import drain
from tests.fakes.github_chat_server import GithubChatServer
from tests.fakes.linear_server import FakeLinear


def _link(tenant: Tenant, kind: str, config: dict[str, Any]) -> Link:
    return create_link(
        tenant.owner,
        kind=kind,
        name=kind,
        config=config,
        default_agent_id=tenant.agent.id,
        unknown_senders="public",
    )


def _use(monkeypatch: pytest.MonkeyPatch, settings: dict[str, str]) -> None:
    built = build_adapters(settings)
    monkeypatch.setattr(chats, "adapters", lambda: built)
    monkeypatch.setattr(receive, "adapters", lambda: built)


def _prompts() -> list[str]:
    return list(Task.objects.using("operator").order_by("id").values_list("prompt", flat=True))


def test_a_comment_at_github_is_work_that_knows_its_issue(
    acme: Tenant, database: None, monkeypatch: pytest.MonkeyPatch
):
    with GithubChatServer() as server:
        server.add_issue("shop", "Login fails", "It says 500.")
        _use(monkeypatch, {"GITHUB_API_BASE": server.url})
        link = _link(acme, "github", GITHUB.revealed())
        event = server.comment_event("shop", 1, "@acme-agents mend it")
        body = json.dumps(event).encode()
        for _ in range(2):
            headers = github_chat_server.sign(body, GITHUB_SECRET, "issue_comment", "guid-1")
            receive.receive_update("github", link.id, HookRequest("POST", headers, {}, body, now()))
        drain("message.route")
        (prompt,) = _prompts()
        assert "Login fails\n\nIt says 500." in prompt
        assert prompt.endswith("mend it")
        assert [entry["on"] for entry in server.reactions.all()] == [f"comment:{event['comment']['id']}"]


def test_a_session_at_linear_is_answered_at_once_and_is_work_that_knows_its_issue(
    acme: Tenant, database: None, monkeypatch: pytest.MonkeyPatch
):
    with FakeLinear() as server:
        _use(monkeypatch, {"LINEAR_API_BASE": server.url})
        link = _link(acme, "linear", LINEAR.revealed())
        event = server.open_session("@slipway mend it", promptContext="<issue>Login fails</issue>")
        body = json.dumps(event).encode()
        for _ in range(2):
            headers = linear_server.sign(body, LINEAR_SECRET, "AgentSessionEvent", "delivery-1")
            receive.receive_update("linear", link.id, HookRequest("POST", headers, {}, body, now()))
        drain("message.route")
        (prompt,) = _prompts()
        assert "<issue>Login fails</issue>" in prompt
        assert prompt.endswith("mend it")
        assert [entry["kind"] for entry in server.sent.all()] == ["thought"]
