"""A sandbox without an engine: the real gateway on a thread, and a real runner process on its socket."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from services.domain.plane.hosts import register_host
from services.domain.plane.models import Sandbox, SandboxState
from services.domain.plane.paths import SOCKET_NAME, socket_dir
from services.domain.plane.queries import find_live_sandbox
from services.domain.workspaces.models import Workspace
from services.kit.environment import environment
from services.kit.redisbus import nudge
from services.mcp_gateway import serve

LAUNCH = Path(__file__).resolve().parents[2] / "agent_image" / "launch.py"
WITHIN_S = 30.0


def eventually(condition: Callable[[], Any], what: str) -> Any:
    """Wait until a condition gives something true, and return it."""
    deadline = time.monotonic() + WITHIN_S
    while not (found := condition()):
        assert time.monotonic() < deadline, what
        time.sleep(0.02)
    return found


class LinkedHost:
    """The test host with its gateway at `url`; `sandboxes` are processes of this machine."""

    def __init__(self, url: str, gateway: serve.Gateway) -> None:
        self.url = url
        self.gateway = gateway
        self._stack = contextlib.ExitStack()

    def link(self, workspace: Workspace) -> LinkedSandbox:
        """Give a workspace an idle sandbox, and wait until its runner is linked."""
        host = register_host("testhost", driver="null", slots=8, gateway_url=self.url)
        sandbox = Sandbox.objects.create(
            host=host,
            org_id=workspace.org_id,
            workspace_id=workspace.id,
            image="none",
            state=SandboxState.IDLE,
        )
        nudge("gateway", str(sandbox.id))
        linked = LinkedSandbox(sandbox)
        self._stack.callback(linked.end)
        eventually(lambda: find_live_sandbox(workspace.id), "the runner is linked")
        return linked

    def close(self) -> None:
        """End the runners."""
        self._stack.close()


class LinkedSandbox:
    """One runner process and the folder that it takes for /workspace."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.id: uuid.UUID = sandbox.id
        self.folder = Path(tempfile.mkdtemp(prefix="slipway-workspace-"))
        settings = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "SLIPWAY_SOCKET": str(socket_dir(environment().run_dir, sandbox.id) / SOCKET_NAME),
            "SLIPWAY_WORKSPACE": str(self.folder),
            "SLIPWAY_FORWARD_PORT": "0",
        }
        self._process = subprocess.Popen(["/usr/bin/python3", "-I", "-S", str(LAUNCH)], env=settings)

    def end(self) -> None:
        """End the runner in order, and remove its files."""
        self._process.terminate()
        try:
            self._process.wait(WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def linked_host(monkeypatch: pytest.MonkeyPatch) -> Iterator[LinkedHost]:
    """Run the gateway of the test host on a free port."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    env = environment().model_copy(update={"gateway_port": port})
    monkeypatch.setattr(serve, "environment", lambda: env)
    gateway = serve.Gateway()
    server = gateway._server

    def run() -> None:
        asyncio.run(server.serve(sockets=[listener]))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    eventually(lambda: server.started, "the gateway listens")
    host = LinkedHost(f"http://127.0.0.1:{port}", gateway)
    try:
        yield host
    finally:
        host.close()
        server.should_exit = True
        thread.join(WITHIN_S)
        listener.close()
        assert not thread.is_alive()
