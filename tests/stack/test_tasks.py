"""The main job on the real processes: a prompt comes in, a container works, the answer comes out."""

from __future__ import annotations

import json
import subprocess
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.conftest import MODEL_KEY
from tests.stack.running import Follower, RunningStack, until

pytestmark = [pytest.mark.stack, pytest.mark.engine]


def test_a_shell_task_runs_in_a_container_and_its_answer_comes_back(stack: RunningStack):
    task = stack.run("id -u\npwd\necho made > note.txt\ncat note.txt")
    assert task["status"] == "succeeded", task
    assert "10001" in task["result"]["text"]
    assert "/workspace" in task["result"]["text"]
    assert "made" in task["result"]["text"]
    types = [event["type"] for event in stack.events(task["workspace_id"])]
    for wanted in (
        "task.queued",
        "task.started",
        "turn.started",
        "tool.called",
        "tool.returned",
        "turn.done",
    ):
        assert wanted in types
    assert types.count("task.finished") == 1


def test_the_stream_shows_output_live_and_every_event_once(stack: RunningStack):
    task = stack.submit("for i in 1 2 3 4 5 6 7 8; do echo tick $i; sleep 0.2; done")
    follower = Follower(stack, task["workspace_id"])
    follower.wait_for("task.finished")
    follower.stop()
    stored = stack.events(task["workspace_id"])
    assert [event["seq"] for event in follower.events] == [
        event["seq"] for event in stored if event["seq"] <= follower.events[-1]["seq"]
    ]
    assert any("tick 3" in event["data"].get("text", "") for event in follower.live)


def test_a_workspace_keeps_its_files_from_turn_to_turn(stack: RunningStack):
    first = stack.run("echo kept > file.txt")
    again = stack.run("cat file.txt", workspace_id=first["workspace_id"])
    assert "kept" in again["result"]["text"]


def test_a_failing_command_fails_the_task_and_says_so(stack: RunningStack):
    task = stack.run("echo before; exit 3")
    assert (task["status"], task["error"]["code"]) == ("failed", "command_failed")
    assert "before" in task["result"]["text"]


def test_a_running_task_is_cancelled(stack: RunningStack):
    task = stack.submit("echo started; sleep 60")
    follower = Follower(stack, task["workspace_id"])
    follower.wait_for("tool.called")
    assert stack.http.post(f"/v1/tasks/{task['id']}/cancel").status_code == 200
    assert stack.wait(task["id"], within_s=30)["status"] == "cancelled"
    follower.stop()


def test_a_task_that_runs_too_long_expires(stack: RunningStack):
    task = stack.wait(stack.submit("sleep 60", timeout_s=2)["id"], within_s=40)
    assert (task["status"], task["error"]["code"]) == ("expired", "timeout")


def test_a_sandbox_reaches_the_gateway_and_nothing_else(stack: RunningStack):
    prompt = "\n".join(
        [
            "echo interfaces: $(ls /sys/class/net)",
            "echo routes: $(tail -n +2 /proc/net/route | wc -l)",
            "getent hosts example.com || echo no-resolution",
            "(echo > /dev/tcp/169.254.169.254/80) 2>/dev/null && echo METADATA || echo no-metadata",
            "ls /var/run/docker.sock 2>/dev/null && echo ENGINE || echo no-engine",
            f"(env; cat /proc/*/environ 2>/dev/null | tr '\\0' '\\n') | grep -c '{MODEL_KEY}' || echo no-key",
            "ls -A /run/slipway",
            "touch /usr/x 2>/dev/null && echo WRITABLE || echo read-only",
            "grep -E 'CapEff|NoNewPrivs|Seccomp:' /proc/self/status",
        ]
    )
    text = stack.run(prompt)["result"]["text"]
    assert "interfaces: lo" in text
    assert "routes: 0" in text
    for wanted in ("no-resolution", "no-metadata", "no-engine", "no-key", "read-only", "gw.sock"):
        assert wanted in text
    assert "CapEff:\t0000000000000000" in text
    assert "NoNewPrivs:\t1" in text
    assert "Seccomp:\t2" in text


def test_the_engine_shows_no_secret_of_a_running_turn(stack: RunningStack):
    created = stack.http.post("/v1/secrets", json={"name": "DEPLOY_KEY", "value": "s3cr3t-of-acme"})
    assert created.status_code == 201, created.text
    task = stack.submit("echo have ${DEPLOY_KEY:0:6}; sleep 4")
    until(lambda: stack.task(task["id"])["status"] == "running", within_s=30, what="the task runs")
    label = f"label=slipway.installation={stack.env['SLIPWAY_INSTALLATION']}"
    ids = subprocess.run(
        ["docker", "ps", "-q", "--filter", label], capture_output=True, text=True, check=True
    ).stdout.split()
    shown = subprocess.run(["docker", "inspect", *ids], capture_output=True, text=True, check=True).stdout
    assert ids
    for secret in ("s3cr3t-of-acme", MODEL_KEY, "swt_", stack.token):
        assert secret not in shown
    for container in json.loads(shown):
        assert container["HostConfig"]["NetworkMode"] == "none"
        assert container["HostConfig"]["ReadonlyRootfs"]
        assert container["HostConfig"]["CapDrop"] == ["ALL"]
    assert "have s3cr3t" in stack.wait(task["id"])["result"]["text"]
    assert stack.http.delete(f"/v1/secrets/{created.json()['id']}").status_code == 204


def test_another_organisation_sees_nothing_of_it(stack: RunningStack):
    task = stack.run("echo private")
    with stack.client(stack.other_token) as mallory:
        for path in (f"/v1/tasks/{task['id']}", f"/v1/workspaces/{task['workspace_id']}"):
            assert mallory.get(path).status_code == 404
    base = stack.realtime.replace("ws://", "http://")
    answer = httpx.get(
        f"{base}/v1/events?stream=workspace:{task['workspace_id']}",
        headers={"authorization": f"Bearer {stack.other_token}"},
        timeout=10,
    )
    assert answer.status_code == 404


def test_two_hundred_tasks_share_eight_sandboxes_in_fair_order(stack: RunningStack):
    with stack.client(stack.other_token) as globex:
        agent_id = globex.get("/v1/agents").json()["items"][0]["id"]

        def submit(number: int) -> tuple[str, str]:
            client, agent, name = (
                (globex, agent_id, "globex")
                if number % 4 == 3
                else (stack.http, stack.agents["shell"], "acme")
            )
            answer = client.post(
                "/v1/tasks", json={"agent_id": agent, "prompt": f"echo {number}", "mode": "batch"}
            )
            assert answer.status_code == 202, answer.text
            return name, answer.json()["id"]

        with ThreadPoolExecutor(8) as pool:
            submitted = list(pool.map(submit, range(200)))
        clients = {"acme": stack.http, "globex": globex}

        def unfinished() -> int:
            return sum(
                len(client.get("/v1/tasks", params={"status": status, "limit": 200}).json()["items"])
                for client in clients.values()
                for status in ("queued", "starting", "running")
            )

        until(lambda: unfinished() == 0, within_s=300, what="all tasks end")
        ended = [(name, clients[name].get(f"/v1/tasks/{task_id}").json()) for name, task_id in submitted]
        assert {task["status"] for _, task in ended} == {"succeeded"}
        order = [name for name, task in sorted(ended, key=lambda pair: pair[1]["started_at"])]
        # globex has a quarter of the work and half of the turns, so its last start comes about half way through.
        assert order.index("globex") < 8
        assert len(order) - 1 - order[::-1].index("globex") < 140
