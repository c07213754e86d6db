import django.db.models.deletion
import services.kit.clock
import services.kit.ids
from django.conf import settings
from django.db import migrations, models

from services.kit.orgpg.operations import reference_within_tenant, secure_table


class Migration(migrations.Migration):

    dependencies = [
        ('agents', '0004_model_rules'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='AgentPerson',
            fields=[
                ('id', models.UUIDField(default=services.kit.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('org_id', models.UUIDField(editable=False)),
                ('created_at', models.DateTimeField(default=services.kit.clock.now, editable=False)),
                ('role', models.CharField(choices=[('admin', 'Admin'), ('member', 'Member')], max_length=6)),
                ('agent', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='people', to='agents.agent')),
                ('user', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'db_table': 'agent_person',
                'indexes': [models.Index(fields=['user'], name='agent_person_of_user')],
                'constraints': [models.UniqueConstraint(fields=('agent', 'user'), name='agent_person_once')],
            },
        ),
        secure_table("agent_person"),
        reference_within_tenant("agent_person", "agent_id", "agent"),
    ]
