"""Agents have versions. What those that exist are set to becomes the first version of each."""

import django.db.models.deletion
import services.kit.clock
import services.kit.ids
from django.conf import settings
from django.db import migrations, models

from services.kit.orgpg.operations import reference_within_tenant, secure_table

_FIELDS = (
    'name', 'slug', 'description', 'provider', 'model', 'effort', 'allowed_models', 'instructions', 'tools',
    'mcp_servers', 'max_turns', 'timeout_s', 'max_budget_microusd', 'memory_mb', 'cpus', 'disk_mb', 'pids', 'runtime',
    'idle_pause_s', 'idle_stop_s', 'egress', 'archive_after_s', 'packages', 'is_shared', 'reads_all_memories',
    'installs_packages', 'when_busy',
)
_TABLES = ('agent', 'agent_version')
_OBJECT = ', '.join(f"'{name}', {name}" for name in _FIELDS)

BACKFILL = migrations.RunSQL(
    sql=[
        # The owner of the tables is not above their policies while those are forced.
        *(f'ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY' for table in _TABLES),
        'INSERT INTO agent_version (id, org_id, created_at, agent_id, number, "values", made_by_id) '
        f'SELECT id, org_id, updated_at, id, 1, jsonb_build_object({_OBJECT}), owner_id FROM agent',
        'SET CONSTRAINTS ALL IMMEDIATE',
        *(f'ALTER TABLE {table} FORCE ROW LEVEL SECURITY' for table in _TABLES),
    ],
    reverse_sql=migrations.RunSQL.noop,
)


class Migration(migrations.Migration):

    dependencies = [
        ('agents', '0006_when_busy'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name='agent',
            name='version',
            field=models.PositiveIntegerField(db_default=1, default=1, editable=False),
        ),
        migrations.CreateModel(
            name='AgentVersion',
            fields=[
                ('id', models.UUIDField(default=services.kit.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('org_id', models.UUIDField(editable=False)),
                ('created_at', models.DateTimeField(default=services.kit.clock.now, editable=False)),
                ('number', models.PositiveIntegerField()),
                ('values', models.JSONField()),
                ('restores', models.PositiveIntegerField(null=True)),
                ('agent', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='versions', to='agents.agent')),
                ('made_by', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'db_table': 'agent_version',
                'constraints': [models.UniqueConstraint(fields=('agent', 'number'), name='agent_version_once')],
            },
        ),
        secure_table('agent_version'),
        reference_within_tenant('agent_version', 'agent_id', 'agent'),
        BACKFILL,
    ]
