"""Slots, sandboxes and their states."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from django.db import connections
from django.db.models import F

from services.domain.errors import NoRoom
from services.domain.plane.actions import (
    Taken,
    Wanted,
    change_state,
    hold_sandboxes,
    note_linked,
    note_wanted,
    profile_of,
    release_sandbox,
    take_sandbox,
)
from services.domain.plane.demand import HALF_LIFE, PoolBounds, plan_pool
from services.domain.plane.hosts import register_host
from services.domain.plane.models import Sandbox, SandboxState, Volume, WarmDemand
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.workspaces.models import Workspace
from services.worker.jobs.dispatching import wanted_of
from tests.domain.cast import start, submit, wanted


def test_a_full_host_takes_no_more(acme):
    register_host("testhost", driver="null", slots=2)
    for _ in range(2):
        assert take_sandbox("testhost", wanted(submit(acme))) is not None
    with pytest.raises(NoRoom):
        take_sandbox("testhost", wanted(submit(acme)))


def test_takers_at_once_never_exceed_the_slots(acme):
    register_host("testhost", driver="null", slots=3)
    wishes = [wanted(submit(acme)) for _ in range(10)]
    taken = []

    def run(wish) -> None:
        try:
            taken.append(take_sandbox("testhost", wish))
        except NoRoom:
            pass
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(wish,)) for wish in wishes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 3
    assert Sandbox.objects.count() == 3


def test_an_idle_sandbox_of_the_workspace_is_used_again(acme):
    task = submit(acme)
    sandbox = start(task).sandbox
    change_state(sandbox.id, SandboxState.IDLE)
    again = take_sandbox("testhost", wanted(submit(acme, workspace_id=task.workspace_id)))
    assert again is not None
    assert again.is_live
    assert again.sandbox.id == sandbox.id


def test_a_workspace_whose_image_changed_gets_a_new_sandbox_in_place_of_its_idle_one(acme):
    task = submit(acme)
    sandbox = start(task, slots=1).sandbox
    change_state(sandbox.id, SandboxState.IDLE)
    following = submit(acme, workspace_id=task.workspace_id)
    taken = take_sandbox("testhost", replace(wanted(following), image="image:2"))
    assert taken is not None
    assert taken.evicted is not None
    assert taken.evicted.id == sandbox.id
    assert (taken.is_live, taken.sandbox.image) == (False, "image:2")


def test_the_longest_idle_sandbox_makes_room(acme):
    register_host("testhost", driver="null", slots=2)
    idle = []
    for _ in range(2):
        taken = take_sandbox("testhost", wanted(submit(acme)))
        assert taken is not None
        change_state(taken.sandbox.id, SandboxState.IDLE)
        idle.append(taken.sandbox.id)
    taken = take_sandbox("testhost", wanted(submit(acme)))
    assert taken is not None
    assert taken.evicted is not None
    assert taken.evicted.id == idle[0]
    assert Sandbox.objects.get(id=idle[0]).state == SandboxState.STOPPED
    assert Volume.objects.filter(name=taken.evicted.volume).exists()


def at_rest(tenant, state: SandboxState) -> Sandbox:
    """Give a sandbox of a workspace of its own that is idle, or paused."""
    taken = take_sandbox("testhost", wanted(submit(tenant)))
    assert taken is not None
    changed = change_state(taken.sandbox.id, SandboxState.IDLE)
    if state == SandboxState.PAUSED:
        changed = change_state(taken.sandbox.id, SandboxState.PAUSED)
    assert changed is not None
    return changed


def warm(tenant, count: int = 1) -> list[Sandbox]:
    """Give warm sandboxes of the kind that every task here wants."""
    build = wanted(submit(tenant)).build
    plan = plan_pool("testhost", PoolBounds(count, count), usual=(profile_of(build), build))
    for sandbox in plan.to_start:
        note_linked(sandbox.id)
    return plan.to_start


def test_a_warm_one_makes_room_first_then_the_paused_then_the_idle(acme):
    register_host("testhost", driver="null", slots=4)
    idle = at_rest(acme, SandboxState.IDLE)
    held = at_rest(acme, SandboxState.PAUSED)
    paused = at_rest(acme, SandboxState.PAUSED)
    (waiting,) = warm(acme)
    hold_sandboxes([held.id])
    evicted = []
    for _ in range(3):
        taken = take_sandbox("testhost", replace(wanted(submit(acme)), image="image:2"))
        assert taken is not None
        assert taken.evicted is not None
        evicted.append(taken.evicted.id)
    assert evicted == [waiting.id, paused.id, idle.id]
    assert Sandbox.objects.get(id=waiting.id).state == SandboxState.DESTROYED
    with pytest.raises(NoRoom):
        take_sandbox("testhost", wanted(submit(acme)))


def test_takers_at_once_never_claim_the_same_warm_sandbox(acme):
    register_host("testhost", driver="null", slots=20)
    waiting = warm(acme, 3)
    wishes = [wanted(submit(acme)) for _ in range(6)]
    taken = []

    def run(wish) -> None:
        try:
            taken.append(take_sandbox("testhost", wish))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(wish,)) for wish in wishes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(each.path for each in taken) == ["claimed"] * 3 + ["created"] * 3
    assert {each.sandbox.id for each in taken if each.path == "claimed"} == {each.id for each in waiting}
    assert len({each.sandbox.workspace_id for each in taken}) == 6


def test_a_claim_that_came_to_nothing_stays_its_workspaces(acme):
    register_host("testhost", driver="null", slots=4)
    (waiting,) = warm(acme)
    task = submit(acme)
    taken = take_sandbox("testhost", wanted(task))
    assert taken is not None
    release_sandbox(taken)
    sandbox = Sandbox.objects.get(id=waiting.id)
    assert (sandbox.state, sandbox.workspace_id) == (SandboxState.IDLE, task.workspace_id)
    again = take_sandbox("testhost", wanted(task))
    assert again is not None
    assert (again.path, again.sandbox.id) == ("live", waiting.id)


def test_a_paused_sandbox_that_was_not_needed_is_paused_again(acme):
    register_host("testhost", driver="null", slots=4)
    paused = at_rest(acme, SandboxState.PAUSED)
    task = submit(acme)
    wish = replace(wanted(task), workspace_id=paused.workspace_id)
    taken = take_sandbox("testhost", wish)
    assert taken is not None
    assert taken.path == "unpaused"
    release_sandbox(taken)
    assert Sandbox.objects.get(id=paused.id).state == SandboxState.PAUSED


def test_limits_that_changed_get_a_new_sandbox_with_the_same_files(acme):
    register_host("testhost", driver="null", slots=4)
    idle = at_rest(acme, SandboxState.IDLE)
    wish = replace(wanted(submit(acme)), workspace_id=idle.workspace_id, memory_bytes=2 * 1024**3)
    taken = take_sandbox("testhost", wish)
    assert taken is not None
    assert taken.evicted is not None
    assert (taken.path, taken.evicted.id, taken.sandbox.volume) == ("started", idle.id, idle.volume)


def test_demand_counts_what_a_warm_one_could_have_served_and_decays(acme):
    register_host("testhost", driver="null", slots=4)
    idle = at_rest(acme, SandboxState.IDLE)
    own = replace(wanted(submit(acme)), workspace_id=idle.workspace_id)
    assert take_and_note(own).path == "live"
    assert not WarmDemand.objects.exists()
    other = wanted(submit(acme))
    assert take_and_note(other).path == "created"
    demand = WarmDemand.objects.get()
    assert (demand.profile, demand.wanted, demand.rate) == (other.profile, other.build, 1.0)
    WarmDemand.objects.update(last_wanted_at=F("last_wanted_at") - HALF_LIFE)
    take_and_note(wanted(submit(acme)))
    assert WarmDemand.objects.get().rate == pytest.approx(1.5, abs=0.05)


def take_and_note(wish: Wanted) -> Taken:
    taken = take_sandbox("testhost", wish)
    assert taken is not None
    note_wanted(taken, wish)
    return taken


def test_a_busy_workspace_gets_no_second_sandbox(acme):
    task = submit(acme)
    start(task)
    assert take_sandbox("testhost", wanted(task)) is None


def test_a_state_changes_only_from_what_was_expected_and_for_the_task_that_was_meant(acme):
    task = submit(acme)
    sandbox = start(task).sandbox
    assert change_state(sandbox.id, SandboxState.IDLE, expected=[SandboxState.BUSY]) is None
    other = submit(acme)
    assert change_state(sandbox.id, SandboxState.IDLE, task_id=other.id) is None
    assert change_state(sandbox.id, SandboxState.BUSY, task_id=task.id) is not None


def test_what_is_destroyed_stays_destroyed(acme):
    sandbox = start(submit(acme)).sandbox
    assert change_state(sandbox.id, SandboxState.DESTROYED) is not None
    assert change_state(sandbox.id, SandboxState.IDLE) is None


def test_a_take_that_came_to_nothing_is_undone(acme):
    register_host("testhost", driver="null", slots=1)
    taken = take_sandbox("testhost", wanted(submit(acme)))
    assert taken is not None
    release_sandbox(taken)
    assert take_sandbox("testhost", wanted(submit(acme))) is not None


def test_delays_are_the_agents_within_the_bounds_of_its_organisation(acme):
    workspace = Workspace(org_id=acme.organisation.id, agent=acme.agent)
    acme.agent.idle_stop_s, acme.agent.archive_after_s = 5_000, None
    wish = wanted_of(workspace, 1_000, 2_000, task_id=None)
    assert (wish.idle_stop_s, wish.archive_after_s) == (1_000, 2_000)
    acme.agent.idle_stop_s, acme.agent.archive_after_s = 500, 600
    wish = wanted_of(workspace, 1_000, 2_000, task_id=None)
    assert (wish.idle_stop_s, wish.archive_after_s) == (500, 600)


def test_readers_of_the_workspace_see_the_state(acme):
    task = submit(acme)
    sandbox = start(task).sandbox
    change_state(sandbox.id, SandboxState.BUSY)
    with tenant_transaction(task.org_id):
        assert Workspace.objects.get(id=task.workspace_id).sandbox_state == "busy"
