"""Notifications in browsers: who subscribes, what goes out, what becomes of a browser that is gone."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import http_ece
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.core.management import call_command
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from conftest import recorded
from services.adapters.push.client import MAX_PAYLOAD_BYTES, fit
from services.domain.approvals.actions import Question, decide_approval, request_approval
from services.domain.approvals.subjects import EGRESS, EgressSubject
from services.domain.contacts.quiet import QuietHours, set_quiet_hours
from services.domain.errors import Invalid, Missing, NotPermitted, PlatformAway, QueueFull
from services.domain.events.types import NotificationCreated
from services.domain.outbox.jobs import parse_job
from services.domain.outbox.models import OutboxJob
from services.domain.push.keys import ensure_push_key, get_public_key, get_vapid_key
from services.domain.push.models import PushKey, PushSubscription
from services.domain.push.subscriptions import (
    MAX_OF_PERSON,
    NewSubscription,
    add_subscription,
    list_subscriptions,
    remove_subscription,
)
from services.domain.push.telling import tell_person
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now
from services.kit.environment import environment
from services.worker.jobs.pushing import push_approval, send_push
from tests.domain.cast import running
from tests.domain.pushes import due_pushes
from tests.fakes.serving import Journal, LocalServer


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Browser:
    """A browser: its keys, and what it can decrypt."""

    def __init__(self) -> None:
        self._private = ec.generate_private_key(ec.SECP256R1())
        self.auth = os.urandom(16)
        self.point = self._private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)

    def subscription(self, endpoint: str, label: str = "Firefox") -> NewSubscription:
        return NewSubscription.model_validate(
            {
                "endpoint": endpoint,
                "keys": {"p256dh": b64(self.point), "auth": b64(self.auth)},
                "label": label,
            }
        )

    def open(self, body: bytes) -> dict[str, Any]:
        data = http_ece.decrypt(body, private_key=self._private, auth_secret=self.auth, version="aes128gcm")
        found: dict[str, Any] = json.loads(data)
        return found


class PushService:
    """A strict push service: it wants what RFC 8030 and RFC 8292 want, and no more than 4,096 bytes."""

    def __init__(self) -> None:
        self.status, self.retry_after = 201, ""
        self.got = Journal()
        self.app = Starlette(routes=[Route("/push/{name}", self._take, methods=["POST"])])
        self.url = ""

    async def _take(self, request: Request) -> Response:
        body = await request.body()
        scheme, _, rest = request.headers.get("authorization", "").partition(" ")
        parts = dict(part.strip().split("=", 1) for part in rest.split(",")) if scheme == "vapid" else {}
        key = base64.urlsafe_b64decode(parts["k"] + "=" * (-len(parts["k"]) % 4))
        public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), key)
        try:
            claims = jwt.decode(parts["t"], public, algorithms=["ES256"], audience=self.url)
        except jwt.InvalidTokenError:
            return Response(status_code=403)
        if claims["exp"] > now().timestamp() + 24 * 3600 or not claims["sub"]:
            return Response(status_code=403)
        if "ttl" not in request.headers or request.headers.get("content-encoding") != "aes128gcm":
            return Response(status_code=400)
        if len(body) > 4096 or len(request.headers.get("topic", "")) > 32:
            return Response(status_code=413)
        if self.status != 201:
            return Response(status_code=self.status, headers={"Retry-After": self.retry_after})
        self.got.add({"body": body, "headers": dict(request.headers), "key": parts["k"]})
        return Response(status_code=201)


@pytest.fixture
def service(monkeypatch) -> Iterator[PushService]:
    fake = PushService()
    with LocalServer(fake.app) as server:
        fake.url = server.url
        monkeypatch.setattr(environment(), "upstream_internal_hosts", "127.0.0.1")
        yield fake


@pytest.fixture
def browser(acme, service) -> Browser:
    made = Browser()
    add_subscription(acme.owner, made.subscription(f"{service.url}/push/1"))
    return made


def tell(tenant, message: str, urgency: Any = "high") -> None:
    with tenant_transaction(tenant.organisation.id):
        tell_person(tenant.owner.user_id, NotificationCreated(message=message, urgency=urgency))


def run_due() -> int:
    """Run the pushes that are due; returns how many."""
    found = due_pushes()
    for job in found:
        send_push(job)
    return len(found)


def test_an_approval_that_waits_is_shown_to_who_decides_it_and_one_that_is_decided_is_not(
    acme, service, browser
):
    task, _ = running(acme)
    asked = {}
    with tenant_transaction(acme.organisation.id):
        for host in ("one.example", "two.example"):
            subject = EgressSubject(host=host, port=443).model_dump()
            place = (task.workspace_id, task.agent_id, task.id)
            asked[host] = request_approval(Question(acme.organisation.id, EGRESS, subject, *place))
    decide_approval(acme.owner, asked["two.example"].id, "deny")
    for row in OutboxJob.objects.using("operator").filter(type="approval.push").order_by("id"):
        push_approval(parse_job(row.type, row.payload))
    (got,) = service.got.all()
    shown = browser.open(got["body"])
    assert shown["body"] == "Shell wants to reach one.example"
    assert asked["one.example"].id.hex.endswith(shown["tag"].removeprefix("approval-"))
    assert shown["url"].endswith("/approvals")


def test_a_notification_arrives_encrypted_under_the_installations_key(acme, service, browser):
    tell(acme, "The build is döne")
    assert run_due() == 1
    (got,) = service.got.all()
    shown = browser.open(got["body"])
    assert shown["body"] == "The build is döne"
    assert shown["tag"] == got["headers"]["topic"] == "notification-1"
    assert shown["url"].startswith(environment().public_url)
    assert got["headers"]["urgency"] == "high"
    assert got["key"] == get_public_key()
    with tenant_transaction(acme.organisation.id):
        (row,) = list_subscriptions(acme.owner)
        assert (row.last_error, row.last_sent_at is not None) == ("", True)


def test_nobody_else_is_told(acme, globex, service, browser):
    with tenant_transaction(acme.organisation.id):
        tell_person(acme.people["bob"].user_id, NotificationCreated(message="for bob"))
    tell(globex, "for mallory")
    assert run_due() == 0


@pytest.mark.parametrize("status", [404, 410])
def test_a_browser_that_is_gone_is_forgotten(acme, service, browser, status):
    service.status = status
    tell(acme, "hello")
    run_due()
    assert not PushSubscription.objects.using("operator").exists()
    tell(acme, "hello again")
    assert run_due() == 0


@pytest.mark.parametrize(("status", "retry_after"), [(429, "17"), (503, "17")])
def test_a_service_that_is_busy_is_tried_again_when_it_says(acme, service, browser, status, retry_after):
    service.status, service.retry_after = status, retry_after
    tell(acme, "hello")
    with pytest.raises(PlatformAway) as caught:
        run_due()
    assert caught.value.retry_after_s == 17
    assert "cannot take it now" in PushSubscription.objects.using("operator").get().last_error


@pytest.mark.parametrize("status", [400, 413])
def test_a_refused_push_is_recorded_and_not_tried_again(acme, service, browser, status):
    service.status = status
    tell(acme, "hello")
    assert run_due() == 1
    assert str(status) in PushSubscription.objects.using("operator").get().last_error


@pytest.mark.parametrize("text", ["x" * 4_000, "👩‍👩‍👧‍👦" * 1_000, '"\\' * 2_000, "\x01" * 4_000])
def test_a_payload_always_fits(text):
    data = fit({"title": "Slipway", "body": text, "tag": "notification-1", "url": "https://slipway.example/"})
    assert len(data) <= MAX_PAYLOAD_BYTES
    assert json.loads(data)["tag"] == "notification-1"
    assert len(json.loads(data)["body"]) > 100


def test_the_longest_payload_still_fits_into_a_push(acme, service, browser):
    payload = {"body": "x" * 5_000, "tag": "t", "title": "Slipway", "url": "/"}
    assert len(fit(payload)) == MAX_PAYLOAD_BYTES
    tell(acme, "ü" * 4_000)
    run_due()
    assert len(service.got.all()) == 1


def test_in_quiet_hours_only_what_is_urgent_comes_at_once(acme, service, browser):
    moment = now()
    hours = QuietHours(
        quiet_from=(moment - timedelta(hours=1)).time().replace(microsecond=0),
        quiet_to=(moment + timedelta(hours=1)).time().replace(microsecond=0),
    )
    set_quiet_hours(acme.owner, hours)
    tell(acme, "later", "normal")
    tell(acme, "now", "high")
    run_due()
    assert [browser.open(got["body"])["body"] for got in service.got.all()] == ["now"]
    held = OutboxJob.objects.using("operator").get(type="push.send")
    assert held.not_before > moment + timedelta(minutes=50)


def test_the_same_browser_again_replaces_its_keys(acme, service, browser):
    again = Browser()
    add_subscription(acme.people["bob"], again.subscription(f"{service.url}/push/1"))
    tell(acme, "for alice")
    assert run_due() == 0
    with tenant_transaction(acme.organisation.id):
        tell_person(acme.people["bob"].user_id, NotificationCreated(message="for bob"))
    run_due()
    assert again.open(service.got.all()[0]["body"])["body"] == "for bob"


def test_who_left_the_organisation_is_told_nothing(acme, service):
    from services.domain.identity.models import Membership

    bob = acme.people["bob"]
    add_subscription(bob, Browser().subscription(f"{service.url}/push/2"))
    with tenant_transaction(acme.organisation.id):
        tell_person(bob.user_id, NotificationCreated(message="secret"))
        Membership.objects.filter(user_id=bob.user_id).delete()
    run_due()
    assert service.got.all() == []


def test_a_subscription_is_checked_when_it_is_made(acme, service):
    good = Browser()
    for endpoint in ("http://push.example/x", "https://10.0.0.1/x", "https://u:p@push.example/"):
        with pytest.raises(Invalid):
            add_subscription(acme.owner, good.subscription(endpoint))
    for keys in ({"p256dh": "AAAA", "auth": b64(good.auth)}, {"p256dh": b64(good.point), "auth": "AA"}):
        with pytest.raises(ValidationError):
            NewSubscription.model_validate({"endpoint": "https://push.example/x", "keys": keys})
    for number in range(MAX_OF_PERSON):
        add_subscription(acme.owner, good.subscription(f"https://push.example/{number}"))
    with pytest.raises(QueueFull):
        add_subscription(acme.owner, good.subscription("https://push.example/more"))
    agent = acme.owner.__class__(
        org_id=acme.organisation.id, kind="agent", role="member", user_id=acme.owner.user_id
    )
    with pytest.raises(NotPermitted):
        add_subscription(agent, good.subscription("https://push.example/agent"))


def test_only_ones_own_browser_is_removed(acme, globex, service, browser):
    row = PushSubscription.objects.using("operator").get()
    for other in (acme.people["bob"], globex.owner):
        with pytest.raises(Missing):
            remove_subscription(other, row.id)
    remove_subscription(acme.owner, row.id)
    tell(acme, "hello")
    assert run_due() == 0


def test_what_opens_a_browser_is_sealed(acme, service, browser):
    row = PushSubscription.objects.using("operator").get()
    assert b64(browser.auth).encode() not in bytes(row.sealed)
    assert service.url.encode() not in bytes(row.sealed)


def test_the_key_is_made_once_by_provisioning(database):
    call_command("provision", verbosity=0)
    first = get_public_key()
    ensure_push_key()
    call_command("provision", verbosity=0)
    assert get_public_key() == first == get_vapid_key().public
    assert b"PRIVATE" not in bytes(PushKey.objects.using("operator").get().sealed)


def test_a_notification_that_is_told_is_queued_for_each_browser(acme, service, browser):
    add_subscription(acme.owner, Browser().subscription(f"{service.url}/push/2", "Phone"))
    with recorded() as seen:
        tell(acme, "hello")
    assert seen.event_types == ["notification.created"]
    assert seen.job_types == ["push.send", "push.send"]
