"""Web push through a push service that others wrote, which decrypts what it gets (npm `web-push-testing`)."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import httpx
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
from tests.fakes import npm_packages

_WITHIN_S = 10.0


@pytest.fixture(scope="module")
def service() -> Iterator[str]:
    """Run the push service; gives its address."""
    packages = npm_packages.install("peers")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    program = packages.folder / "node_modules" / "web-push-testing" / "src" / "bin" / "server.js"
    process = subprocess.Popen([str(packages.node), str(program), str(port)], stdout=subprocess.DEVNULL)
    url = f"http://localhost:{port}"
    try:
        deadline = time.monotonic() + _WITHIN_S
        while not _is_up(url):
            assert time.monotonic() < deadline, "the push service did not start"
            time.sleep(0.05)
        yield url
    finally:
        process.terminate()
        process.wait(_WITHIN_S)


def _is_up(url: str) -> bool:
    try:
        return httpx.post(f"{url}/status", timeout=1).status_code == 200
    except httpx.TransportError:
        return False


def subscribe(url: str) -> dict[str, Any]:
    """Let a browser subscribe for our key, as the service plays one."""
    answer = httpx.post(
        f"{url}/subscribe", json={"userVisibleOnly": "true", "applicationServerKey": get_public_key()}
    )
    assert answer.status_code == 200, answer.text
    given: dict[str, Any] = answer.json()["data"]
    return given


def messages(url: str, client_hash: str) -> list[str]:
    answer = httpx.post(f"{url}/get-notifications", json={"clientHash": client_hash})
    assert answer.status_code == 200, answer.text
    found: list[str] = answer.json()["data"]["messages"]
    return found


def tell(tenant: Tenant, message: str) -> None:
    with tenant_transaction(tenant.organisation.id):
        tell_person(tenant.owner.user_id, NotificationCreated(message=message, urgency="high"))
    for job in due_pushes():
        send_push(job)


def test_a_push_is_decrypted_by_a_browser_of_others_and_a_gone_one_is_forgotten(acme, service, monkeypatch):
    monkeypatch.setattr(environment(), "upstream_internal_hosts", "localhost")
    given = subscribe(service)
    keys = {name: given["keys"][name] for name in ("p256dh", "auth")}
    new = NewSubscription.model_validate({"endpoint": given["endpoint"], "keys": keys})
    add_subscription(acme.owner, new)
    tell(acme, "The build is döne")
    tell(acme, "ü" * 5_000)
    first, second = (json.loads(message) for message in messages(service, given["clientHash"]))
    assert first["body"] == "The build is döne"
    assert first["tag"] != second["tag"]
    assert httpx.post(f"{service}/expire-subscription/{given['clientHash']}").status_code == 200
    tell(acme, "Nobody sees this")
    assert not PushSubscription.objects.using("operator").exists()
