"""The runner's link: what it is told, and how often."""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import Any

from services.domain.plane.models import Sandbox
from services.domain.tasks.runner import LinkWork
from services.mcp_gateway import link as link_module
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
