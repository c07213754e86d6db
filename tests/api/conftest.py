"""What the API's tests share: a client that checks every answer against the OpenAPI document, and a furnished acme."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import pytest
from pydantic import SecretStr

from conftest import Tenant
from services.api import sandbox_files
from services.api.linking import checked_config
from services.api.signing.sessions import list_sessions
from services.domain.actors import Actor
from services.domain.agents.actions import update_agent
from services.domain.agents.models import Agent
from services.domain.approvals.actions import Question, request_approval
from services.domain.approvals.models import Approval
from services.domain.approvals.rule_actions import create_rule
from services.domain.approvals.rules import RuleFields
from services.domain.calls.models import CallKind
from services.domain.calls.records import CallRecord, all_tenants_store_calls, batch_of
from services.domain.chats.actions import create_link
from services.domain.chats.inbound import all_tenants_find_link, store_inbound
from services.domain.chats.models import Chat, Delivery, DeliveryAttempt
from services.domain.chats.wirings import WiringFields, create_wiring
from services.domain.commands.actions import start_command
from services.domain.contacts.destinations import DestinationFields, create_destination
from services.domain.contacts.models import LinkSender, PlatformAccount
from services.domain.identity.actions import create_token
from services.domain.identity.exports import order_export
from services.domain.identity.invitations import invite
from services.domain.integrations.actions import NewIntegration, connect_integration
from services.domain.llm.actions import update_policy
from services.domain.llm.budgets import BudgetFields, put_budget
from services.domain.llm.keys import NewKey, create_key
from services.domain.llm.logs import RawCall, store_call
from services.domain.llm.models import BudgetLevel, BudgetPeriod, CallLog, KeyStatus, LlmVendor
from services.domain.llm.rules import LogRules
from services.domain.memory.actions import write_memory
from services.domain.oauth.clients import create_client
from services.domain.playbooks.actions import PlaybookFields, create_playbook
from services.domain.ports.chat import ChatKind, InboundMessage, Place, Sender
from services.domain.push.keys import ensure_push_key
from services.domain.push.subscriptions import add_subscription
from services.domain.questions.models import Question as AskedQuestion
from services.domain.rooms.actions import open_room
from services.domain.rooms.files import Upload, add_file
from services.domain.rooms.queries import list_entries
from services.domain.rooms.writing import Words, write_message
from services.domain.skills.actions import SkillFields, create_skill
from services.domain.tasks.finish import Outcome, finish_locked_task
from services.domain.tasks.models import Task
from services.domain.tasks.submit import TaskOrder, lock_task, submit_task
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.upstreams.actions import NewUpstream, register_upstream
from services.domain.vault.actions import create_secret
from services.domain.vault.fields import NewSecret
from services.domain.webhooks.actions import WebhookFields, create_webhook, ping_webhook
from services.kit.clock import now
from services.kit.environment import environment
from tests.api.client import Api
from tests.dashboard.conftest import sign_in
from tests.dashboard.samples import BROWSER
from tests.fakes.oauth_client import connect

BOT_TOKEN = "110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw"
HOOK_SECRET = "a-secret_that-telegram-sends"
SIGNING_SECRET = "8f742231b10e8888abcd99yyyzzz85a5"


@dataclass(frozen=True)
class World:
    """One of each thing that acme can have, by the name that its id has in the routes."""

    ids: dict[str, uuid.UUID]
    hook_secret: str

    def __getitem__(self, name: str) -> str:
        return str(self.ids[name])


@pytest.fixture(autouse=True)
def nobody_waits_for_sandboxes(monkeypatch: pytest.MonkeyPatch) -> None:
    """No worker runs here that would start one."""
    monkeypatch.setattr(sandbox_files, "WAKE_S", 0)


@pytest.fixture
def alice(acme: Tenant) -> Api:
    """Give acme's owner, by API token."""
    return Api(acme.token)


@pytest.fixture
def mallory(globex: Tenant) -> Api:
    """Give globex's owner, by API token."""
    return Api(globex.token)


