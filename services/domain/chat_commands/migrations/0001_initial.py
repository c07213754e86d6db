import django.db.models.deletion
import services.kit.clock
import services.kit.ids
from django.db import migrations, models

from services.kit.orgpg.operations import reference_within_tenant, secure_table


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        ('agents', '0004_model_rules'),
    ]

    operations = [
        migrations.CreateModel(
            name='ConversationSetting',
            fields=[
                ('id', models.UUIDField(default=services.kit.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('org_id', models.UUIDField(editable=False)),
                ('created_at', models.DateTimeField(default=services.kit.clock.now, editable=False)),
                ('scope', models.CharField(max_length=300)),
                ('model', models.CharField(blank=True, max_length=100)),
                ('updated_at', models.DateTimeField(default=services.kit.clock.now)),
                ('agent', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='agents.agent')),
            ],
            options={
                'db_table': 'conversation_setting',
                'constraints': [models.UniqueConstraint(fields=('agent', 'scope'), name='conversation_setting_once')],
            },
        ),
        secure_table("conversation_setting"),
        reference_within_tenant("conversation_setting", "agent_id", "agent"),
    ]
