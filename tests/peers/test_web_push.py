"""Web push through a push service that others wrote, which decrypts what it gets (npm `web-push-testing`)."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from conftest import Tenant
from services.domain.events.types import NotificationCreated
from services.domain.push.keys import get_public_key
from services.domain.push.models import PushSubscription
from services.domain.push.subscriptions import NewSubscription, add_subscription
from services.domain.push.telling import tell_person
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.environment import environment
from services.worker.jobs.pushing import send_push
from tests.domain.pushes import due_pushes
from tests.peers.push_service import PushService, push_service


@pytest.fixture(scope="module")
def service() -> Iterator[PushService]:
    with push_service() as running:
        yield running


def tell(tenant: Tenant, message: str) -> None:
    with tenant_transaction(tenant.organisation.id):
        tell_person(tenant.owner.user_id, NotificationCreated(message=message, urgency="high"))
    for job in due_pushes():
        send_push(job)


def test_a_push_is_decrypted_by_a_browser_of_others_and_a_gone_one_is_forgotten(acme, service, monkeypatch):
    monkeypatch.setattr(environment(), "upstream_internal_hosts", "localhost")
    given = service.subscribe(get_public_key())
    keys = {name: given["keys"][name] for name in ("p256dh", "auth")}
    new = NewSubscription.model_validate({"endpoint": given["endpoint"], "keys": keys})
    add_subscription(acme.owner, new)
    tell(acme, "The build is döne")
    tell(acme, "ü" * 5_000)
    first, second = (json.loads(message) for message in service.messages(given["clientHash"]))
    assert first["body"] == "The build is döne"
    assert first["tag"] != second["tag"]
    service.expire(given["clientHash"])
    tell(acme, "Nobody sees this")
    assert not PushSubscription.objects.using("operator").exists()
