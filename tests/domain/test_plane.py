"""Slots, sandboxes and their states."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from django.db import connections

from services.domain.errors import NoRoom
from services.domain.plane.actions import change_state, register_host, release_sandbox, take_sandbox
from services.domain.plane.models import Sandbox, SandboxState
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.workspaces.models import Workspace
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
    release_sandbox(taken.sandbox, was_live=False)
    assert take_sandbox("testhost", wanted(submit(acme))) is not None


def test_readers_of_the_workspace_see_the_state(acme):
    task = submit(acme)
    sandbox = start(task).sandbox
    change_state(sandbox.id, SandboxState.BUSY)
    with tenant_transaction(task.org_id):
        assert Workspace.objects.get(id=task.workspace_id).sandbox_state == "busy"