@pytest.fixture
def world(acme: Tenant, monkeypatch: pytest.MonkeyPatch) -> World:
    """Furnish acme with one of each thing."""
    ensure_push_key()
    owner = acme.owner
    task = submit_task(owner, TaskOrder(agent_id=acme.agent.id, prompt="echo acme-only"), source="api")
    playbook, hook_secret = create_playbook(
        owner, PlaybookFields(agent_id=acme.agent.id, name="Nightly", prompt="true", cron="0 3 * * *")
    )
    config = checked_config("telegram", {"bot_token": BOT_TOKEN, "secret_token": HOOK_SECRET})
    link = create_link(owner, kind="telegram", name="Acme's bot", config=config)
    chat = _hear_from(link.id)
    wiring = create_wiring(owner, WiringFields(chat_id=chat.id, agent_id=acme.agent.id))
    with tenant_transaction(owner.org_id):
        delivery = Delivery.objects.create(
            org_id=owner.org_id,
            link=link,
            chat=chat,
            task=task,
            batch="one",
            part=0,
            text="for acme only",
            status="failed",
        )
        DeliveryAttempt.objects.create(
            org_id=owner.org_id, delivery=delivery, outcome="refused", note="blocked", finished_at=now()
        )
    all_tenants_store_calls(batch_of([_call_of(task)]))
    update_agent(owner, acme.agent.id, {"packages": {"pip": ["six==1.16.0"]}})
    with tenant_transaction(owner.org_id):
        image = acme.agent.images.get()
    monkeypatch.setattr(environment(), "upstream_internal_hosts", "127.0.0.1")
    # Nobody is there: what is asked of it fails at once.
    server = register_upstream(owner, NewUpstream(name="weather", url="http://127.0.0.1:9/mcp"))
    for name in ("gmail_api_base", "google_oauth_base", "github_api_base"):
        monkeypatch.setattr(environment(), name, "http://127.0.0.1:9")
    integration = connect_integration(owner, NewIntegration(kind="gmail", name="acme's mail"))
    for name in ("anthropic_base_url", "openai_base_url"):
        monkeypatch.setattr(environment(), name, "http://127.0.0.1:9")
    llm_key = create_key(
        owner,
        NewKey(name="acme's key", vendor=LlmVendor.ANTHROPIC, key=SecretStr("sk-ant-acme-only")),
        KeyStatus.OK,
    )
    budget = put_budget(
        owner,
        BudgetFields(
            level=BudgetLevel.AGENT,
            period=BudgetPeriod.MONTH,
            subject_id=acme.agent.id,
            limit_microusd=5_000_000,
        ),
    )
    room = open_room(owner, "Plans")
    webhook, _ = create_webhook(
        owner, WebhookFields(name="acme's", url="http://127.0.0.1:9/hook", event_types=["task.finished"])
    )
    ids = {
        "webhook_id": webhook.id,
        "webhook_delivery_id": ping_webhook(owner, webhook.id).id,
        "llm_key_id": llm_key.id,
        "budget_id": budget.id,
        "llm_log_id": _log(owner, task),
        "integration_id": integration.id,
        "server_id": server.id,
        "image_id": image.id,
        "task_id": task.id,
        "workspace_id": task.workspace_id,
        "agent_id": acme.agent.id,
        "skill_id": create_skill(owner, SkillFields(name="release", description="acme-only", body="Tag.")).id,
        "version_id": _version_of(acme.agent),
        "playbook_id": playbook.id,
        "secret_id": create_secret(owner, NewSecret(name="API_KEY", value=SecretStr("hush"))).id,
        "link_id": link.id,
        "chat_id": chat.id,
        "message_id": _message_of(chat),
        "wiring_id": wiring.id,
        "delivery_id": delivery.id,
        "room_id": room.id,
        "file_id": add_file(owner, room.id, Upload(f"rooms/{room.id}/x", "plan.txt", "text/plain", 4)).id,
        "room_message_id": _write_in(owner, room),
        "destination_id": create_destination(owner, DestinationFields(name="team", chat_id=chat.id)).id,
        "question_id": _wonder(task).id,
        "account_id": _link_account(owner, chat).id,
        "subscription_id": add_subscription(owner, BROWSER).id,
        "sender_id": _remember_sender(owner, chat).id,
        "command_id": start_command(owner, task.workspace_id, "true", timeout_s=60).id,
        "memory_id": write_memory(owner, acme.agent.id, "likes", "Tea.").id,
        "approval_id": _ask(task).id,
        "rule_id": create_rule(owner, RuleFields(effect="hold", tool="weather.*")).id,
        "app_id": connect(owner).id,
        "oauth_client_id": create_client(
            owner, name="acme's editor", redirect_uris=["http://127.0.0.1/"], is_confidential=True
        )[0].id,
        "token_id": create_token(owner, name="spare")[0].id,
        "export_id": order_export(owner).id,
        "session_id": _sign_in(acme),
        "invitation_id": invite(owner, email="carol@acme.example", role="member")[0].id,
        "user_id": acme.users["bob"].pk,
    }
    return World(ids, hook_secret)


