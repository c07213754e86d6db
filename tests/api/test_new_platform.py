"""A platform that nobody has heard of is added by one folder: linked, written to, answered; nothing else changes."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

import services.adapters.chat as platforms
from conftest import Tenant
from services.adapters.chat import registry
from services.api import linking
from services.domain.tasks.models import Task
from services.domain.tenancy.transaction import tenant_transaction
from services.worker.jobs import chats
from tests.api.client import Api
from tests.domain.cast import Runner, start
from tests.fakes.chat_places import drain
from tests.fakes.serving import LocalServer

SECRET = "coo-coo-coo"
ADAPTER = '''
"""Carrier pigeons."""
import hmac
from datetime import UTC, datetime
from typing import ClassVar

import httpx
from pydantic import SecretStr

from services.adapters.chat.config import ChatConfig
from services.adapters.chat.wire import read_object
from services.domain.errors import HookUnverified
from services.domain.ports.chat import (
    ChatKind, InboundMessage, LinkIdentity, Manifest, Parsed, Place, Receipt, Sender,
)


class PigeonConfig(ChatConfig):
    ring: SecretStr


class PigeonAdapter:
    manifest = Manifest(
        kind="pigeon", label="Pigeons", max_text=40, text_unit="chars", has_threads=False, typing_ttl_s=None,
        source="https://pigeons.example/",
    )
    config_model = PigeonConfig
    base_setting: ClassVar[str] = "PIGEON_API_BASE"
    default_base: ClassVar[str] = "https://pigeons.example"

    def __init__(self, base_url):
        self._base_url = base_url

    def verify(self, config, request):
        if not hmac.compare_digest(request.headers.get("x-ring", ""), config.ring.get_secret_value()):
            raise HookUnverified("This is no pigeon of ours.")

    def parse(self, config, request):
        raw = read_object(request.body)
        return Parsed(messages=(InboundMessage(
            dedupe_key=raw["id"], place=Place(raw["loft"]), chat_kind=ChatKind.DIRECT, chat_title="Loft",
            sender=Sender(raw["keeper"], raw["keeper"]), text=raw["note"], is_mention=True, message_id=raw["id"],
            sent_at=datetime.now(UTC),
        ),))

    def render(self, text):
        return [text[at:at + 40] for at in range(0, len(text), 40)] or [""]

    def connect(self, config, hook_url):
        httpx.post(f"{self._base_url}/lofts", json={"hook": hook_url}).raise_for_status()
        return LinkIdentity("p1", "Speckled Jim")

    def disconnect(self, config):
        pass

    def send(self, config, place, part, *, reply_to=None):
        answer = httpx.post(f"{self._base_url}/fly", json={"loft": place.chat_id, "note": part})
        return Receipt(answer.json()["id"])

    def show_typing(self, config, place):
        pass


ADAPTER = PigeonAdapter
'''


class Pigeons:
    """The pigeons' own service."""

    def __init__(self) -> None:
        self.hooks: list[str] = []
        self.notes: list[str] = []
        routes = [
            Route("/lofts", self._loft, methods=["POST"]),
            Route("/fly", self._fly, methods=["POST"]),
        ]
        self.server = LocalServer(Starlette(routes=routes))

    async def _loft(self, request: Request) -> JSONResponse:
        self.hooks.append((await request.json())["hook"])
        return JSONResponse({})

    async def _fly(self, request: Request) -> JSONResponse:
        self.notes.append((await request.json())["note"])
        return JSONResponse({"id": f"note-{len(self.notes)}"})


@pytest.fixture
def pigeons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pigeons]:
    """Drop a folder of the platform in, and run its service."""
    folder = tmp_path / "platforms" / "pigeon"
    folder.mkdir(parents=True)
    (folder / "adapter.py").write_text(ADAPTER)
    monkeypatch.setattr(platforms, "__path__", [*platforms.__path__, str(folder.parent)])
    service = Pigeons()
    found = (registry._found, linking.adapters, chats.adapters)
    with service.server as server:
        monkeypatch.setenv("PIGEON_API_BASE", server.url)
        for cached in found:
            cached.cache_clear()
        yield service
    for cached in found:
        cached.cache_clear()
    for name in [name for name in sys.modules if name.startswith("services.adapters.chat.pigeon")]:
        monkeypatch.delitem(sys.modules, name)


def test_one_folder_makes_a_platform(alice: Api, acme: Tenant, pigeons: Pigeons):
    body = {
        "kind": "pigeon", "name": "Lofts", "config": {"ring": SECRET}, "default_agent_id": str(acme.agent.id),
        "unknown_senders": "public",
    }  # fmt: skip
    made = alice.post("/v1/links", body)
    assert made.status == 201, made.body
    connected = alice.post(f"/v1/links/{made.body['id']}/connect").body
    assert (connected["status"], connected["platform_identity"]) == ("connected", "Speckled Jim")
    assert pigeons.hooks == [connected["hook_url"]]
    note = {"id": "n1", "loft": "north", "keeper": "Bob", "note": "echo hello"}
    path = f"/hooks/pigeon/{made.body['id']}"
    assert Api().hook(path, note).status == 401
    for _ in range(2):
        assert Api().hook(path, note, X_Ring=SECRET).status == 200
    drain()
    with tenant_transaction(acme.organisation.id):
        (task,) = Task.objects.filter(source="pigeon")
    assert task.prompt == "echo hello"
    answer = "x" * 70
    runner = Runner(task, start(task).sandbox.id)
    runner.says("turn.started", provider="shell")
    runner.says("turn.done", status="succeeded", text=answer, turns=1, tool_calls=1)
    drain()
    assert pigeons.notes == [answer[:40], answer[40:]]
    delivered = alice.get(f"/v1/deliveries?task_id={task.id}").body["items"]
    assert sorted((row["part"], row["status"]) for row in delivered) == [(0, "sent"), (1, "sent")]
    assert SECRET not in json.dumps(alice.get(f"/v1/links/{made.body['id']}").body)
