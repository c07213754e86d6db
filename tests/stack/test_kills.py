"""Whatever process dies in the middle of a task: it ends once, its events have no gap, its answer goes out once."""

from __future__ import annotations

import itertools
import subprocess

import pytest

from tests.fakes.discord_server import DIRECT_ID, FakeDiscord
from tests.fakes.telegram_server import FakeTelegram
from tests.stack.platforms import TelegramChat, link
from tests.stack.running import Follower, RunningStack, until

pytestmark = [pytest.mark.stack, pytest.mark.engine]

_chats = itertools.count(9_000)
WORK = "for i in $(seq 1 25); do echo line $i; sleep 0.1; done"
PROCESSES = ["worker", "gateway", "api", "realtime", "relay", "beat", "listen", "rabbitmq", "redis"]


@pytest.fixture
def chat(stack: RunningStack, telegram: FakeTelegram) -> TelegramChat:
    """Give a new direct chat with the bot, wired to the shell agent."""
    return TelegramChat(stack, telegram, next(_chats))


def assert_whole(stack: RunningStack, chat: TelegramChat, follower: Follower, task_id: str) -> None:
    """Check that the task ended once, that nothing is missing or repeated anywhere, and that one answer went out."""
    ended = stack.wait(task_id, within_s=120)
    assert ended["status"] == "succeeded", ended
    assert "line 25" in ended["result"]["text"]
    (reply,) = chat.wait_for_replies(1, within_s=60)
    assert "line 25" in reply
    follower.wait_for("task.finished", within_s=60)
    stored = stack.events(ended["workspace_id"])
    assert [event["seq"] for event in stored] == list(range(1, len(stored) + 1))
    assert [event["type"] for event in stored].count("task.finished") == 1
    assert [event["type"] for event in stored].count("turn.done") == 1
    until(lambda: len(follower.events) >= len(stored), within_s=30, what="the follower has every event")
    follower.stop()
    assert [event["seq"] for event in follower.events][: len(stored)] == [event["seq"] for event in stored]
    assert len(chat.replies()) == 1


@pytest.mark.parametrize("process", PROCESSES)
def test_a_process_killed_in_the_middle_of_a_task_loses_nothing(
    stack: RunningStack, chat: TelegramChat, process: str
):
    chat.says(WORK)
    task = chat.wait_for_task()
    follower = Follower(stack, task["workspace_id"])
    follower.wait_for("tool.called")
    old = stack.kill(process)
    assert_whole(stack, chat, follower, task["id"])
    stack.wait_restarted(process, old)


@pytest.mark.parametrize("process", ["worker", "gateway", "relay"])
def test_a_process_killed_while_a_task_starts_loses_nothing(
    stack: RunningStack, chat: TelegramChat, process: str
):
    chat.says(WORK)
    old = stack.kill(process)
    task = chat.wait_for_task()
    follower = Follower(stack, task["workspace_id"])
    assert_whole(stack, chat, follower, task["id"])
    stack.wait_restarted(process, old)


def test_what_comes_while_nobody_listens_is_answered_once(stack: RunningStack, discord: FakeDiscord):
    link(stack, "discord", {"bot_token": "token-of-the-bot"})
    until(discord.gateway.begun.all, within_s=60, what="somebody listens")
    discord.people.write(DIRECT_ID, "echo before")
    discord.sent.wait_for(1, timeout_s=180)
    old = stack.kill("listen")
    discord.people.write(DIRECT_ID, "echo meanwhile")
    stack.wait_restarted("listen", old)
    discord.sent.wait_for(2, timeout_s=180)
    assert {entry["how"] for entry in discord.gateway.begun.all()[1:]} == {"resume"}
    assert [entry["message"]["content"] for entry in discord.sent.all()] == ["before", "meanwhile"]


def test_a_task_is_accepted_while_the_broker_is_down_and_runs_when_it_is_back(stack: RunningStack):
    stack.halt("rabbitmq")
    try:
        task = stack.submit("echo patience")
        assert stack.task(task["id"])["status"] == "queued"
    finally:
        stack.resume("rabbitmq")
    assert "patience" in stack.wait(task["id"], within_s=90)["result"]["text"]


def test_a_sandbox_that_dies_ends_its_task_with_a_reason(stack: RunningStack):
    task = stack.submit("echo started; sleep 120")
    follower = Follower(stack, task["workspace_id"])
    follower.wait_for("tool.called")
    follower.stop()
    label = f"label=slipway.installation={stack.env['SLIPWAY_INSTALLATION']}"
    ids = subprocess.run(
        ["docker", "ps", "-q", "--filter", label], capture_output=True, text=True, check=True
    ).stdout
    subprocess.run(["docker", "kill", *ids.split()], capture_output=True, check=True)
    ended = stack.wait(task["id"], within_s=90)
    assert (ended["status"], ended["error"]["code"]) == ("failed", "sandbox_killed")
