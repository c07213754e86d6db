"""Links that are listened to: one process at a time, nothing lost or kept twice, and what is broken is seen."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections

from conftest import Tenant, recorded
from services.adapters.chat.slack.config import SlackConfig
from services.domain.chats.actions import (
    create_link,
    delete_link,
    update_link,
)
from services.domain.chats.health import note_connected, note_health
from services.domain.chats.listening import (
    Lease,
    all_tenants_free_links,
    all_tenants_renew,
    all_tenants_take_link,
    keep_heard,
    load_state,
    note_listener_stopped,
    release_link,
)
from services.domain.chats.models import InboundMessage, Link, LinkListener
from services.domain.chats.queries import get_link
from services.domain.errors import LeaseLost, PlatformAway, PlatformRefused
from services.domain.ports.chat import ChatKind, Parsed, Place, Sender
from services.domain.ports.chat import InboundMessage as Incoming
from services.domain.ports.chat_abilities import Health, Inbox
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now
from services.worker import listeners
from services.worker.listeners import Listeners

CONFIG = {"bot_token": "xoxb-1", "signing_secret": "s"}
WITHIN_S = 30.0


def message(number: int, text: str = "hello") -> Incoming:
    return Incoming(
        dedupe_key=f"m{number}",
        place=Place("C1"),
        chat_kind=ChatKind.CHANNEL,
        chat_title="general",
        sender=Sender("U2", "Bob"),
        text=text,
        is_mention=True,
        message_id=str(number),
        sent_at=now(),
    )


class ScriptedAdapter:
    """Listens as its script says: each attempt gets the next step, the last one for ever."""

    config_model = SlackConfig

    def __init__(self, *steps: Callable[[Inbox], None]) -> None:
        self._steps = list(steps)
        self.attempts: list[SlackConfig] = []

    def wants_listener(self, config: SlackConfig) -> bool:
        return config.bot_token.get_secret_value() != "xoxb-deaf"

    def listen(self, config: SlackConfig, inbox: Inbox) -> None:
        self.attempts.append(config)
        step = self._steps.pop(0) if len(self._steps) > 1 else self._steps[0]
        step(inbox)


def hear_until_stopped(inbox: Inbox) -> None:
    """Keep the next message, numbered on from the state, each time that a moment has passed."""
    while not inbox.is_stopping():
        number = inbox.load_state().get("number", 0) + 1
        inbox.keep(Parsed(messages=(message(number),)), {"number": number})
        inbox.wait(0.02)


def rest_until_stopped(inbox: Inbox) -> None:
    inbox.keep(Parsed(), {})
    while not inbox.wait(0.02):
        pass


@pytest.fixture
def link(acme: Tenant) -> Link:
    return connected(acme)


def connected(tenant: Tenant, **config: str) -> Link:
    made = create_link(tenant.owner, kind="slack", name="bot", config=CONFIG | config)
    return note_connected(tenant.owner, made.id, identity="bot")


def take(link: Link, holder: str = "one") -> Lease:
    lease = all_tenants_take_link(link, holder)
    assert lease is not None
    return lease


def expire(link: Link) -> None:
    """Let the time of a lease pass."""
    LinkListener.objects.using("operator").filter(link_id=link.id).update(
        lease_until=now() - timedelta(seconds=1)
    )


def listener(link: Link) -> LinkListener:
    return LinkListener.objects.using("operator").get(link_id=link.id)


def keys() -> list[str]:
    return list(InboundMessage.objects.using("operator").order_by("id").values_list("dedupe_key", flat=True))


def wait_until(is_so: Callable[[], bool], process: Listeners | None = None) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not is_so():
        assert time.monotonic() < deadline
        if process is not None:
            process.round()
        threading.Event().wait(0.02)


@pytest.fixture
def processes(database) -> Iterator[Callable[[ScriptedAdapter], Listeners]]:
    """Make listening processes, as far as leases tell them apart."""
    made: list[Listeners] = []

    def make(adapter: ScriptedAdapter) -> Listeners:
        made.append(Listeners({"slack": adapter}, f"process {len(made)}"))  # type: ignore[dict-item]
        return made[-1]

    yield make
    for process in made:
        process.drain(WITHIN_S)


# --- Leases ----------------------------------------------------------------------------------------------


def test_one_holder_at_a_time(link: Link) -> None:
    assert [found.id for found in all_tenants_free_links(["slack"])] == [link.id]
    lease = take(link)
    assert all_tenants_free_links(["slack"]) == []
    assert all_tenants_take_link(link, "two") is None
    assert all_tenants_renew([lease.token, uuid.uuid4()]) == {lease.token}


def test_many_at_once_take_a_link_once(link: Link) -> None:
    taken: list[Lease | None] = []

    def run(number: int) -> None:
        taken.append(all_tenants_take_link(link, str(number)))
        connections.close_all()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WITHIN_S)
    assert len(taken) == 8
    assert len([lease for lease in taken if lease is not None]) == 1


def test_links_that_were_never_connected_or_are_paused_are_left_alone(acme: Tenant, link: Link) -> None:
    create_link(acme.owner, kind="slack", name="new", config=CONFIG)
    lease = take(link)
    Link.objects.using("operator").filter(id=link.id).update(status="paused")
    assert all_tenants_renew([lease.token]) == set()
    expire(link)
    assert all_tenants_free_links(["slack"]) == []
    assert all_tenants_take_link(link, "two") is None


def test_whoever_lost_the_lease_keeps_nothing(link: Link) -> None:
    first = take(link)
    assert keep_heard(first, Parsed(messages=(message(1),)), {"number": 1}) == 1
    expire(link)
    second = take(link, "two")
    assert load_state(second) == {"number": 1}
    with recorded() as seen, pytest.raises(LeaseLost):
        keep_heard(first, Parsed(messages=(message(2),)), {"number": 2})
    with pytest.raises(LeaseLost):
        load_state(first)
    release_link(first)
    note_listener_stopped(first, error="late", needs_person=True)
    assert keys() == ["m1"]
    assert seen.jobs == []
    assert load_state(second) == {"number": 1}
    assert listener(link).holder == "two"
    assert listener(link).last_error == ""


def test_what_is_heard_twice_is_kept_once_with_its_job(link: Link) -> None:
    lease = take(link)
    with recorded() as seen:
        assert [keep_heard(lease, Parsed(messages=(message(1), message(2))), None) for _ in range(3)] == [
            2,
            0,
            0,
        ]
    assert seen.job_types == ["message.route", "message.route"]


def test_message_and_state_are_stored_together_or_not_at_all(link: Link) -> None:
    lease = take(link)
    with pytest.raises(TypeError):
        keep_heard(lease, Parsed(messages=(message(1),)), {"number": object()})
    assert keys() == []
    assert load_state(lease) == {}


def test_what_cannot_be_stored_is_counted_and_does_not_hold_up_the_rest(link: Link) -> None:
    lease = take(link)
    endless = message(1)
    object.__setattr__(endless, "message_id", "9" * 500)
    assert keep_heard(lease, Parsed(messages=(endless,)), {"number": 1}) == 0
    assert keep_heard(lease, Parsed(ignored="unknown_type"), None) == 0
    assert load_state(lease) == {"number": 1}
    assert Link.objects.using("operator").get(id=link.id).unknown_updates == 2


def test_another_configuration_ends_the_lease_and_another_account_forgets_the_state(
    acme: Tenant, link: Link
) -> None:
    lease = take(link)
    keep_heard(lease, Parsed(), {"number": 7})
    update_link(acme.owner, link.id, config=CONFIG | {"bot_id": "U1", "bot_name": "bot"})
    note_connected(acme.owner, link.id, identity="bot")
    assert all_tenants_renew([lease.token]) == set()
    second = take(link, "two")
    assert load_state(second) == {"number": 7}
    update_link(acme.owner, link.id, config=CONFIG | {"bot_token": "xoxb-other"})
    note_connected(acme.owner, link.id, identity="other")
    with pytest.raises(LeaseLost):
        keep_heard(second, Parsed(), {"number": 8})
    assert load_state(take(link, "three")) == {}


def test_what_needs_a_person_breaks_the_link_until_it_is_heard_again_and_people_are_told(
    acme: Tenant, link: Link
) -> None:
    lease = take(link)
    note_listener_stopped(lease, error="away", needs_person=False)
    assert (listener(link).status, listener(link).last_error) == ("retrying", "away")
    with tenant_transaction(acme.organisation.id):
        assert get_link(acme.owner, link.id).status == "connected"
    with recorded() as broken:
        note_listener_stopped(lease, error="The token is revoked.", needs_person=True)
    with tenant_transaction(acme.organisation.id):
        found = get_link(acme.owner, link.id)
    assert (found.status, found.last_error) == ("failed", "The token is revoked.")
    with recorded() as mended:
        keep_heard(lease, Parsed(), None)
    with tenant_transaction(acme.organisation.id):
        found = get_link(acme.owner, link.id)
    assert (found.status, found.last_error, found.listener.status) == ("connected", "", "listening")
    for seen in (broken, mended):
        assert (seen.change_types, seen.event_types) == (["link.changed"], ["notification.created"])


def test_a_check_that_finds_nothing_does_not_mend_what_nobody_can_hear(acme: Tenant, link: Link) -> None:
    lease = take(link)
    note_listener_stopped(lease, error="Socket Mode is switched off.", needs_person=True)
    assert note_health(acme.organisation.id, link.id, Health()).status == "failed"


def test_a_link_that_failed_for_another_reason_stays_failed(acme: Tenant, link: Link) -> None:
    lease = take(link)
    note_health(acme.organisation.id, link.id, Health("The webhook is gone."))
    keep_heard(lease, Parsed(), None)
    with tenant_transaction(acme.organisation.id):
        assert get_link(acme.owner, link.id).status == "failed"


def test_another_tenant_sees_no_listener(link: Link, globex: Tenant) -> None:
    take(link)
    with tenant_transaction(globex.organisation.id):
        assert LinkListener.objects.count() == 0


# --- The process -----------------------------------------------------------------------------------------


def test_two_processes_hear_each_message_once_and_the_second_goes_on_where_the_first_stopped(
    link: Link, processes: Callable[[ScriptedAdapter], Listeners]
) -> None:
    one, two = ScriptedAdapter(hear_until_stopped), ScriptedAdapter(hear_until_stopped)
    first, second = processes(one), processes(two)
    first.round()
    second.round()
    wait_until(lambda: len(keys()) >= 5)
    assert two.attempts == []
    first.drain(WITHIN_S)
    count = len(keys())
    second.round()
    wait_until(lambda: len(keys()) >= count + 5)
    second.drain(WITHIN_S)
    assert len(one.attempts) == len(two.attempts) == 1
    assert keys() == [f"m{number}" for number in range(1, len(keys()) + 1)]


def test_a_process_whose_lease_was_taken_stops(
    link: Link, processes: Callable[[ScriptedAdapter], Listeners]
) -> None:
    one, two = ScriptedAdapter(hear_until_stopped), ScriptedAdapter(rest_until_stopped)
    first, second = processes(one), processes(two)
    first.round()
    wait_until(lambda: len(keys()) >= 1)
    expire(link)
    second.round()
    wait_until(lambda: len(two.attempts) == 1)
    count = len(keys())
    first.round()
    assert len(keys()) == count
    assert listener(link).holder == "process 1"


@pytest.mark.parametrize("how", ["changed", "deleted", "paused"])
def test_a_link_that_changes_is_let_go_and_heard_anew_only_if_it_is_still_there(
    acme: Tenant, link: Link, processes: Callable[[ScriptedAdapter], Listeners], how: str
) -> None:
    adapter = ScriptedAdapter(rest_until_stopped)
    process = processes(adapter)
    process.round()
    wait_until(lambda: len(adapter.attempts) == 1)
    if how == "changed":
        update_link(acme.owner, link.id, config=CONFIG | {"bot_token": "xoxb-2"})
        note_connected(acme.owner, link.id, identity="bot")
        wait_until(lambda: len(adapter.attempts) == 2, process)
        assert adapter.attempts[1].bot_token.get_secret_value() == "xoxb-2"
        return
    if how == "deleted":
        delete_link(acme.owner, link.id)
    else:
        Link.objects.using("operator").filter(id=link.id).update(status="paused")
    wait_until(lambda: not process.holds(link.id), process)
    assert len(adapter.attempts) == 1


def test_links_that_want_no_listener_have_none(
    acme: Tenant, processes: Callable[[ScriptedAdapter], Listeners]
) -> None:
    deaf = connected(acme, bot_token="xoxb-deaf")
    hearing = connected(acme)
    process = processes(ScriptedAdapter(rest_until_stopped))
    for _ in range(3):
        process.round()
    assert process.holds(hearing.id)
    assert not process.holds(deaf.id)
    assert not LinkListener.objects.using("operator").filter(link_id=deaf.id).exists()


def _raising(error: Exception) -> Callable[[Inbox], None]:
    def fail(inbox: Inbox) -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (PlatformAway("The platform is away.", retry_after_s=0.0), "retrying", "The platform is away."),
        (PlatformRefused("The token is revoked."), "failed", "The token is revoked."),
        (RuntimeError("secret words"), "retrying", "Listening failed; it is tried again."),
    ],
)
def test_what_ends_is_tried_again_and_says_why_meanwhile(
    link: Link,
    processes: Callable[[ScriptedAdapter], Listeners],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    status: str,
    said: str,
) -> None:
    seen: list[Mapping[str, Any]] = []

    def look(inbox: Inbox) -> None:
        row = listener(link)
        seen.append({"status": row.status, "said": row.last_error})
        rest_until_stopped(inbox)

    monkeypatch.setattr(listeners, "REFUSED_PAUSE_S", 0.05)
    monkeypatch.setattr(listeners, "LONGEST_PAUSE_S", 0.05)
    process = processes(ScriptedAdapter(_raising(error), look))
    process.round()
    wait_until(lambda: listener(link).status == "listening")
    assert seen == [{"status": status, "said": said}]
    assert listener(link).last_error == ""


def test_what_only_returns_is_not_called_in_a_tight_loop(
    link: Link, processes: Callable[[ScriptedAdapter], Listeners]
) -> None:
    adapter = ScriptedAdapter(lambda inbox: None)
    process = processes(adapter)
    process.round()
    wait_until(lambda: len(adapter.attempts) == 1)
    threading.Event().wait(0.3)
    assert len(adapter.attempts) == 1
