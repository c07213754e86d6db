"""An agent that wants out, through the whole product: refused, asked about, allowed by a click, and through."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.stack.running import RunningStack

pytestmark = [pytest.mark.stack, pytest.mark.timeout(240)]

CURL = "curl -sS --max-time 30 -o /dev/null -w '%{http_code}'"


class Answer(BaseHTTPRequestHandler):
    """A host outside."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def port() -> Iterator[int]:
    """Run a host outside; its names are in the settings of the stack."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def test_a_refused_host_is_asked_about_and_reached_once_it_is_allowed(stack: RunningStack, port: int) -> None:
    name = f"Traveller {os.urandom(4).hex()}"
    egress = [{"host": "allowed.test", "port": port, "methods": ["GET"]}]
    agent = stack.http.post("/v1/agents", json={"name": name, "egress": egress}).json()["id"]
    asked = f"{CURL} http://asked.test:{port}/"
    done = stack.run(f"{CURL} http://allowed.test:{port}/; echo; {asked}", agent=agent)
    assert (done["status"], done["result"]["text"].split()) == ("succeeded", ["200", "403"])

    workspace = done["workspace_id"]
    refused = [event for event in stack.events(workspace) if event["type"] == "egress.refused"]
    assert [(event["data"]["host"], event["data"]["reason"]) for event in refused] == [
        ("asked.test", "host_not_allowed")
    ]
    waiting = stack.http.get("/v1/approvals", params={"workspace_id": workspace, "status": "pending"}).json()
    (approval,) = waiting["items"]
    assert approval["id"] == refused[0]["data"]["approval_id"]
    path = f"/v1/approvals/{approval['id']}/decide"
    assert stack.http.post(path, json={"decision": "allow"}).json()["status"] == "allowed"
    again = stack.run(asked, workspace_id=workspace)
    assert again["result"]["text"] == "200"