def _version_of(agent: Agent) -> uuid.UUID:
    with tenant_transaction(agent.org_id):
        return agent.versions.get(number=1).id


def _sign_in(acme: Tenant) -> uuid.UUID:
    sign_in(acme.users["alice"].email)
    return list_sessions(acme.users["alice"], None)[0].id


def _write_in(owner, room):
    write_message(owner, room.id, Words("hello"), key="1")
    with tenant_transaction(owner.org_id):
        return list_entries(owner, room.id)[0].message_id


def _message_of(chat: Chat) -> uuid.UUID:
    with tenant_transaction(chat.org_id):
        message_id: uuid.UUID = chat.inbound_messages.values_list("id", flat=True).get()
        return message_id


def _log(owner: Actor, task: Task) -> uuid.UUID:
    update_policy(owner, {"logs_calls": True})
    raw = RawCall(
        task.org_id, task.id, uuid.uuid4(), "anthropic", "claude-sonnet-5", 200, b'"acme-only"', b"{}", 13
    )
    assert store_call(raw, LogRules(hides_emails=True, max_bytes=1_024, keep_days=7))
    with tenant_transaction(task.org_id):
        return CallLog.objects.get().id


def _call_of(task: Task) -> CallRecord:
    return CallRecord(
        org_id=task.org_id,
        kind=CallKind.UPSTREAM,
        server="acme-only",
        tool="acme-only-tool",
        code="tool_error",
        task_id=task.id,
        agent_id=task.agent_id,
        user_id=task.user_id,
        started_at=now(),
        duration_ms=1.5,
    )


def _link_account(owner: Actor, chat: Chat) -> PlatformAccount:
    with tenant_transaction(owner.org_id):
        return PlatformAccount.objects.create(
            org_id=owner.org_id,
            user_id=owner.user_id,
            link_id=chat.link_id,
            platform_user_id="501",
            chat=chat,
        )


def _remember_sender(owner: Actor, chat: Chat) -> LinkSender:
    with tenant_transaction(owner.org_id):
        return LinkSender.objects.create(
            org_id=owner.org_id,
            link_id=chat.link_id,
            platform_user_id="777",
            display_name="acme's stranger",
            chat=chat,
        )


def _wonder(task: Task) -> AskedQuestion:
    with tenant_transaction(task.org_id):
        return AskedQuestion.objects.create(
            org_id=task.org_id,
            task=task,
            workspace_id=task.workspace_id,
            agent_id=task.agent_id,
            text="for acme only?",
            key="k",
            expires_at=now() + timedelta(hours=1),
        )


def _ask(task: Task) -> Approval:
    subject = {"host": "acme-only.example", "port": 443, "methods": None}
    with tenant_transaction(task.org_id):
        asked = request_approval(
            Question(task.org_id, "egress", subject, task.workspace_id, task.agent_id, task.id)
        )
    assert asked is not None
    return asked


def _hear_from(link_id: uuid.UUID) -> Chat:
    handle = all_tenants_find_link(link_id, "telegram")
    assert handle is not None
    message = InboundMessage(
        dedupe_key="1:501:1",
        place=Place("501"),
        chat_kind=ChatKind.DIRECT,
        chat_title="Bob",
        sender=Sender("501", "Bob"),
        text="hello",
        is_mention=True,
        message_id="1",
        sent_at=now(),
    )
    store_inbound(handle, [message])
    with tenant_transaction(handle.org_id):
        return Chat.objects.get(link_id=link_id)


@pytest.fixture
def finish() -> Callable[..., None]:
    """Give a way to end a task as its runner would."""

    def end(tenant: Tenant, task_id: str, text: str = "done") -> None:
        with tenant_transaction(tenant.organisation.id):
            outcome = Outcome(status="succeeded", text=text, turns=1, tool_calls=2)
            assert finish_locked_task(lock_task(uuid.UUID(task_id)), outcome)

    return end
