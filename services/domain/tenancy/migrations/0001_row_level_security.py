"""Row-level security on every tenant table, references that stay within a tenant, and the outbox's own role."""

from django.db import migrations

from services.kit.orgpg.operations import (
    TENANT,
    key_for_references,
    reference_within_tenant,
    secure_table,
)

TABLES = [
    "membership", "api_token", "agent", "workspace", "session_entry", "stream", "event", "runner_journal",
    "task", "task_token", "idempotency_key", "usage_record", "secret", "link", "chat", "wiring", "conversation",
    "inbound_message", "delivery", "playbook", "playbook_run", "memory",
]
REFERENCED = ["agent", "workspace", "task", "link", "chat", "playbook"]
REFERENCES = [
    ("workspace", "agent_id", "agent"),
    ("session_entry", "workspace_id", "workspace"),
    ("task", "workspace_id", "workspace"),
    ("task", "agent_id", "agent"),
    ("task_token", "task_id", "task"),
    ("idempotency_key", "task_id", "task"),
    ("usage_record", "task_id", "task"),
    ("link", "default_agent_id", "agent"),
    ("chat", "link_id", "link"),
    ("wiring", "chat_id", "chat"),
    ("wiring", "agent_id", "agent"),
    ("conversation", "agent_id", "agent"),
    ("conversation", "workspace_id", "workspace"),
    ("inbound_message", "link_id", "link"),
    ("inbound_message", "chat_id", "chat"),
    ("delivery", "link_id", "link"),
    ("delivery", "chat_id", "chat"),
    ("delivery", "task_id", "task"),
    ("playbook", "agent_id", "agent"),
    ("playbook", "workspace_id", "workspace"),
    ("playbook_run", "playbook_id", "playbook"),
    ("playbook_run", "task_id", "task"),
    ("memory", "agent_id", "agent"),
]

OUTBOX = migrations.RunSQL(
    sql=[
        "ALTER TABLE outbox_job ENABLE ROW LEVEL SECURITY",
        "ALTER TABLE outbox_job FORCE ROW LEVEL SECURITY",
        "ALTER TABLE dead_job ENABLE ROW LEVEL SECURITY",
        "ALTER TABLE dead_job FORCE ROW LEVEL SECURITY",
        "REVOKE ALL ON outbox_job, dead_job FROM slipway_app",
        "GRANT INSERT ON outbox_job TO slipway_app",
        "GRANT SELECT, DELETE, UPDATE ON outbox_job TO slipway_relay",
        "GRANT USAGE ON SEQUENCE outbox_job_id_seq TO slipway_app",
        f"CREATE POLICY tenant ON outbox_job FOR INSERT TO slipway_app WITH CHECK (org_id = {TENANT})",
        "CREATE POLICY relay ON outbox_job TO slipway_relay USING (true)",
        "CREATE POLICY all_tenants ON outbox_job TO slipway_operator USING (true) WITH CHECK (true)",
        "CREATE POLICY all_tenants ON dead_job TO slipway_operator USING (true) WITH CHECK (true)",
    ],
    reverse_sql=[
        "DROP POLICY all_tenants ON dead_job",
        "DROP POLICY all_tenants ON outbox_job",
        "DROP POLICY relay ON outbox_job",
        "DROP POLICY tenant ON outbox_job",
        "ALTER TABLE dead_job DISABLE ROW LEVEL SECURITY",
        "ALTER TABLE outbox_job DISABLE ROW LEVEL SECURITY",
    ],
)


class Migration(migrations.Migration):
    dependencies = [
        ("identity", "0001_initial"),
        ("agents", "0001_initial"),
        ("workspaces", "0001_initial"),
        ("events", "0001_initial"),
        ("tasks", "0001_initial"),
        ("vault", "0001_initial"),
        ("chats", "0002_initial"),
        ("playbooks", "0001_initial"),
        ("memory", "0001_initial"),
        ("outbox", "0001_initial"),
    ]

    operations = [
        *(secure_table(table) for table in TABLES),
        secure_table("organisation", column="id"),
        *(key_for_references(table) for table in REFERENCED),
        *(reference_within_tenant(*reference) for reference in REFERENCES),
        OUTBOX,
    ]
