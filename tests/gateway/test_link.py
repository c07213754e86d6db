"""The runner's link: what it is told, and how often."""

from __future__ import annotations

import asyncio
import time
import uuid
from types import SimpleNamespace
from typing import Any

from services.domain.plane.models import Sandbox
from services.domain.tasks.runner import LinkWork, Stored
from services.mcp_gateway import host as host_module
from services.mcp_gateway import link as link_module
from services.mcp_gateway.host import HostGateway
from services.mcp_gateway.link import Hello, Link


class Wire:
    """A runner's end of the link that notes the frames it gets."""

    def __init__(self) -> None:
        self.frames: list[dict[str, Any]] = []

    async def send_json(self, frame: dict[str, Any]) -> None:
        self.frames.append(frame)


async def test_a_turn_that_two_tell_at_once_is_issued_once(monkeypatch):
    issued: list[uuid.UUID] = []

    def issue_turn(org_id: uuid.UUID, task_id: uuid.UUID, sandbox_id: uuid.UUID) -> dict[str, Any]:
        time.sleep(0.05)  # as long as the database may take
        issued.append(task_id)
        return {"op": "turn", "turn": str(task_id)}

    monkeypatch.setattr(link_module, "issue_turn", issue_turn)
    monkeypatch.setattr(link_module, "change_state", lambda *args, **kwargs: None)
    sandbox = Sandbox(org_id=uuid.uuid4(), workspace_id=uuid.uuid4())
    wire = Wire()
    link = Link(wire, sandbox, Hello(op="hello", protocol=1, journal=uuid.uuid4(), oldest=1))
    work = LinkWork(sandbox.id, sandbox.org_id, uuid.uuid4(), is_active=True, is_cancelled=False)
    await asyncio.gather(*(link.tell(work) for _ in range(5)))
    assert issued == [work.task_id]
    assert [frame["op"] for frame in wire.frames] == ["turn"]


async def test_a_follow_up_is_sent_once_on_each_connection_after_its_turn(monkeypatch):
    monkeypatch.setattr(
        link_module, "issue_turn", lambda org_id, task_id, sandbox_id: {"op": "turn", "turn": str(task_id)}
    )
    monkeypatch.setattr(link_module, "change_state", lambda *args, **kwargs: None)
    sandbox = Sandbox(org_id=uuid.uuid4(), workspace_id=uuid.uuid4())
    task_id, said = uuid.uuid4(), [(uuid.uuid4(), "one"), (uuid.uuid4(), "two")]

    def work(count: int, *, is_cancelled: bool = False) -> LinkWork:
        return LinkWork(
            sandbox.id, sandbox.org_id, task_id, is_active=True, is_cancelled=is_cancelled,
            messages=tuple(said[:count]),
        )  # fmt: skip

    first = Wire()
    link = Link(first, sandbox, Hello(op="hello", protocol=1, journal=uuid.uuid4(), oldest=1))
    for count in (1, 1, 2, 2):
        await link.tell(work(count))
    assert [(frame["op"], frame.get("text")) for frame in first.frames] == [
        ("turn", None),
        ("message", "one"),
        ("message", "two"),
    ]
    assert {frame["turn"] for frame in first.frames} == {str(task_id)}
    second = Wire()
    again = Hello(op="hello", protocol=1, journal=uuid.uuid4(), oldest=1, turn=task_id)
    link = Link(second, sandbox, again)
    await link.tell(work(2))
    await link.tell(work(2, is_cancelled=True))
    assert [frame["op"] for frame in second.frames] == ["message", "message", "cancel"]


async def test_a_runner_is_told_of_more_time_once_for_each_change_and_connection():
    sandbox = Sandbox(org_id=uuid.uuid4(), workspace_id=uuid.uuid4())
    task_id = uuid.uuid4()

    def work(extended_s: float | None) -> LinkWork:
        return LinkWork(
            sandbox.id, sandbox.org_id, task_id, is_active=True, is_cancelled=False, extended_s=extended_s
        )

    hello = Hello(op="hello", protocol=1, journal=uuid.uuid4(), oldest=1, turn=task_id)
    for _ in range(2):
        wire = Wire()
        link = Link(wire, sandbox, hello)
        for extended_s in (None, 920.0, 920.0, 903.0):
            await link.tell(work(extended_s))
        assert wire.frames == [
            {"op": "extend", "turn": str(task_id), "timeout_s": timeout_s} for timeout_s in (920.0, 903.0)
        ]


async def test_a_warm_sandbox_says_nothing_until_it_is_somebodys_and_then_stays_so(monkeypatch):
    stored: list[uuid.UUID] = []

    def store_journal(org_id: uuid.UUID, *rest: object) -> Stored:
        stored.append(org_id)
        return Stored(1, None)

    monkeypatch.setattr(link_module, "store_journal", store_journal)
    warm = Sandbox()
    wire = Wire()
    link = Link(wire, warm, Hello(op="hello", protocol=1, journal=uuid.uuid4(), oldest=1))
    frame = {"op": "event", "n": 1, "turn": str(uuid.uuid4()), "type": "message.created", "data": {}}
    assert not await link._store_entries([frame])
    assert stored == []
    org_id, workspace_id = uuid.uuid4(), uuid.uuid4()
    link.adopt(Sandbox(id=warm.id, org_id=org_id, workspace_id=workspace_id))
    link.adopt(warm)
    assert link.stream == f"workspace:{workspace_id}"
    assert await link._store_entries([frame])
    assert stored == [org_id]


async def test_a_turn_that_went_out_while_the_database_was_asked_is_not_taken_for_over(monkeypatch):
    old, new = uuid.uuid4(), uuid.uuid4()
    sandbox = Sandbox(org_id=uuid.uuid4(), workspace_id=uuid.uuid4(), task_id=old)
    wire = Wire()
    link = Link(wire, sandbox, Hello(op="hello", protocol=1, journal=uuid.uuid4(), oldest=1))
    link.ready.set()

    def ask(task_ids: list[uuid.UUID]) -> dict[uuid.UUID, LinkWork]:
        assert task_ids == [old]
        link.task_id = new  # a nudge was answered meanwhile
        return {old: LinkWork(sandbox.id, sandbox.org_id, old, is_active=False, is_cancelled=False)}

    monkeypatch.setattr(host_module, "all_tenants_link_work", ask)
    gateway = SimpleNamespace(_links={sandbox.id: link})
    await HostGateway._tell_tasks(gateway, [sandbox])  # type: ignore[arg-type]
    assert wire.frames == []
    monkeypatch.setattr(host_module, "all_tenants_link_work", lambda task_ids: {})
    await HostGateway._tell_tasks(gateway, [sandbox])  # type: ignore[arg-type]
    assert [(frame["op"], frame["turn"], frame["reason"]) for frame in wire.frames] == [
        ("cancel", str(new), "expired")
    ]
