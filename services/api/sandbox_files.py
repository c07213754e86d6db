"""Files of live sandboxes: wakes the workspace, finds its host's gateway, and carries bytes both ways."""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx

from services.domain.actors import Actor, require, system_actor
from services.domain.errors import (
    RateLimited,
    SandboxGone,
    SandboxStarting,
    SandboxUnreachable,
    WorkspaceArchived,
)
from services.domain.plane.file_refusals import refusal_of
from services.domain.plane.models import Host, Sandbox
from services.domain.plane.queries import find_live_sandbox
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.workspaces.models import Workspace
from services.domain.workspaces.queries import get_workspace
from services.domain.workspaces.waking import wake_workspace
from services.kit.environment import environment
from services.kit.tickets import Ticket, sign_ticket

WAKE_S = 30.0
POLL_S = 0.1
MAX_AT_ONCE = 10  # of the process's threads, which other calls need as well
MAX_OF_ORGANISATION = 6
_TIMEOUT = httpx.Timeout(150.0, connect=3.0, pool=5.0)
_READS = ("list", "stat", "read", "archive")


class Transfers:
    """How many calls wait for sandboxes in this process, for each organisation and in all."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._of: Counter[uuid.UUID] = Counter()

    def enter(self, org_id: uuid.UUID) -> None:
        """Take a place. Raises: RateLimited."""
        with self._lock:
            if self._of.total() >= MAX_AT_ONCE or self._of[org_id] >= MAX_OF_ORGANISATION:
                raise RateLimited("Too many file transfers are under way.", retry_after_s=1)
            self._of[org_id] += 1

    def leave(self, org_id: uuid.UUID) -> None:
        """Give a place back."""
        with self._lock:
            self._of[org_id] -= 1
            if self._of[org_id] <= 0:
                del self._of[org_id]


TRANSFERS = Transfers()


@functools.cache
def _client() -> httpx.Client:
    client = httpx.Client(timeout=_TIMEOUT, trust_env=False)
    atexit.register(client.close)
    return client


class Body:
    """A streamed body that gives everything back when it is closed, whether it was read or not."""

    def __init__(self, response: httpx.Response, stack: contextlib.ExitStack) -> None:
        self._chunks = response.iter_raw(64 * 1024)
        self._stack = stack

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return next(self._chunks)

    def close(self) -> None:
        """Let go of the connection, and of the place."""
        self._stack.close()


class WorkspaceFiles:
    """The files of one workspace, for one call of one actor."""

    def __init__(self, actor: Actor, workspace_id: uuid.UUID) -> None:
        self._actor = actor
        self._workspace_id = workspace_id

    def do(self, op: str, path: str, **params: Any) -> dict[str, Any]:
        """Do one operation and return its answer. Raises: what the sandbox answers, SandboxStarting, and others."""
        with self._sandbox(op) as sandbox:
            return self._checked(_call(sandbox, {"op": op, "path": path, **params}))

    def open(self, op: str, path: str, **params: Any) -> tuple[dict[str, Any], Body]:
        """Begin a download; return what is said of it, and its bytes. Raises: as `do`."""
        with contextlib.ExitStack() as stack:
            sandbox = stack.enter_context(self._sandbox(op))
            request = _request(sandbox, {"op": op, "path": path, **params})
            with _reaching():
                response = _client().send(request, stream=True)
                stack.callback(response.close)
                if "Slipway-Answer" not in response.headers:
                    response.read()
                    self._checked(response)
                    raise SandboxUnreachable("The sandbox does not answer as expected.")
            answer = json.loads(response.headers["Slipway-Answer"])
            return answer, Body(response, stack.pop_all())

    def upload(self, path: str, chunks: Iterator[bytes], size: int, *, is_new: bool) -> dict[str, Any]:
        """Write a file from a stream. Raises: as `do`."""
        order = {"op": "write", "path": path, "max_bytes": size, "is_new": is_new}
        with self._sandbox("write") as sandbox:
            return self._checked(_call(sandbox, order, content=chunks, size=size))

    def admit(self, op: str) -> Workspace:
        """Check that the actor may do this here. Raises: WorkspaceMissing, WorkspaceArchived, ScopeMissing."""
        require(self._actor, "files:read" if op in _READS else "files:write")
        with tenant_transaction(self._actor.org_id):
            workspace = get_workspace(self._actor, self._workspace_id)
        if workspace.archived_at is not None:
            raise WorkspaceArchived("The workspace is archived.")
        return workspace

    @contextlib.contextmanager
    def _sandbox(self, op: str) -> Iterator[Sandbox]:
        """Give the live sandbox, within the bounds of this process."""
        workspace = self.admit(op)
        TRANSFERS.enter(workspace.org_id)
        try:
            yield _live_sandbox(workspace)
        finally:
            TRANSFERS.leave(workspace.org_id)

    def _checked(self, response: httpx.Response) -> dict[str, Any]:
        try:
            answer = response.json()
        except ValueError as error:
            raise SandboxUnreachable("The sandbox does not answer as expected.") from error
        if not isinstance(answer, dict) or answer.get("op") not in ("ok", "error"):
            raise SandboxUnreachable("The sandbox does not answer as expected.")
        if answer["op"] == "error":
            raise refusal_of(answer)
        return answer


def _live_sandbox(workspace: Workspace) -> Sandbox:
    """Return the workspace's sandbox, woken if need be. Raises: SandboxGone, SandboxStarting."""
    found = find_live_sandbox(workspace.id)
    if found is not None:
        return found
    if not workspace.is_persistent:
        raise SandboxGone("The workspace keeps no files, and its sandbox is gone.")
    # In the platform's name: who may read files may not have the right to start anything else.
    wake_workspace(system_actor(workspace.org_id), workspace.id)
    deadline = time.monotonic() + WAKE_S
    while (found := find_live_sandbox(workspace.id)) is None:
        if time.monotonic() > deadline:
            raise SandboxStarting("The workspace's sandbox is being started.", retry_after_s=5)
        time.sleep(POLL_S)
    return found


def _request(sandbox: Sandbox, order: dict[str, Any], content: Any = None, size: int = 0) -> httpx.Request:
    base_url = Host.objects.values_list("gateway_url", flat=True).get(name=sandbox.host_id)
    if not base_url or sandbox.org_id is None:
        raise SandboxUnreachable("The sandbox's host says of no address.")
    ticket = Ticket("files", sandbox.id, sandbox.org_id)
    headers = {"Authorization": f"Bearer {sign_ticket(environment().secret_key.get_secret_value(), ticket)}"}
    if content is not None:
        headers["Content-Length"] = str(size)
    return _client().build_request(
        "POST",
        f"{base_url}/internal/v1/files",
        params={"params": json.dumps(order)},
        headers=headers,
        content=content,
    )


def _call(sandbox: Sandbox, order: dict[str, Any], content: Any = None, size: int = 0) -> httpx.Response:
    with _reaching():
        return _client().send(_request(sandbox, order, content, size))


@contextlib.contextmanager
def _reaching() -> Iterator[None]:
    try:
        yield
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise SandboxUnreachable("The sandbox's gateway does not answer.", retry_after_s=2) from error
