"""The listening process itself, killed: another one takes over within seconds, and nothing is lost or kept twice."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from conftest import Tenant
from services.adapters.chat.discord.tests.payloads import TOKEN
from services.domain.chats.actions import create_link
from services.domain.chats.health import note_connected
from services.domain.chats.models import InboundMessage, Link, LinkListener
from tests.fakes.discord_server import BOT_ID, DIRECT_ID, FakeDiscord

# A lease lasts six seconds, and a process looks for free ones every one and a half.
TAKEN_OVER_WITHIN_S = 12.0
# Two processes start at once, on whatever else the machine is doing.
STARTED_WITHIN_S = 60.0


@pytest.fixture
def server() -> Iterator[FakeDiscord]:
    with FakeDiscord(tokens=[TOKEN]) as running:
        yield running


@pytest.fixture
def link(acme: Tenant) -> Link:
    made = create_link(
        acme.owner,
        kind="discord",
        name="bot",
        config={"bot_token": TOKEN, "bot_id": BOT_ID, "bot_name": "slipway"},
    )
    return note_connected(acme.owner, made.id, identity="slipway")


@pytest.fixture
def start(server: FakeDiscord) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Start listening processes, and end them."""
    running: list[subprocess.Popen[bytes]] = []
    changed = {"DISCORD_API_BASE": server.api_base, "DJANGO_SETTINGS_MODULE": "services.worker.settings"}

    def begin() -> subprocess.Popen[bytes]:
        running.append(
            subprocess.Popen([sys.executable, "-m", "services.worker.listen"], env=os.environ | changed)
        )
        return running[-1]

    yield begin
    for process in running:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.wait(5)


def wait_until(is_so: Callable[[], bool], within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < deadline
        threading.Event().wait(0.05)


def texts() -> list[str]:
    rows = InboundMessage.objects.using("operator").order_by("id")
    return list(rows.values_list("text", flat=True))


def holder_of(link: Link) -> int:
    """Return the id of the process that listens to a link."""
    holder = LinkListener.objects.using("operator").get(link_id=link.id).holder
    return int(holder.rpartition(":")[2] or 0)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_another_process_goes_on_where_the_first_was_ended(
    link: Link, server: FakeDiscord, start: Callable[[], subprocess.Popen[bytes]], how: signal.Signals
) -> None:
    processes = [start(), start()]
    server.gateway.begun.wait_for(1, timeout_s=STARTED_WITHIN_S)
    said = [f"message {number}" for number in range(30)]
    for text in said[:10]:
        server.people.write(DIRECT_ID, text)
    wait_until(lambda: len(texts()) == 10, TAKEN_OVER_WITHIN_S)
    first = holder_of(link)
    (holder,) = [process for process in processes if process.pid == first]
    (other,) = [process for process in processes if process.pid != first]
    for text in said[10:20]:
        server.people.write(DIRECT_ID, text)
    holder.send_signal(how)
    for text in said[20:]:
        server.people.write(DIRECT_ID, text)
    holder.wait(TAKEN_OVER_WITHIN_S)
    wait_until(lambda: len(texts()) == 30, TAKEN_OVER_WITHIN_S)
    assert texts() == said
    assert holder_of(link) == other.pid
    assert server.gateway.count() == 1
    assert [entry["how"] for entry in server.gateway.begun.all()] == ["identify", "resume"]
