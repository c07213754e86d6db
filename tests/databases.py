"""The tests' databases: kept between sessions while the schema is the same, and emptied between tests.

Only the tables that a test wrote to are emptied: to truncate every one of them takes half a second, thousands of times.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import psycopg
from psycopg import sql

SERVICES = Path(__file__).resolve().parent.parent / "services"

_KEPT = ["django_migrations", "django_content_type", "auth_permission"]
# Triggers and foreign keys are out of force for the session: all is deleted, in any order, what may only grow included.
_EMPTY = """
CREATE FUNCTION pg_temp.empty_what_was_written(kept text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    name text;
    is_written boolean;
BEGIN
    FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> ALL (kept) LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM %I)', name) INTO is_written;
        IF is_written THEN
            EXECUTE format('DELETE FROM %I', name);
        END IF;
    END LOOP;
    PERFORM setval(format('%I.%I', schemaname, sequencename)::regclass, start_value, false)
       FROM pg_sequences
      WHERE schemaname = 'public' AND last_value IS NOT NULL
        AND sequencename <> ALL (SELECT k || '_id_seq' FROM unnest(kept) AS k);
END $$
"""


class Emptier:
    """A superuser's connection to one database, kept open for the whole session."""

    def __init__(self, admin_url: str, database: str) -> None:
        self._connection = psycopg.connect(admin_url, dbname=database, autocommit=True)
        self._connection.execute("SET session_replication_role = replica")
        self._connection.execute(_EMPTY)

    def empty(self) -> None:
        """Delete every row but what the migrations keep, and let every sequence start again."""
        self._connection.execute("SELECT pg_temp.empty_what_was_written(%s)", [_KEPT])

    def close(self) -> None:
        """Give the connection back."""
        self._connection.close()


def schema_version() -> str:
    """Return a digest of all that makes the tables: the migrations, and what runs them."""
    made_by = [*SERVICES.rglob("migrations/*.py"), *(SERVICES / "domain" / "tenancy").rglob("*.py")]
    digest = hashlib.sha256()
    for path in sorted(made_by):
        digest.update(str(path.relative_to(SERVICES)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def is_of_version(admin_url: str, database: str, version: str) -> bool:
    """Say whether a database is there whole, as this version of the schema has it."""
    with psycopg.connect(admin_url, autocommit=True) as connection:
        row = connection.execute(
            "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s", [database]
        ).fetchone()
    return row is not None and row[0] == version


def mark(admin_url: str, database: str, version: str) -> None:
    """Note which version of the schema a database has, once it has it whole."""
    with psycopg.connect(admin_url, autocommit=True) as connection:
        connection.execute(
            sql.SQL("COMMENT ON DATABASE {} IS {}").format(sql.Identifier(database), sql.Literal(version))
        )


def drop(admin_url: str, database: str) -> None:
    """Remove a database with whoever is still connected to it."""
    with psycopg.connect(admin_url, autocommit=True) as connection:
        connection.execute(
            sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(database))
        )
