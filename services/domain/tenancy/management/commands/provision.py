"""`manage.py provision`: makes the roles and both databases, and brings their tables up to date."""

from __future__ import annotations

from typing import Any

import psycopg
from django.conf import settings
from django.core.management import BaseCommand, call_command
from django.db import connections
from psycopg import sql
from pydantic import SecretStr

from services.domain.django_base import _database
from services.domain.push.keys import ensure_push_key
from services.kit.environment import environment, postgres_parts

# The policies name these roles, so their names are fixed.
ROLES = ("slipway_owner", "slipway_app", "slipway_operator", "slipway_relay", "slipway_plane")
PUBLIC_FUNCTIONS_FOR_SEARCH = (
    "ts_match_vq(tsvector, tsquery)",
    # `%>`, by which misspelt words are found. Source: pg_trgm's own SQL.
    "word_similarity_commutator_op(text, text)",
)


class Command(BaseCommand):
    """Idempotent; needs the three URLs with more rights, which no running service has to have."""

    help = "Create roles and databases where missing, and migrate both databases."

    def handle(self, *args: Any, **options: Any) -> None:
        env = environment()
        admin, owner, plane_owner = (
            env.admin_database_url,
            env.owner_database_url,
            env.plane_owner_database_url,
        )
        if admin is None or owner is None or plane_owner is None:
            self.stderr.write("provision needs the ADMIN, OWNER and PLANE_OWNER database URLs")
            raise SystemExit(2)
        _make_roles_and_databases(admin, owner, plane_owner)
        for alias, url, apps in (("owner", owner, ()), ("plane_owner", plane_owner, ("plane",))):
            settings.DATABASES[alias] = connections.configure_settings(
                {
                    **settings.DATABASES,
                    alias: _database(url),
                }
            )[alias]
            connections.settings[alias] = settings.DATABASES[alias]
            # Elsewhere than in its own database an app makes nothing, and yet to go through its steps takes long.
            call_command("migrate", *apps, database=alias, interactive=False, verbosity=options["verbosity"])
            connections[alias].close()
            connections[alias].close_pool()  # type: ignore[attr-defined]  # PostgreSQL's wrapper has it
        ensure_push_key()


def _make_roles_and_databases(admin: SecretStr, owner: SecretStr, plane_owner: SecretStr) -> None:
    env = environment()
    urls = (
        owner,
        env.database_url,
        env.operator_database_url,
        env.relay_database_url,
        env.plane_database_url,
    )
    with psycopg.connect(admin.get_secret_value(), autocommit=True) as connection:
        for role, url in zip(ROLES, urls, strict=True):
            _make_role(connection, role, postgres_parts(url)["PASSWORD"])
        for url in (owner, plane_owner):
            _make_database(connection, postgres_parts(url)["NAME"])
    _grant(admin, postgres_parts(owner)["NAME"], ("slipway_app", "slipway_operator"), ("slipway_relay",))
    _grant(admin, postgres_parts(plane_owner)["NAME"], ("slipway_plane",), ())


def _make_role(connection: psycopg.Connection[Any], role: str, password: str) -> None:
    exists = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role]).fetchone()
    verb = sql.SQL("ALTER ROLE" if exists else "CREATE ROLE")
    connection.execute(
        sql.SQL("{} {} LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE PASSWORD {}").format(
            verb, sql.Identifier(role), sql.Literal(password)
        )
    )


def _make_database(connection: psycopg.Connection[Any], name: str) -> None:
    if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
        connection.execute(
            sql.SQL("CREATE DATABASE {} OWNER slipway_owner ENCODING 'UTF8' TEMPLATE template0").format(
                sql.Identifier(name)
            )
        )
    connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(name)))


def _grant(admin: SecretStr, name: str, writers: tuple[str, ...], visitors: tuple[str, ...]) -> None:
    """Let the writers use every table that the owner makes, and the visitors only connect."""
    with psycopg.connect(admin.get_secret_value(), dbname=name, autocommit=True) as connection:
        database = sql.Identifier(name)
        for role in (*writers, *visitors):
            grantee = sql.Identifier(role)
            connection.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(database, grantee))
            connection.execute(sql.SQL("GRANT USAGE ON SCHEMA public TO {}").format(grantee))
        for role in writers:
            for rights, what in (
                ("SELECT, INSERT, UPDATE, DELETE", "TABLES"),
                ("USAGE, SELECT", "SEQUENCES"),
            ):
                connection.execute(
                    sql.SQL(
                        "ALTER DEFAULT PRIVILEGES FOR ROLE slipway_owner IN SCHEMA public GRANT {} ON {} TO {}"
                    ).format(sql.SQL(rights), sql.SQL(what), sql.Identifier(role))
                )
        connection.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
        # Without this, row-level security keeps full-text search from using its index.
        for function in PUBLIC_FUNCTIONS_FOR_SEARCH:
            connection.execute(sql.SQL("ALTER FUNCTION {} LEAKPROOF").format(sql.SQL(function)))
