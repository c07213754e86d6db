"""Webhooks of an organisation: told of what happens, signed, tried for a day, and all of it on record."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from conftest import Tenant
from services.domain.actors import Actor
from services.domain.errors import Invalid, RoleMissing, WebhookMissing
from services.domain.events.log import NewEvent, record_events
from services.domain.events.models import Event
from services.domain.events.types import MessageCreated, NotificationCreated
from services.domain.outbox.models import OutboxJob
from services.domain.tasks.submit import TaskOrder, cancel_task, submit_task
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.webhooks.actions import (
    WebhookFields,
    create_webhook,
    delete_webhook,
    get_webhook,
    ping_webhook,
    redeliver,
    rotate_webhook,
    update_webhook,
)
from services.domain.webhooks.models import WebhookDelivery, WebhookEndpoint
from services.domain.webhooks.sending import LEASE, claim_webhook
from services.kit.clock import now
from services.kit.environment import environment
from services.worker.sweeps import sweep_webhooks
from tests.fakes.chat_places import drain
from tests.fakes.serving import LocalServer


class Receiver:
    """An address that keeps what it is told and answers as it is said to."""

    def __init__(self) -> None:
        self.status = 200
        self.calls: list[tuple[dict[str, str], bytes]] = []
        self.server = LocalServer(Starlette(routes=[Route("/{path:path}", self._answer, methods=["POST"])]))

    @property
    def url(self) -> str:
        return f"{self.server.url}/in"

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body in self.calls]

    async def _answer(self, request: Request) -> Response:
        self.calls.append((dict(request.headers), await request.body()))
        if self.status == 302:
            return RedirectResponse("/elsewhere")
        return Response("said\x00so", self.status)


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """Serve a receiver, which the operator's setting allows to be on this machine."""
    monkeypatch.setattr(environment(), "upstream_internal_hosts", "127.0.0.1")
    found = Receiver()
    with found.server:
        yield found


Wire = Callable[..., tuple[WebhookEndpoint, str]]


@pytest.fixture
def wire(acme: Tenant, receiver: Receiver) -> Wire:
    """Add webhooks of acme's."""

    def add(*event_types: str, url: str = "") -> tuple[WebhookEndpoint, str]:
        fields = WebhookFields(name="Ours", url=url or receiver.url, event_types=list(event_types))
        return create_webhook(acme.owner, fields)

    return add


def send() -> None:
    """Let the worker send what is due."""
    drain("webhook.send")


def make_due() -> None:
    """Let the time of what waits have come."""
    WebhookDelivery.objects.using("operator").filter(status="queued").update(next_attempt_at=now())
    OutboxJob.objects.using("operator").filter(type="webhook.send").update(not_before=now())


def the_delivery(acme: Tenant) -> WebhookDelivery:
    with tenant_transaction(acme.organisation.id):
        return WebhookDelivery.objects.prefetch_related("log").get()


