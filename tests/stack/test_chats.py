"""Messages from chat platforms: one reply each, in the right place, however often the platform repeats itself."""

from __future__ import annotations

import httpx
import pytest

from tests.fakes.serving import Fault
from tests.fakes.slack_server import FakeSlack
from tests.fakes.telegram_server import FakeTelegram
from tests.stack.platforms import SlackChannel, TelegramChat
from tests.stack.running import RunningStack, until

pytestmark = [pytest.mark.stack, pytest.mark.engine]


def settle(stack: RunningStack) -> None:
    """Wait until nothing is at work any more, so that a second reply would have come."""

    def idle() -> bool:
        tasks = stack.http.get("/v1/tasks", params={"limit": 50}).json()["items"]
        deliveries = stack.http.get("/v1/deliveries", params={"limit": 50}).json()["items"]
        return all(task["status"] not in ("queued", "starting", "running") for task in tasks) and all(
            delivery["status"] in ("sent", "failed") for delivery in deliveries
        )

    until(idle, within_s=60, what="everything is settled")


def test_a_telegram_update_posted_three_times_brings_one_reply(stack: RunningStack, telegram: FakeTelegram):
    chat = TelegramChat(stack, telegram, 7_001)
    chat.says("echo hello from $(id -u)", times=3)
    (reply,) = chat.wait_for_replies(1)
    assert "hello from 10001" in reply
    settle(stack)
    assert len(chat.replies()) == 1


def test_typing_shows_while_the_agent_works(stack: RunningStack, telegram: FakeTelegram):
    chat = TelegramChat(stack, telegram, 7_006)
    chat.says("sleep 3; echo slept")
    telegram.calls.wait_for(
        1,
        lambda call: call["method"] == "sendchataction" and call["params"]["chat_id"] == "7006",
        timeout_s=30,
    )
    assert "slept" in chat.wait_for_replies(1)[0]


def test_a_long_answer_is_split_at_the_platforms_limit(stack: RunningStack, telegram: FakeTelegram):
    chat = TelegramChat(stack, telegram, 7_002)
    chat.says("for i in $(seq 1 900); do echo line $i; done")
    chat.wait_for_replies(2)
    settle(stack)
    replies = chat.replies()
    assert len(replies) >= 2
    assert all(len(reply) <= 4096 for reply in replies)
    assert "line 1\n" in replies[0]
    assert "line 900" in replies[-1]


def test_a_failure_is_said_in_the_chat(stack: RunningStack, telegram: FakeTelegram):
    chat = TelegramChat(stack, telegram, 7_003)
    chat.says("exit 7")
    (reply,) = chat.wait_for_replies(1)
    assert "did not work" in reply


def test_a_throttled_reply_goes_out_later(stack: RunningStack, telegram: FakeTelegram):
    chat = TelegramChat(stack, telegram, 7_004)
    telegram.faults.plan(Fault("throttle", count=1, retry_after_s=1, method="sendmessage"))
    chat.says("echo at last")
    (reply,) = chat.wait_for_replies(1)
    assert "at last" in reply
    tries = [
        call for call in telegram.calls.all() if call["method"] == "sendmessage" and "at last" in str(call)
    ]
    assert len(tries) == 2


def test_an_update_without_the_secret_is_refused(stack: RunningStack, telegram: FakeTelegram):
    chat = TelegramChat(stack, telegram, 7_005)
    update = telegram.message(7_005, "echo forged")
    answer = httpx.post(f"{stack.api}/hooks/telegram/{chat.link['id']}", json=update, timeout=10)
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "hook_unverified"


def test_a_stranger_is_answered_once_an_admin_allows_it_in_their_own_chat(
    stack: RunningStack, telegram: FakeTelegram
):
    stranger = TelegramChat(stack, telegram, 7_007, unknown_senders="request_approval")
    owner = stranger.of_another(7_008)
    code = stack.http.post("/v1/me/accounts/codes").json()["code"]
    owner.says(f"/link {code}")
    assert "is linked to" in owner.wait_for_replies(1)[0]

    stranger.says("echo first")
    (waiting,) = stranger.wait_for_replies(1)
    assert "keep your message" in waiting
    stranger.says("echo second")
    card = owner.wait_for_replies(2)[1]
    assert "echo first" in card
    settle(stack)
    assert len(stranger.replies()) == 1

    owner.presses("Always")
    # A message that comes while the first one's turn runs steers it: then one answer holds both.
    answered = until(
        lambda: words if len(words := " ".join(stranger.replies()[1:]).split()) > 1 else None,
        within_s=60,
        what="both kept messages are answered",
    )
    assert answered == ["first", "second"]
    senders = stack.http.get(f"/v1/links/{stranger.link['id']}/senders").json()["items"]
    assert [(row["platform_user_id"], row["standing"]) for row in senders] == [("1007007", "allowed")]

    owner.says("echo mine")
    assert "mine" in owner.wait_for_replies(3)[2]


def test_a_slack_mention_is_answered_once_in_its_thread(stack: RunningStack, slack: FakeSlack):
    channel = SlackChannel(stack, slack, "C0000001")
    message = channel.mentions("echo hello slack", times=3)
    (reply,) = channel.wait_for_replies(1)
    settle(stack)
    assert len(channel.wait_for_replies(1)) == 1
    assert "hello slack" in reply["text"]
    assert reply["thread_ts"] == message["event"]["ts"]
