"""The subject of an `mcp_server` lost the fields that nobody could ask with; what is kept must still be readable."""

from django.db import migrations

# The table's owner is under row-level security too, and a migration serves all tenants.
NARROW = """
ALTER TABLE approval NO FORCE ROW LEVEL SECURITY;
UPDATE approval SET subject = subject - 'command' - 'env_names' WHERE kind = 'mcp_server';
ALTER TABLE approval FORCE ROW LEVEL SECURITY;
"""


class Migration(migrations.Migration):

    dependencies = [("approvals", "0002_rules_and_held_calls")]

    operations = [migrations.RunSQL(NARROW, migrations.RunSQL.noop)]
