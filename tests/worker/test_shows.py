"""Answers that are shown while they are written: they grow, and in the end the true text is there exactly once."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from conftest import Tenant
from services.domain.chats.actions import create_link
from services.domain.chats.models import Chat, DeliveryAttempt, InboundEvent, InboundMessage, ShownAnswer
from services.domain.chats.shows import claim_show, release_show
from services.domain.chats.wirings import WiringFields, create_wiring
from services.domain.outbox.models import OutboxJob
from services.domain.plane.models import Sandbox, SandboxState
from services.domain.tasks.models import Task
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now
from services.kit.redisbus import client, publish_envelopes
from services.worker import showing
from services.worker.shows import Shows
from tests.domain.cast import Runner, start, submit
from tests.fakes.chat_places import (
    ChatPlace,
    SlackPlace,
    TeamsPlace,
    TelegramPlace,
    chat_place,
    deliver_to,
    drain,
    teams_place,
)
from tests.fakes.serving import Fault

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")

FIRST = "The build is **red** since"
WHOLE = "The build is **red** since Monday."


@pytest.fixture(autouse=True)
def quick(monkeypatch) -> None:
    """Show at once, and look often."""
    monkeypatch.setattr(showing, "FIRST_SHOW_S", 0.05)


@pytest.fixture
def telegram(acme, monkeypatch) -> Iterator[TelegramPlace]:
    """Give a direct chat, where Telegram shows drafts."""
    with chat_place("telegram", acme, monkeypatch) as found:
        assert isinstance(found, TelegramPlace)
        yield found


@pytest.fixture
def slack(acme, monkeypatch) -> Iterator[SlackPlace]:
    """Give a thread, where Slack shows streams, with the question in it."""
    with chat_place("slack", acme, monkeypatch) as found:
        assert isinstance(found, SlackPlace)
        yield found


class Talk:
    """A task at work for a chat, whose agent says what it is told to."""

    def __init__(self, acme: Tenant, place: ChatPlace | TeamsPlace, reply_to: str = "", **order: Any) -> None:
        self.place = place
        self.task: Task = submit(acme, deliver_to=deliver_to(place, reply_to), **order)
        self.runner = Runner(self.task, start(self.task).sandbox.id)
        self.runner.says("turn.started")

    def says(self, text: str) -> None:
        """Say some more, live."""
        publish_envelopes(
            [
                {
                    "stream": f"workspace:{self.task.workspace_id}",
                    "type": "text.delta",
                    "task_id": str(self.task.id),
                    "after": 1,
                    "part": 1,
                    "data": {"text": text},
                }
            ]
        )

    def finishes(self, text: str) -> None:
        """End the turn with its answer, and let the jobs of the answer run."""
        self.runner.store(
            self.runner.entry("message.created", role="assistant", text=text),
            self.runner.entry("turn.done", status="succeeded", text=text),
        )


@contextlib.contextmanager
def shows() -> Iterator[None]:
    """Run the loop of one worker."""
    stop = threading.Event()
    thread = threading.Thread(target=Shows().run, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(10)
        assert not thread.is_alive()


def until(what: Callable[[], Any], within_s: float = 30.0) -> Any:
    deadline = time.monotonic() + within_s
    while not (found := what()):
        assert time.monotonic() < deadline, "in time"
        threading.Event().wait(0.02)
    return found


def is_delivered() -> bool:
    drain("answer.deliver", "delivery.send")
    is_closed = ShownAnswer.objects.using("operator").filter(closed_at__isnull=False).exists()
    return is_closed and DeliveryAttempt.objects.using("operator").filter(outcome="sent").exists()


def lapse(**of: Any) -> None:
    """Let the leases of a worker that died run out: all of them, or those of one task."""
    ShownAnswer.objects.using("operator").filter(**of).update(lease_until=now() - timedelta(seconds=1))
    OutboxJob.objects.using("operator").update(not_before=now() - timedelta(seconds=1))


def drafts(place: TelegramPlace) -> list[str]:
    return [entry["text"] for entry in place.server.drafts.shown.all()]


def test_a_draft_grows_in_a_private_chat_and_the_answer_takes_its_place(acme, telegram):
    talk = Talk(acme, telegram)
    with shows():
        until(lambda: [call for call in telegram.server.calls.all() if call["method"] == "sendchataction"])
        talk.says("The build is **red")
        until(lambda: "The build is " in [text + " " for text in drafts(telegram)])
        talk.says("** since")
        until(lambda: "The build is red since" in drafts(telegram))
        assert telegram.texts() == []
        assert telegram.server.drafts.visible(501) == ["The build is red since"]
        talk.finishes(WHOLE)
        until(is_delivered)
    assert telegram.texts() == ["The build is red since Monday."]
    assert telegram.server.drafts.visible(501) == []
    assert {entry["params"]["can_stop"] for entry in telegram.server.drafts.shown.all()} == {"true"}
    assert len({entry["draft_id"] for entry in telegram.server.drafts.shown.all()}) == 1


def test_a_stream_grows_in_a_thread_for_whoever_asked_and_the_answer_takes_its_place(acme, slack):
    question = slack.server.message(slack.chat_id, "why?", thread_ts=slack.thread_id)["event"]["ts"]
    talk = Talk(acme, slack, reply_to=question)
    with shows():
        talk.says("The build is **red")
        until(lambda: slack.texts() == ["The build is "])
        talk.says("** since")
        until(lambda: slack.texts() == [FIRST])
        talk.finishes(WHOLE)
        until(is_delivered)
    assert slack.texts() == ["The build is *red* since Monday."]
    (stream,) = slack.server.sent.all()
    assert stream["params"]["recipient_user_id"] == "U0002BOB"
    assert not slack.server.streams.is_open(slack.chat_id, stream["message"]["ts"])
    assert [call["status"] for call in slack.server.streams.statuses.all()] == ["processing", "active"]


def test_where_streams_are_refused_a_message_is_posted_and_edited(acme, slack):
    # Nobody is known who asked, so there is no one to stream for.
    talk = Talk(acme, slack)
    with shows():
        talk.says("The build is **red")
        until(lambda: slack.texts() == ["The build is *red*"], within_s=30)
        talk.says("** since")
        until(lambda: slack.texts() == ["The build is *red* since"], within_s=30)
        talk.finishes(WHOLE)
        until(is_delivered)
    assert slack.texts() == ["The build is *red* since Monday."]


def test_a_group_of_telegrams_is_shown_answers_only_when_its_wiring_says_so(acme, telegram):
    with tenant_transaction(acme.organisation.id):
        Chat.objects.filter(id=telegram.chat.id).update(kind="group", platform_chat_id="-100500")
    fields = WiringFields(chat_id=telegram.chat.id, agent_id=acme.agent.id, live_answers="on")

    def answer(shown: list[str]) -> list[str]:
        telegram.server.sent.clear()
        telegram.server.calls.clear()
        talk = Talk(acme, telegram)
        with shows():
            until(lambda: ShownAnswer.objects.using("operator").filter(lease_until__gt=now()).exists())
            talk.says(FIRST)
            until(lambda: telegram.texts() == shown)
            talk.finishes(WHOLE)
            until(lambda: is_delivered() and telegram.texts() == ["The build is red since Monday."])
        return [call["method"] for call in telegram.server.calls.all()]

    assert "editmessagetext" not in answer([])
    create_wiring(acme.owner, fields)
    assert "editmessagetext" in answer(["The build is red since"])


def test_an_answer_that_is_switched_off_shows_only_that_the_agent_is_at_work(acme, telegram):
    create_wiring(
        acme.owner, WiringFields(chat_id=telegram.chat.id, agent_id=acme.agent.id, live_answers="off")
    )
    talk = Talk(acme, telegram)
    with shows():
        talk.says(FIRST)
        until(lambda: [call for call in telegram.server.calls.all() if call["method"] == "sendchataction"])
        talk.finishes(WHOLE)
        until(is_delivered)
    assert (drafts(telegram), telegram.texts()) == ([], ["The build is red since Monday."])


@pytest.mark.parametrize("kind", ["telegram", "slack", "slack-edits"])
def test_an_answer_is_there_once_when_its_worker_dies_and_another_goes_on(acme, monkeypatch, kind):
    with chat_place(kind.partition("-")[0], acme, monkeypatch) as place:
        question = "1"
        if kind == "slack":
            question = place.server.message(place.chat_id, "why?", thread_ts=place.thread_id)["event"]["ts"]
        talk = Talk(acme, place, reply_to=question if kind != "slack-edits" else "")
        seen = (lambda: drafts(place)) if isinstance(place, TelegramPlace) else place.texts
        with shows():
            talk.says(FIRST)
            until(seen, within_s=30)
        count = len(place.server.calls.all())
        lapse()
        with shows():
            talk.says(" Monday, I think")
            until(lambda: any("Monday" in text for text in (*seen(), *place.texts())), within_s=30)
        lapse()
        assert len(place.server.calls.all()) > count
        talk.finishes(WHOLE)
        until(is_delivered)
        drain("answer.deliver", "delivery.send")
        visible = [
            message["text"].replace("*", "")
            for message in place.server._messages.values()
            if (message.get("user", "U0001SLIP") == "U0001SLIP" and "from" not in message)
            or message.get("from", {}).get("is_bot")
        ]
        assert visible == ["The build is red since Monday."]


def test_an_answer_is_delivered_although_whoever_showed_it_never_comes_back(acme, slack):
    talk = Talk(acme, slack)
    with shows():
        talk.says(FIRST)
        until(slack.texts, within_s=30)
    ShownAnswer.objects.using("operator").update(lease_until=now() + timedelta(seconds=60))
    talk.finishes(WHOLE)
    drain("answer.deliver", "delivery.send")
    assert slack.texts() == ["The build is *red* since"]
    lapse()
    until(is_delivered)
    assert slack.texts() == ["The build is *red* since Monday."]


def test_an_answer_does_not_show_before_an_earlier_one_is_out(acme, telegram, monkeypatch):
    first = Talk(acme, telegram)
    # Whoever showed the first has died, and nobody may deliver it yet.
    ShownAnswer.objects.using("operator").create(
        org_id=acme.organisation.id, task=first.task, lease_until=now() + timedelta(seconds=60)
    )
    first.finishes("The first.")
    Sandbox.objects.update(state=SandboxState.DESTROYED, task_id=None)
    second = Talk(acme, telegram, workspace_id=first.task.workspace_id)
    refused: list[object] = []
    is_first = showing.is_first_in_line
    monkeypatch.setattr(showing, "is_first_in_line", lambda show: is_first(show) or refused.append(show))
    with shows():
        second.says(FIRST)
        until(lambda: len(refused) > 2)
        assert (drafts(telegram), telegram.texts()) == ([], [])
        # Only the lease of the dead: the second answer's is held by the loop that runs.
        lapse(task=first.task)
        drain("answer.deliver", "delivery.send")
        assert telegram.texts() == ["The first."]
        until(lambda: drafts(telegram))
        second.finishes(WHOLE)
        until(lambda: is_delivered() and len(telegram.texts()) > 1)
    assert telegram.texts() == ["The first.", "The build is red since Monday."]


def test_what_whoever_showed_an_answer_queues_is_of_the_tasks_trace(acme, telegram):
    talk = Talk(acme, telegram)
    parent = f"00-{'a' * 32}-{'b' * 16}-01"
    with tenant_transaction(acme.organisation.id):
        Task.objects.filter(id=talk.task.id).update(traceparent=parent)
    show = claim_show(acme.organisation.id, talk.task.id)
    assert show is not None
    talk.finishes(WHOLE)
    OutboxJob.objects.using("operator").filter(type="answer.deliver").delete()
    release_show(show)
    assert OutboxJob.objects.using("operator").get(type="answer.deliver").traceparent == parent


def test_a_worker_that_is_told_to_stop_leaves_the_answer_to_the_next_at_once(acme, slack):
    talk = Talk(acme, slack)
    with shows():
        talk.says(FIRST)
        until(slack.texts, within_s=30)
        assert ShownAnswer.objects.using("operator").get().lease_token is not None
    row = ShownAnswer.objects.using("operator").get()
    assert (row.lease_token, row.lease_until) == (None, None)


def test_a_post_whose_answer_was_lost_is_found_and_edited(acme, slack):
    slack.server.faults.plan(Fault("drop", method="chat.postMessage"))
    talk = Talk(acme, slack)
    with shows():
        talk.says(FIRST)
        until(slack.texts, within_s=30)
        talk.says(" Monday")
        until(lambda: slack.texts() == ["The build is *red* since Monday"], within_s=15)
        talk.finishes(WHOLE)
        until(is_delivered)
    assert slack.texts() == ["The build is *red* since Monday."]


def test_a_long_answer_rolls_over_into_another_message_and_is_whole_in_the_end(acme, telegram):
    talk = Talk(acme, telegram)
    paragraphs = [f"Paragraph {number}. " + "word " * 100 for number in range(16)]
    with shows():
        for start_at in (0, 4, 8, 12):
            talk.says("\n\n".join(paragraphs[start_at : start_at + 4]) + "\n\n")
            until(lambda at=start_at: any(f"Paragraph {at + 3}" in text for text in drafts(telegram)), 10)
        assert len(telegram.texts()) >= 1
        talk.finishes("\n\n".join(paragraphs))
        until(is_delivered, within_s=30)
        until(lambda: (is_delivered(), len(telegram.texts()) >= 2)[1], within_s=30)
        until(lambda: (lapse(), is_delivered(), "Paragraph 15" in telegram.texts()[-1])[2], within_s=30)
    text = "\n\n".join(telegram.texts())
    assert [text.count(f"Paragraph {number}.") for number in range(16)] == [1] * 16


def test_what_is_for_others_is_not_shown_to_whoever_asked(acme, telegram):
    talk = Talk(acme, telegram)
    with shows():
        talk.says('Told them. <message to="ops">the secr')
        until(lambda: drafts(telegram))
        talk.says("et</message> And more.")
        until(lambda: "Told them.  And more." in drafts(telegram))
    assert not any("secret" in text or "message" in text for text in drafts(telegram))


def test_the_stop_button_of_teams_ends_the_turn_although_only_the_next_piece_is_refused(acme, monkeypatch):
    with teams_place(acme, monkeypatch) as teams, shows():
        talk = Talk(acme, teams)
        with tenant_transaction(acme.organisation.id):
            # As somebody's who is no member of ours.
            Task.objects.filter(id=talk.task.id).update(user=None)
            InboundMessage.objects.create(
                org_id=acme.organisation.id,
                link=teams.link,
                chat=teams.chat,
                dedupe_key="1",
                sender_id="29:bob",
                text="why?",
                sent_at=now(),
            )
        streams = teams.server.streams.all
        talk.says(FIRST)
        (stream,) = until(lambda: [one for one in streams.values() if one.shown == FIRST], within_s=30)
        teams.server.streams.stop(stream.stream_id)
        talk.says(" Monday, I think")
        events = InboundEvent.objects.using("operator").values_list("kind", "sender_id", "outcome")
        until(lambda: (drain("inbound.handle"), events.exists())[1], within_s=30)
        assert list(events) == [("stopped", "29:bob", "stopped")]
        assert Task.objects.using("operator").get().cancel_requested_at is not None
        talk.runner.store(talk.runner.entry("turn.done", status="cancelled", text=""))
        until(is_delivered, within_s=30)
    assert (teams.texts(), streams) == (["Cancelled."], {})


def test_redis_that_has_lost_everything_costs_what_was_not_shown(acme, telegram):
    talk = Talk(acme, telegram)
    with shows():
        talk.says(FIRST)
        until(lambda: drafts(telegram))
        client().flushdb()
        talk.finishes(WHOLE)
        until(is_delivered, within_s=30)
    assert telegram.texts() == ["The build is red since Monday."]


def test_a_link_that_cannot_be_used_keeps_no_other_chat_waiting(acme, telegram):
    link = create_link(acme.owner, kind="made-up", name="Broken", config={})
    with tenant_transaction(acme.organisation.id):
        chat = Chat.objects.create(
            org_id=acme.organisation.id, link=link, platform_chat_id="1", kind="direct", title="Broken"
        )
    start(submit(acme, deliver_to={"chat_id": str(chat.id)}))
    talk = Talk(acme, telegram)
    with shows():
        talk.says(FIRST)
        until(lambda: drafts(telegram))
        talk.finishes(WHOLE)
        until(is_delivered)
    assert telegram.texts() == ["The build is red since Monday."]
