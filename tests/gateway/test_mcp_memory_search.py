"""Finding notes by words that are spelt wrongly, and by indexes that row-level security does not keep from use."""

from __future__ import annotations

import os

import psycopg
import pytest
from django.db import connection

from services.domain.tenancy.transaction import tenant_transaction
from tests.gateway.serving import Caller


@pytest.fixture
def memory(gateway, working) -> Caller:
    """Call the memory tools for alice."""
    return Caller(gateway, working, "memory")


def names(found: dict) -> list[str]:
    return [note["name"] for note in found["notes"]]


@pytest.mark.parametrize(
    ("misspelt", "name"),
    [
        ("databse", "db"),
        ("recieve", "mail"),
        ("kubernets clustr", "ops"),
        ("Zürch", "travel"),
        ("tokn", "keys"),
    ],
)
def test_misspelt_words_are_found(memory, misspelt, name):
    memory("memory_write", name="db", body="The staging database is called stage_db.")
    memory("memory_write", name="mail", body="Invoices: we receive them on the first.")
    memory("memory_write", name="ops", body="The Kubernetes cluster has three nodes.")
    memory("memory_write", name="travel", body="The train to Zürich leaves at nine.")
    memory("memory_write", name="keys", body="The production token expires in May.")
    assert names(memory("memory_search", query=misspelt))[:1] == [name]


def test_words_that_are_found_as_they_are_bring_none_that_are_only_like_them(memory):
    memory("memory_write", name="like", body="The shipping team is in Hamburg.")
    memory("memory_write", name="same", body="The shopping list: milk.")
    assert names(memory("memory_search", query="shopping")) == ["same"]
    assert names(memory("memory_search", query="shopping hambrug")) == ["same", "like"]


def test_what_is_unlike_is_not_found(memory):
    memory("memory_write", name="db", body="The staging database is called stage_db.")
    assert names(memory("memory_search", query="elephant")) == []
    assert names(memory("memory_search", query="xyz")) == []


def plan_of(query: str, params: list[str]) -> str:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute(f"EXPLAIN {query}", params)
        return "\n".join(row[0] for row in cursor.fetchall())


def test_both_indexes_are_used_under_row_level_security(acme):
    with tenant_transaction(acme.organisation.id), connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO memory (id, org_id, created_at, updated_at, agent_id, name, body, version, words, search)
            SELECT gen_random_uuid(), %s, now(), now(), %s, 'n' || n, '', 1, word, to_tsvector('simple', word)
            FROM (SELECT n, md5(n::text) || ' ' || md5((n * 7)::text) AS word FROM generate_series(1, 20000) n) rows""",
            [acme.organisation.id, acme.agent.id],
        )
    with psycopg.connect(os.environ["SLIPWAY_OWNER_DATABASE_URL"], autocommit=True) as owner:
        owner.execute("ANALYZE memory")
    with tenant_transaction(acme.organisation.id):
        assert connection.settings_dict["USER"] == "slipway_app"
        misspelt = plan_of("SELECT id FROM memory WHERE words %%> %s", ["wrod77"])
        text = plan_of("SELECT id FROM memory WHERE search @@ plainto_tsquery('simple', %s)", ["word77"])
    assert "Bitmap Index Scan on memory_words" in misspelt
    assert "Bitmap Index Scan on memory_search" in text
