"""Migration operations: row-level security on a tenant's table, and foreign keys that cannot cross tenants."""

from __future__ import annotations

from django.db import migrations

TENANT = "nullif(current_setting('app.org_id', true), '')::uuid"


def secure_table(table: str, *, column: str = "org_id") -> migrations.RunSQL:
    """Enable and force row-level security: the tenants' role sees its own rows, the operators' role all.

    `nullif` because the setting reads as an empty string in a session that once had it set.
    """
    return migrations.RunSQL(
        sql=[
            f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
            f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY",
            f"CREATE POLICY tenant ON {table} TO slipway_app "
            f"USING ({column} = {TENANT}) WITH CHECK ({column} = {TENANT})",
            f"CREATE POLICY all_tenants ON {table} TO slipway_operator USING (true) WITH CHECK (true)",
        ],
        reverse_sql=[
            f"DROP POLICY all_tenants ON {table}",
            f"DROP POLICY tenant ON {table}",
            f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY",
            f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY",
        ],
    )


def key_for_references(table: str) -> migrations.RunSQL:
    """Make (org_id, id) a key, so that other tables can refer to a row together with its tenant."""
    return migrations.RunSQL(
        sql=f"ALTER TABLE {table} ADD CONSTRAINT {table}_tenant_key UNIQUE (org_id, id)",
        reverse_sql=f"ALTER TABLE {table} DROP CONSTRAINT {table}_tenant_key",
    )


def reference_within_tenant(table: str, column: str, target: str) -> migrations.RunSQL:
    """Refuse a reference to another tenant's row. A plain foreign key would accept it: its check bypasses policies."""
    name = f"{table}_{column}_same_tenant"
    return migrations.RunSQL(
        sql=(
            f"ALTER TABLE {table} ADD CONSTRAINT {name} FOREIGN KEY (org_id, {column}) "
            f"REFERENCES {target} (org_id, id) DEFERRABLE INITIALLY DEFERRED"
        ),
        reverse_sql=f"ALTER TABLE {table} DROP CONSTRAINT {name}",
    )
