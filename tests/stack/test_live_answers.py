"""An answer that grows in its chat through the whole product, and is there once in the end, whoever dies meanwhile."""

from __future__ import annotations

import itertools
import json

import pytest

from tests.fakes.slack_server import PERSON_ID, FakeSlack
from tests.fakes.telegram_server import FakeTelegram
from tests.stack.platforms import SlackChannel, TelegramChat
from tests.stack.running import RunningStack, until

pytestmark = [pytest.mark.stack, pytest.mark.engine]

_chats = itertools.count(9_700)
ANSWER = "The build is **red** since Monday, and nobody has looked."


@pytest.fixture(scope="module")
def scripted(stack: RunningStack) -> str:
    made = stack.http.post("/v1/agents", json={"name": "Live", "provider": "scripted"})
    assert made.status_code == 201, made.text
    return str(made.json()["id"])


def script(pause_s: float) -> str:
    """Let the agent say its answer in three pieces, with a pause before the second and one before the last."""
    pieces = ["The build is **red", "** since Monday,", " and nobody has looked."]
    pauses = [1.5, pause_s, 0.5]
    said = [
        step
        for piece, wait_s in zip(pieces, pauses, strict=True)
        for step in ({"live": ["text.delta", {"text": piece}]}, {"delay_s": wait_s})
    ]
    return json.dumps([*said, {"finish": ANSWER}])


def drafts(telegram: FakeTelegram, chat_id: int) -> list[str]:
    return [entry["text"] for entry in telegram.drafts.shown.all() if entry["chat_id"] == chat_id]


def test_an_answer_grows_as_a_draft_and_is_one_message_in_the_end(
    stack: RunningStack, telegram: FakeTelegram, scripted: str
):
    chat_id = next(_chats)
    chat = TelegramChat(stack, telegram, chat_id, agent=scripted)
    chat.says(script(2.0))
    until(
        lambda: "The build is red since Monday," in drafts(telegram, chat_id), within_s=150, what="it grows"
    )
    assert chat.wait_for_replies(1) == ["The build is red since Monday, and nobody has looked."]
    assert telegram.drafts.visible(chat_id) == []
    (delivery,) = stack.http.get("/v1/deliveries", params={"chat_id": chat.find_id()}).json()["items"]
    custody = stack.http.get(f"/v1/deliveries/{delivery['id']}").json()["custody"]
    assert [one["outcome"] for one in custody] == ["sent"]
    assert "Took the place" in custody[0]["note"]


def test_an_answer_grows_in_a_thread_of_slacks_for_whoever_asked(
    stack: RunningStack, slack: FakeSlack, scripted: str
):
    channel = SlackChannel(stack, slack, "C0000077", agent=scripted)
    channel.mentions(script(2.0))
    until(
        lambda: [one for one in slack.streams.shown.all() if one["text"].endswith("since Monday,")],
        within_s=60,
        what="it grows",
    )
    whole = "The build is *red* since Monday, and nobody has looked."
    until(lambda: channel.texts() == [whole], within_s=60, what="the true text has taken its place")
    (stream,) = channel.wait_for_replies(1)
    assert stream["recipient_user_id"] == PERSON_ID


def test_an_answer_goes_on_growing_after_its_worker_was_killed_and_is_there_once(
    stack: RunningStack, telegram: FakeTelegram, scripted: str
):
    chat_id = next(_chats)
    chat = TelegramChat(stack, telegram, chat_id, agent=scripted)
    chat.says(script(40.0))
    until(
        lambda: "The build is red since Monday," in drafts(telegram, chat_id), within_s=150, what="it grows"
    )
    old = stack.kill("worker")
    # The next worker leaves what the dead one showed as a message, and the answer takes its place.
    until(lambda: chat.replies(), within_s=60, what="another worker has taken over")
    stack.wait_restarted("worker", old)
    whole = "The build is red since Monday, and nobody has looked."
    until(lambda: chat.visible() == [whole], within_s=120, what="the answer is there, and nothing else")
