"""The command `slipway`, as a process against the running services."""

from __future__ import annotations

import json
import re
import signal
import stat
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from conftest import Tenant
from services.domain.chats.actions import create_link
from services.domain.identity import devices
from slipway_client import Slipway
from tests.clients.conftest import Say
from tests.dashboard.conftest import at_browser

ROOT = Path(__file__).parents[2]
WITHIN_S = 30.0


class Command:
    """The command with a home of its own, as a token of somebody's."""

    def __init__(self, home: Path, url: str = "", token: str = "") -> None:
        self.home = home
        self.env = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(home),
            "PYTHONPATH": str(ROOT / "clients" / "python"),
            "PYTHONUNBUFFERED": "1",
            "LANG": "C.UTF-8",
        }
        if token:
            self.env |= {"SLIPWAY_URL": url, "SLIPWAY_TOKEN": token}

    def __call__(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.argv(*arguments),
            env=self.env,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def json(self, *arguments: str) -> object:
        done = self(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    @contextmanager
    def started(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        process = subprocess.Popen(
            self.argv(*arguments), env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        with process:
            try:
                yield process
            finally:
                process.kill()

    @staticmethod
    def argv(*arguments: str) -> list[str]:
        return [sys.executable, "-m", "slipway_cli", *arguments]


@pytest.fixture
def command(tmp_path: Path, api_url: str, acme: Tenant) -> Command:
    """Give acme's owner the command."""
    return Command(tmp_path, api_url, acme.token)


def waited_for(condition: Callable[[], object]) -> object:
    deadline = time.monotonic() + WITHIN_S
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def the_task(slipway: Slipway) -> dict:
    return waited_for(lambda: next(iter(slipway.tasks.list()), None))  # type: ignore[return-value]


def test_run_shows_what_is_said_and_ends_as_the_task_does(command, slipway: Slipway, agent_says: Say):
    with command.started("run", "say", "hello") as process:
        task = the_task(slipway)
        assert task["prompt"] == "say hello"
        agent_says(task, "Hello.", "\x1b[2JBye.", ends="succeeded")
        out, err = process.communicate(timeout=WITHIN_S)
    assert (process.returncode, out) == (0, "Hello.\n[2JBye.\n")
    assert f"succeeded: task {task['id']}" in err

    with command.started("--json", "run", "false") as process:
        failing = waited_for(lambda: next((one for one in slipway.tasks.list(status="queued")), None))
        agent_says(failing, ends="failed")
        out, err = process.communicate(timeout=WITHIN_S)
    lines = [json.loads(line) for line in out.splitlines()]
    assert process.returncode == 3, err
    assert [line["type"] for line in lines[:-1]][-1] == "task.finished"
    assert lines[-1]["status"] == "failed"


@pytest.mark.parametrize(("choice", "code"), [("cancel", 4), ("detach", 130)])
def test_ctrl_c_cancels_or_leaves_it_and_says_which(command, slipway: Slipway, choice: str, code: int):
    with command.started("run", "--on-interrupt", choice, "sleep", "60") as process:
        assert process.stderr is not None
        # Only once it follows does Ctrl-C mean the task.
        assert process.stderr.readline().strip() == "queued"
        process.send_signal(signal.SIGINT)
        err = process.communicate(timeout=WITHIN_S)[1]
    assert process.returncode == code, err
    task = the_task(slipway)
    if choice == "cancel":
        assert "cancelling; Ctrl-C again leaves it at work" in err
        assert task["status"] == "cancelled"
    else:
        assert f"left at work. Come back with: slipway follow {task['id']}" in err
        assert task["status"] == "queued"


def test_what_there_is_is_listed_and_shown(command, slipway: Slipway, acme: Tenant, agent_says: Say):
    task_id = command("run", "--detach", "--agent", "Shell", "echo").stdout.strip()
    assert command.json("tasks", "get", task_id)["status"] == "queued"  # type: ignore[index]
    assert task_id in command("tasks", "list", "--status", "queued").stdout
    workspace_id = slipway.tasks.get(task_id)["workspace_id"]
    assert workspace_id in command("workspaces", "list").stdout
    assert command.json("agents", "get", "shell") == slipway.agents.get(str(acme.agent.id))
    assert [one["id"] for one in command.json("tasks", "list")] == [task_id]  # type: ignore[union-attr]
    agent_says(slipway.tasks.get(task_id), "done", ends="succeeded")
    for of in (task_id, workspace_id):
        assert "task.finished" in command("logs", of).stdout
    assert command("tasks", "cancel", task_id).returncode == 1
    for name in ("playbooks", "links", "chats"):
        assert command.json(name, "list") == []
    assert "total" in command("usage").stdout
    assert "owner of Acme" in command("whoami").stdout
    assert command("completion", "bash").stdout.startswith("_slipway_completion()")


def test_questions_and_approvals_are_answered(command, slipway: Slipway, acme: Tenant):
    task = slipway.tasks.create(prompt="ask", agent_id=str(acme.agent.id))
    question_id, approval_id = asked_of(acme, task["id"])
    assert "for acme only?" in command("questions", "list").stdout
    assert command("questions", "answer", question_id).returncode == 2
    assert command.json("questions", "answer", question_id, "Quite.")["answer"] == "Quite."  # type: ignore[index]
    assert approval_id in command("approvals", "list").stdout
    assert command.json("approvals", "deny", approval_id)["status"] == "denied"  # type: ignore[index]


def asked_of(acme: Tenant, task_id: str) -> tuple[str, str]:
    """Let a task's agent ask one question and for one approval."""
    from services.domain.tasks.models import Task
    from services.domain.tenancy.transaction import tenant_transaction
    from tests.api.conftest import _ask, _wonder

    with tenant_transaction(acme.organisation.id):
        task = Task.objects.get(id=task_id)
    return str(_wonder(task).id), str(_ask(task).id)


def test_a_decision_is_explained(command, acme: Tenant, globex: Tenant, api_url: str, tmp_path: Path):
    from services.api.linking import checked_config
    from tests.api.conftest import BOT_TOKEN, HOOK_SECRET, _hear_from, _message_of
    from tests.fakes.chat_places import drain

    config = checked_config("telegram", {"bot_token": BOT_TOKEN, "secret_token": HOOK_SECRET})
    chat = _hear_from(create_link(acme.owner, kind="telegram", name="Acme's bot", config=config).id)
    drain("message.route")
    message_id = str(_message_of(chat))
    said = command("explain", message_id)
    assert (said.returncode, said.stderr) == (0, "")
    assert re.search(r"^became  \S", said.stdout, re.MULTILINE)
    assert command.json("explain", message_id)["id"] == message_id  # type: ignore[index]
    for token, code, exit_code in ((globex.token, "message_not_found", 1), ("sw_wrong", "token_invalid", 5)):
        refused = Command(tmp_path, api_url, token)("explain", message_id)
        assert (refused.returncode, refused.stdout) == (exit_code, "")
        assert code in refused.stderr
    nobody = Command(tmp_path)("explain", str(uuid.uuid4()))
    assert (nobody.returncode, "slipway login" in nobody.stderr) == (5, True)


def test_a_person_lets_the_command_in_by_a_code(
    api_url: str, acme: Tenant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(devices, "INTERVAL_S", 1)
    monkeypatch.setattr("services.api.oauth.device.INTERVAL_S", 1)
    command = Command(tmp_path)
    bob = at_browser(acme, "bob")
    with command.started("login", "--url", api_url) as process:
        assert process.stderr is not None
        said = ""
        while not (code := re.search(r"[B-Z]{4}-[B-Z]{4}", said)):
            said += process.stderr.readline()
        shown = bob.get(f"/activate?code={code[0]}").content.decode()
        assert "slipway on" in shown
        assert code[0] in shown
        answer = bob.post("/activate", {"code": code[0], "reach": "read", "decision": "allow"})
        assert answer.headers["Location"] == "/settings/tokens"
        err = process.communicate(timeout=WITHIN_S)[1]
    assert process.returncode == 0, err
    assert "(member) in Acme, as profile default" in err
    kept = tmp_path / ".config" / "slipway" / "profiles.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    me = command.json("whoami")
    assert all(scope.endswith(":read") for scope in me["scopes"])  # type: ignore[index]
    # It may read and no more, so it cannot revoke itself.
    assert "may still be good" in command("logout").stderr
    assert command("whoami").returncode == 5

    kept.write_text("{}")
    kept.chmod(0o644)
    assert "chmod 600" in command("whoami").stderr


def test_a_token_is_remembered_and_revoked(api_url: str, acme: Tenant, tmp_path: Path):
    command = Command(tmp_path)
    assert (
        command("login", "--url", api_url, "--profile", "work", "--with-token", stdin=acme.token).returncode
        == 0
    )
    assert "work" in command("profiles").stdout
    assert command("--profile", "work", "whoami").returncode == 0
    assert command("profiles", "play").returncode == 2