def is_signed(secret: str, headers: dict[str, str], body: bytes) -> bool:
    """Check a signature as Standard Webhooks describes it."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    digest = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert abs(int(headers["webhook-timestamp"]) - now().timestamp()) < 60
    return f"v1,{digest}" in headers["webhook-signature"].split(" ")


def ask(tenant: Tenant) -> Any:
    return submit_task(tenant.owner, TaskOrder(agent_id=tenant.agent.id, prompt="echo hi"), source="api")


def test_a_webhook_is_told_of_what_it_chose_signed_and_once(acme, globex, wire, receiver):
    _, secret = wire("task.queued")
    task = ask(acme)
    ask(globex)
    send()
    [(headers, body)] = receiver.calls
    assert is_signed(secret, headers, body)
    said = json.loads(body)
    assert (said["type"], said["stream"]) == ("task.queued", f"workspace:{task.workspace_id}")
    assert said["data"]["task_id"] == said["task_id"] == str(task.id)
    assert said["organisation_id"] == str(acme.organisation.id)
    with tenant_transaction(acme.organisation.id):
        assert Event.objects.get(type="task.queued", seq=said["seq"]).stream == said["stream"]
    row = the_delivery(acme)
    assert headers["webhook-id"] == f"msg_{row.id.hex}"
    assert (row.status, row.attempts) == ("sent", 1)
    [attempt] = row.log.all()
    assert (attempt.status_code, attempt.answer) == (200, "saidso")
    # Its job comes once more, as any may.
    drain_again(acme, row)
    assert len(receiver.calls) == 1


def drain_again(acme: Tenant, row: WebhookDelivery) -> None:
    from services.domain.outbox.jobs import SendWebhook
    from services.worker.jobs.webhooks import send_webhook

    send_webhook(SendWebhook(org_id=acme.organisation.id, delivery_id=row.id))


def test_what_did_not_happen_and_what_is_a_persons_own_is_not_told(acme, wire, receiver):
    wire("message.created", "task.finished", "task.changed")
    stream = f"org:{acme.organisation.id}"
    with pytest.raises(RuntimeError), tenant_transaction(acme.organisation.id):
        record_events(f"workspace:{uuid.uuid4()}", [NewEvent(MessageCreated(role="user", text="no"))])
        raise RuntimeError
    with tenant_transaction(acme.organisation.id):
        own = NewEvent(MessageCreated(role="user", text="own"), readers=(acme.users["bob"].pk,))
        record_events(f"workspace:{uuid.uuid4()}", [own])
        record_events(f"user:{acme.users['bob'].pk}", [NewEvent(NotificationCreated(message="own"))])
    send()
    assert receiver.calls == []
    cancel_task(acme.owner, ask(acme).id)
    send()
    assert {body["type"] for body in receiver.bodies} == {"message.created", "task.finished", "task.changed"}
    said = [body["data"]["text"] for body in receiver.bodies if body["type"] == "message.created"]
    assert said == ["echo hi"]
    # A list's change is told from the organisation's stream.
    assert {body["stream"] for body in receiver.bodies if body["type"] == "task.changed"} == {stream}


def test_a_refusal_is_tried_again_and_given_up_after_a_day_with_a_word_to_the_owner(acme, wire, receiver):
    webhook, _ = wire("task.queued")
    receiver.status = 503
    ask(acme)
    send()
    row = the_delivery(acme)
    assert (row.status, row.attempts, row.error) == ("queued", 1, "The receiver answered 503.")
    assert row.next_attempt_at > now()
    make_due()
    send()
    assert the_delivery(acme).attempts == 2
    a_day_ago = now() - timedelta(hours=24)
    WebhookDelivery.objects.using("operator").update(expires_at=a_day_ago + timedelta(hours=24))
    make_due()
    send()
    row = the_delivery(acme)
    assert row.status == "failed"
    assert sorted(attempt.number for attempt in row.log.all()) == [1, 2, 3]
    with tenant_transaction(acme.organisation.id):
        found = get_webhook(acme.owner, webhook.id)
        told = Event.objects.get(stream=f"user:{acme.owner.user_id}", type="notification.created")
    assert not found.is_enabled
    assert "took nothing for a day" in found.disabled_reason
    assert "The webhook Ours was switched off" in told.data["message"]
    ask(acme)
    send()
    assert len(receiver.calls) == 3

    # Switched on and sent again, it is taken, under the id that it had.
    receiver.status = 204
    update_webhook(acme.owner, webhook.id, {"is_enabled": True})
    redeliver(acme.owner, row.id)
    send()
    assert the_delivery(acme).status == "sent"
    assert len({headers["webhook-id"] for headers, _ in receiver.calls}) == 1


def test_gone_ends_it_at_once_and_redirects_are_not_followed(acme, wire, receiver):
    webhook, _ = wire("task.queued")
    receiver.status = 302
    ping_webhook(acme.owner, webhook.id)
    send()
    assert the_delivery(acme).error == "The receiver answered 307."
    assert len(receiver.calls) == 1
    receiver.status = 410
    make_due()
    send()
    with tenant_transaction(acme.organisation.id):
        assert "410" in get_webhook(acme.owner, webhook.id).disabled_reason


def test_addresses_of_the_inside_are_not_called(acme, wire, receiver, monkeypatch):
    webhook, _ = wire("task.queued")
    monkeypatch.setattr(environment(), "upstream_internal_hosts", "")
    for url in (
        "http://example.com/x",
        "https://127.0.0.1/x",
        "https://169.254.169.254/latest",
        "https://[::1]/",
    ):
        with pytest.raises(Invalid):
            update_webhook(acme.owner, webhook.id, {"url": url})
    # It was allowed once, and is looked at again when it is dialled.
    ping_webhook(acme.owner, webhook.id)
    send()
    row = the_delivery(acme)
    assert receiver.calls == []
    assert (row.status, row.attempts) == ("queued", 1)
    assert [attempt.status_code for attempt in row.log.all()] == [None]


def test_two_secrets_sign_while_one_takes_the_others_place(acme, wire, receiver):
    webhook, old = wire("task.queued")
    _, new = rotate_webhook(acme.owner, webhook.id)
    ping_webhook(acme.owner, webhook.id)
    send()
    [(headers, body)] = receiver.calls
    assert is_signed(old, headers, body)
    assert is_signed(new, headers, body)
    WebhookEndpoint.objects.using("operator").update(old_secret_until=now())
    ping_webhook(acme.owner, webhook.id)
    send()
    headers, body = receiver.calls[-1]
    assert is_signed(new, headers, body)
    assert not is_signed(old, headers, body)


def test_what_a_dead_worker_had_taken_is_sent_by_another(acme, wire, receiver):
    wire("task.queued")
    ask(acme)
    OutboxJob.objects.using("operator").filter(type="webhook.send").delete()
    row = the_delivery(acme)
    dead = claim_webhook(acme.organisation.id, row.id)
    assert dead is not None
    assert claim_webhook(acme.organisation.id, row.id) is None
    assert the_delivery(acme).next_attempt_at > now() + LEASE / 2
    WebhookDelivery.objects.using("operator").update(next_attempt_at=now() - timedelta(minutes=1))
    sweep_webhooks()
    send()
    assert (the_delivery(acme).status, the_delivery(acme).attempts) == ("sent", 2)


def test_only_admins_have_to_do_with_it_and_removed_it_is_told_nothing(acme, globex, wire, receiver):
    webhook, _ = wire("task.queued")
    bob: Actor = acme.people["bob"]
    for act in (delete_webhook, rotate_webhook, ping_webhook):
        with pytest.raises(RoleMissing):
            act(bob, webhook.id)
        with pytest.raises(WebhookMissing):
            act(globex.owner, webhook.id)
    with pytest.raises(Invalid):
        wire("task.imagined")
    ask(acme)
    delete_webhook(acme.owner, webhook.id)
    send()
    sweep_webhooks()
    assert receiver.calls == []
