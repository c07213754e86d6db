"""The value of each secret becomes its first version. Its row keeps the secret's id, to which it was sealed."""

from django.db import migrations

_TABLES = ("secret", "secret_version")

BACKFILL = migrations.RunSQL(
    sql=[
        # The owner of the tables is not above their policies while those are forced.
        *(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY" for table in _TABLES),
        "INSERT INTO secret_version (id, org_id, created_at, secret_id, number, sealed, key_id, created_by_id) "
        "SELECT id, org_id, updated_at, id, 1, sealed, key_id, created_by_id FROM secret",
        "SET CONSTRAINTS ALL IMMEDIATE",
        *(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY" for table in _TABLES),
    ],
    reverse_sql=migrations.RunSQL.noop,
)


class Migration(migrations.Migration):
    dependencies = [("vault", "0002_versions_and_bindings")]

    operations = [BACKFILL]
