"""Notes that change under a reader, notes that are forgotten many at once, and what all of them may weigh."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from services.domain.memory.actions import MAX_TOTAL_BYTES
from services.domain.memory.models import Memory
from services.domain.tenancy.transaction import tenant_transaction
from services.kit.clock import now, rfc3339
from tests.gateway.serving import Caller, at_work


@pytest.fixture
def memory(gateway, working) -> Caller:
    """Call the memory tools for alice."""
    return Caller(gateway, working, "memory")


def names(found: dict) -> list[str]:
    return [note["name"] for note in found["notes"]]


def test_a_note_that_changed_since_it_was_read_is_not_replaced(memory):
    assert memory("memory_write", name="plan", body="one", if_version=0)["version"] == 1
    read = memory("memory_read", name="plan")
    assert memory("memory_append", name="plan", text="two")["version"] == 2
    words = memory.refused("memory_write", name="plan", body="mine", if_version=read["version"])
    assert words.startswith(
        "memory_changed: The note 'plan' is at version 2, not at version 1. Read it again"
    )
    assert memory("memory_read", name="plan")["body"] == "one\ntwo"
    assert memory("memory_write", name="plan", body="joined", if_version=2)["version"] == 3


def test_a_note_that_is_gone_or_there_already_is_told_apart_from_the_one_that_was_read(memory):
    assert "does not exist" in memory.refused("memory_write", name="plan", body="x", if_version=1)
    memory("memory_write", name="plan", body="x")
    assert memory.refused("memory_write", name="plan", body="y", if_version=0).startswith("memory_changed:")
    assert memory.refused("memory_forget", name="plan", if_version=7).startswith("memory_changed:")
    assert memory("memory_forget", name="plan", if_version=1)["count"] == 1


def test_of_two_turns_that_replace_what_they_read_one_is_told(gateway, memory, acme, claude):
    memory("memory_write", name="plan", body="start")
    other = Caller(gateway, at_work(acme, claude), "memory")
    with ThreadPoolExecutor(2) as threads:
        both = threads.map(
            lambda call: call.raw("memory_write", name="plan", body="mine", if_version=1), [memory, other]
        )
        assert sorted(bool(result.get("isError")) for result in both) == [False, True]
    assert memory("memory_read", name="plan")["version"] == 2


def test_many_notes_are_forgotten_by_an_explicit_filter_only(memory):
    for name in ("todo/a", "todo/b", "todo_c", "keep"):
        memory("memory_write", name=name, body="x")
    assert memory.refused("memory_forget_many").startswith("invalid: Say which notes to forget")
    assert memory.refused("memory_forget_many", names=[]).startswith("invalid: Say which notes to forget")
    assert memory.refused("memory_forget_many", name_prefix="").startswith("invalid:")
    assert memory.refused("memory_forget_many", names=["a\x00"]).startswith("invalid:")
    assert memory("memory_forget_many", name_prefix="todo/", names=["todo/b", "keep"]) == {
        "count": 1,
        "names": ["todo/b"],
    }
    assert memory("memory_forget_many", name_prefix="todo_")["names"] == ["todo_c"]
    assert memory("memory_forget_many", name_prefix="%")["count"] == 0
    assert names(memory("memory_list")) == ["keep", "todo/a"]


def test_old_notes_are_forgotten_and_newer_ones_stay(memory):
    memory("memory_write", name="old", body="x")
    moment = rfc3339(now())
    memory("memory_write", name="new", body="x")
    assert memory("memory_forget_many", unchanged_since=moment)["names"] == ["old"]
    assert memory.refused("memory_forget_many", unchanged_since="2026-01-01T00:00:00").startswith("invalid:")


def test_forgetting_many_reaches_no_other_namespace(gateway, memory, acme, claude, globex):
    memory("memory_write", name="mine", body="x")
    for stranger in (at_work(acme, claude, who=acme.people["bob"]), at_work(globex, globex.agent)):
        call = Caller(gateway, stranger, "memory")
        assert call("memory_forget_many", name_prefix="m")["count"] == 0
    assert names(memory("memory_list")) == ["mine"]


def test_lists_can_be_narrowed_to_a_beginning(memory):
    for name in ("people/ada", "people/bob", "places"):
        memory("memory_write", name=name, body="x")
    first = memory("memory_list", name_prefix="people/", limit=1)
    second = memory("memory_list", name_prefix="people/", limit=1, cursor=first["next"])
    assert names(first) + names(second) == ["people/ada", "people/bob"]
    assert second["next"] is None


def test_all_notes_together_have_a_limit(memory, working, acme):
    with tenant_transaction(acme.organisation.id):
        Memory.objects.bulk_create(
            Memory(
                org_id=acme.organisation.id,
                agent_id=working.task.agent_id,
                user_id=acme.owner.user_id,
                name=f"n{n}",
                body="x" * 100_000,
            )
            for n in range(MAX_TOTAL_BYTES // 100_000)
        )
    assert memory.refused("memory_write", name="more", body="x").startswith("memory_full: All notes together")
    assert memory("memory_write", name="n0", body="smaller")["size_bytes"] == 7
    assert memory("memory_write", name="more", body="x" * 99_993)["version"] == 1
    assert memory.refused("memory_append", name="more", text="").startswith("memory_full:")
