"""The memory tools: what they keep, find, and for whom."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from services.domain.agents.actions import AgentFields, create_agent
from services.domain.memory.actions import MAX_NOTES, write_memory
from services.domain.memory.models import Memory
from tests.gateway.serving import Caller, at_work


@pytest.fixture
def memory(gateway, working) -> Caller:
    """Call the memory tools for alice."""
    return Caller(gateway, working, "memory")


def names(found: dict) -> list[str]:
    return [note["name"] for note in found["notes"]]


def test_a_note_that_was_written_can_be_read_replaced_and_deleted(memory):
    written = memory("memory_write", name="plan", body="Grüße")
    assert written["size_bytes"] == 7
    assert memory("memory_read", name="plan")["body"] == "Grüße"
    memory("memory_write", name="plan", body="new")
    assert memory("memory_read", name="plan")["body"] == "new"
    assert memory("memory_forget", name="plan") == {"count": 1, "names": ["plan"]}
    assert memory.refused("memory_read", name="plan").startswith("memory_not_found:")
    assert memory.refused("memory_forget", name="plan").startswith("memory_not_found:")


def test_appending_begins_a_note_and_adds_lines(memory):
    memory("memory_append", name="log", text="one")
    assert memory("memory_append", name="log", text="two")["size_bytes"] == 7
    assert memory("memory_read", name="log")["body"] == "one\ntwo"


def test_appending_at_once_loses_nothing(memory):
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda n: memory("memory_append", name="log", text=f"line {n}"), range(16)))
    lines = memory("memory_read", name="log")["body"].splitlines()
    assert sorted(lines) == sorted(f"line {n}" for n in range(16))


def test_search_ranks_notes_with_all_words_above_those_with_some(memory):
    memory("memory_write", name="other", body="The cat sat. Nothing about databases.")
    memory("memory_write", name="deploy-steps", body="How we deploy to staging: run the pipeline.")
    memory("memory_write", name="staging", body="The staging database is called stage_db.")
    found = memory("memory_search", query="deploying staging")
    assert names(found)[0] == "deploy-steps"
    assert set(names(found)) == {"deploy-steps", "staging"}
    assert "staging" in found["notes"][0]["snippet"]


def test_search_finds_parts_of_words_and_words_of_other_languages(memory):
    memory("memory_write", name="keys", body="The production token is in 1password under acmeprod.")
    memory("memory_write", name="katzen", body="Die Katzen schlafen nachts.")
    memory("memory_write", name="quote", body="100%_sure")
    assert names(memory("memory_search", query="meprod")) == ["keys"]
    assert names(memory("memory_search", query="schlafen")) == ["katzen"]
    assert names(memory("memory_search", query="%")) == []
    assert names(memory("memory_search", query="password", limit=1)) == ["keys"]


@pytest.mark.parametrize(
    "query", ["'; drop table memory; --", "a & | ! ( ", "\\", '"', "::*", "the", "🦊", "<-> foo", "a" * 500]
)
def test_no_query_breaks_the_search(memory, query):
    memory("memory_write", name="a", body="b")
    assert isinstance(memory("memory_search", query=query)["notes"], list)


def test_a_snippet_of_a_long_note_shows_the_place(memory):
    memory("memory_write", name="long", body="filler " * 2_000 + "the needle is here " + "filler " * 2_000)
    (hit,) = memory("memory_search", query="needle")["notes"]
    assert "needle" in hit["snippet"]
    assert len(hit["snippet"]) <= 302


def test_lists_come_page_by_page_in_the_order_of_names(memory):
    for number in range(7):
        memory("memory_write", name=f"n{number}", body="x" * number)
    first = memory("memory_list", limit=3)
    second = memory("memory_list", limit=3, cursor=first["next"])
    third = memory("memory_list", limit=3, cursor=second["next"])
    assert names(first) + names(second) + names(third) == [f"n{number}" for number in range(7)]
    assert third["next"] is None
    assert [note["size_bytes"] for note in first["notes"]] == [0, 1, 2]
    assert memory.refused("memory_list", cursor="%%%").startswith("cursor_invalid:")
    assert memory.refused("memory_list", cursor="AA").startswith("cursor_invalid:")


def test_what_does_not_fit_is_refused_with_the_reason(memory):
    too_long = memory.refused("memory_write", name="big", body="ü" * 50_001)
    assert too_long.startswith("invalid:")
    assert "100000" in too_long
    memory("memory_write", name="big", body="x" * 100_000)
    assert "100002" in memory.refused("memory_append", name="big", text="y")
    assert "memory_read" not in memory.refused("memory_write", name="x" * 121, body="")
    for name in ("", " ", "two\nlines", "nul\x00"):
        assert memory.refused("memory_write", name=name, body="x").startswith("invalid:")
    assert "NUL" in memory.refused("memory_write", name="n", body="\x00")


def test_a_wrong_call_is_told_what_the_tool_takes(memory):
    words = memory.refused("memory_write", nme="a", body="secret-value")
    assert "name: Field required" in words
    assert "nme: Extra inputs are not permitted" in words
    assert "This tool takes: name, body, if_version" in words
    assert "secret-value" not in words


def test_the_thousandth_note_is_the_last(memory, working, acme):
    Memory.objects.using("operator").bulk_create(
        Memory(
            org_id=acme.organisation.id,
            agent_id=working.task.agent_id,
            user_id=acme.owner.user_id,
            name=f"n{n}",
        )
        for n in range(MAX_NOTES)
    )
    assert memory.refused("memory_write", name="one-more", body="x").startswith("memory_full:")
    assert memory("memory_write", name="n1", body="replaced")["size_bytes"] == 8


def test_another_user_another_agent_and_another_tenant_see_other_notes(
    gateway, memory, working, acme, claude, globex
):
    memory("memory_write", name="mine", body="private words")
    other_agent = create_agent(acme.owner, AgentFields(name="Other"))
    strangers = [
        at_work(acme, claude, who=acme.people["bob"]),
        at_work(acme, other_agent),
        at_work(globex, globex.agent),
    ]
    for stranger in strangers:
        call = Caller(gateway, stranger, "memory")
        assert call.refused("memory_read", name="mine").startswith("memory_not_found:")
        assert call.refused("memory_forget", name="mine").startswith("memory_not_found:")
        assert names(call("memory_list")) == []
        assert names(call("memory_search", query="private words")) == []
        call("memory_write", name="mine", body="theirs")
    assert memory("memory_read", name="mine")["body"] == "private words"


def test_the_same_agent_remembers_in_its_next_task(gateway, memory, working, acme, claude):
    memory("memory_write", name="fact", body="remembered")
    working.end()
    later = Caller(gateway, at_work(acme, claude), "memory")
    assert later("memory_read", name="fact")["body"] == "remembered"


def test_a_person_reads_what_their_agents_wrote_and_nobody_elses(memory, acme, claude):
    from services.domain.memory.queries import list_memories
    from services.domain.tenancy.transaction import tenant_transaction

    memory("memory_write", name="by-agent", body="x")
    write_memory(acme.people["bob"], claude.id, "bobs", "y")
    with tenant_transaction(acme.organisation.id):
        assert [note.name for note in list_memories(acme.owner)] == ["by-agent"]
        assert [note.name for note in list_memories(acme.people["bob"])] == ["bobs"]


def test_notes_of_work_that_no_person_started_are_kept_apart(acme, claude):
    from services.domain.actors import system_actor
    from services.domain.memory.queries import list_memories
    from services.domain.tenancy.transaction import tenant_transaction

    nobody = system_actor(acme.organisation.id)
    write_memory(nobody, claude.id, "shared", "x")
    write_memory(nobody, claude.id, "shared", "y")
    with tenant_transaction(acme.organisation.id):
        assert [note.body for note in list_memories(nobody, claude.id)] == ["y"]
        assert not list_memories(acme.owner).exists()
