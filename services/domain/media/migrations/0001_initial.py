import django.db.models.deletion
import services.kit.clock
import services.kit.ids
from django.db import migrations, models

from services.kit.orgpg.operations import key_for_references, reference_within_tenant, secure_table


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        ('chats', '0004_link_unknown_senders'),
        ('contacts', '0002_unknown_senders'),
        ('tasks', '0003_task_messages'),
        ('tenancy', '0001_row_level_security'),
        ('workspaces', '0001_initial'),
    ]

    operations = [
        migrations.CreateModel(
            name='InboundFile',
            fields=[
                ('id', models.UUIDField(default=services.kit.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('org_id', models.UUIDField(editable=False)),
                ('created_at', models.DateTimeField(default=services.kit.clock.now, editable=False)),
                ('number', models.PositiveSmallIntegerField()),
                ('ref', models.TextField()),
                ('name', models.CharField(max_length=200)),
                ('claimed_type', models.CharField(blank=True, max_length=120)),
                ('claimed_bytes', models.BigIntegerField(null=True)),
                ('is_voice', models.BooleanField(default=False)),
                ('state', models.CharField(choices=[('offered', 'Offered'), ('awaited', 'Awaited'), ('kept', 'Kept'), ('failed', 'Failed')], default='offered', max_length=8)),
                ('error', models.CharField(blank=True, max_length=200)),
                ('attempts', models.PositiveSmallIntegerField(default=0)),
                ('next_attempt_at', models.DateTimeField(default=services.kit.clock.now)),
                ('give_up_at', models.DateTimeField(null=True)),
                ('content_type', models.CharField(blank=True, max_length=120)),
                ('size_bytes', models.BigIntegerField(null=True)),
                ('key', models.CharField(blank=True, max_length=200)),
                ('text_key', models.CharField(blank=True, max_length=200)),
                ('transcript', models.TextField(blank=True)),
                ('note', models.CharField(blank=True, max_length=200)),
                ('message', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='files', to='chats.inboundmessage')),
            ],
            options={
                'db_table': 'inbound_file',
                'indexes': [models.Index(condition=models.Q(('state', 'awaited')), fields=['next_attempt_at'], name='inbound_file_awaited')],
                'constraints': [models.UniqueConstraint(fields=('message', 'number'), name='inbound_file_once')],
            },
        ),
        migrations.CreateModel(
            name='InboxFile',
            fields=[
                ('id', models.UUIDField(default=services.kit.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('org_id', models.UUIDField(editable=False)),
                ('created_at', models.DateTimeField(default=services.kit.clock.now, editable=False)),
                ('placed_at', models.DateTimeField(null=True)),
                ('error', models.CharField(blank=True, max_length=200)),
                ('file', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='media.inboundfile')),
                ('task', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to='tasks.task')),
                ('workspace', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='workspaces.workspace')),
            ],
            options={
                'db_table': 'inbox_file',
                'constraints': [models.UniqueConstraint(fields=('workspace', 'file'), name='inbox_file_once')],
            },
        ),
        secure_table('inbound_file'),
        secure_table('inbox_file'),
        key_for_references('inbound_file'),
        reference_within_tenant('inbound_file', 'message_id', 'inbound_message'),
        reference_within_tenant('inbox_file', 'file_id', 'inbound_file'),
        reference_within_tenant('inbox_file', 'workspace_id', 'workspace'),
        reference_within_tenant('inbox_file', 'task_id', 'task'),
    ]
