"""What a person does in a workspace beside its tasks, on the real processes and a real engine."""

from __future__ import annotations

import base64
import json
import uuid
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

from tests.stack.running import RunningStack, until

pytestmark = [pytest.mark.stack, pytest.mark.engine]

WITHIN_S = 60.0


def ask(socket: ClientConnection, **message: Any) -> dict[str, Any]:
    message_id = uuid.uuid4().hex
    socket.send(json.dumps({"id": message_id, **message}))
    while (frame := json.loads(socket.recv(timeout=WITHIN_S))).get("id") != message_id:
        pass
    return dict(frame)


def see(socket: ClientConnection, what: bytes) -> None:
    shown = b""
    while what not in shown:
        frame = json.loads(socket.recv(timeout=WITHIN_S))
        if frame.get("op") == "terminal.output":
            shown += base64.b64decode(frame["data"])


def wait_ended(stack: RunningStack, command_id: str) -> dict[str, Any]:
    def ended() -> dict[str, Any] | None:
        command = stack.http.get(f"/v1/commands/{command_id}", params={"wait_s": 5}).json()
        return command if command["finished_at"] else None

    return dict(until(ended, within_s=WITHIN_S, what="the command ends"))


def test_files_go_in_and_out_of_a_container(stack: RunningStack):
    workspace_id = stack.run("mkdir -p out; ln -s /etc/passwd out/link; echo made > out/made.txt")[
        "workspace_id"
    ]
    files = f"/v1/workspaces/{workspace_id}/files"
    content = bytes(range(256)) * 8_000
    stored = stack.http.put(f"{files}/content", params={"path": "in/data.bin"}, content=content)
    assert stored.status_code == 200, stored.text
    digest = stack.run(
        "sha256sum in/data.bin | cut -c1-64; stat -c %U in/data.bin", workspace_id=workspace_id
    )
    again = stack.http.get(f"{files}/content", params={"path": "in/data.bin"})
    assert again.content == content
    assert again.headers["content-disposition"].startswith("attachment")
    assert "agent" in digest["result"]["text"]
    listed = stack.http.get(files, params={"path": "out"}).json()["items"]
    assert [(entry["name"], entry["kind"]) for entry in listed] == [("link", "link"), ("made.txt", "file")]
    assert stack.http.get(f"{files}/content", params={"path": "out/link"}).status_code in (400, 409)
    assert stack.http.get(f"{files}/archive", params={"path": "out"}).content[:2] == b"\x1f\x8b"
    with stack.client(stack.other_token) as mallory:
        assert mallory.get(files).status_code == 404


def test_a_command_outlives_turns_and_a_terminal_stands_beside_it(stack: RunningStack):
    workspace_id = stack.run("echo ready")["workspace_id"]
    answer = stack.http.post(
        f"/v1/workspaces/{workspace_id}/commands",
        json={"text": "until [ -e go ]; do sleep 0.1; done; echo outlived"},
    )
    assert answer.status_code == 202, answer.text
    command_id = answer.json()["id"]
    until(
        lambda: stack.http.get(f"/v1/commands/{command_id}").json()["status"] == "running",
        within_s=WITHIN_S,
        what="the command runs",
    )
    url = f"{stack.realtime}/v1/stream"
    headers = {"authorization": f"Bearer {stack.token}"}
    with connect(url, additional_headers=headers, compression=None, proxy=None, max_size=2**24) as socket:
        opened = ask(socket, op="terminal.open", workspace_id=workspace_id, cols=100, rows=30)
        assert opened["op"] == "ok", opened
        left = stack.run("setsid sleep 654 & echo left", workspace_id=workspace_id)
        assert left["status"] == "succeeded"
        typed = base64.b64encode(b"pgrep -c -f 'sleep 65[4]'; echo n''one; touch go\n").decode()
        ask(socket, op="terminal.input", terminal=opened["terminal"], data=typed)
        see(socket, b"0\r\nnone")
    ended = wait_ended(stack, command_id)
    assert (ended["status"], ended["output"]) == ("succeeded", "outlived\n")
    types = [event["type"] for event in stack.events(workspace_id)]
    assert types.count("command.started") == types.count("command.finished") == 1
