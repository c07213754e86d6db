import django.db.models.deletion
import services.kit.clock
import services.kit.ids
from django.db import migrations, models

from services.kit.orgpg.operations import reference_within_tenant, secure_table


class Migration(migrations.Migration):

    dependencies = [
        ('chats', '0008_custody'),
        ('tasks', '0007_traceparent'),
    ]

    operations = [
        migrations.AddField(
            model_name='wiring',
            name='live_answers',
            field=models.CharField(choices=[('auto', 'Auto'), ('on', 'On'), ('off', 'Off')], db_default='auto', default='auto', max_length=4),
        ),
        migrations.CreateModel(
            name='ShownAnswer',
            fields=[
                ('id', models.UUIDField(default=services.kit.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('org_id', models.UUIDField(editable=False)),
                ('created_at', models.DateTimeField(default=services.kit.clock.now, editable=False)),
                ('segments', models.JSONField(default=list)),
                ('lease_token', models.UUIDField(null=True)),
                ('lease_until', models.DateTimeField(null=True)),
                ('closed_at', models.DateTimeField(null=True)),
                ('task', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='shown_answer', to='tasks.task')),
            ],
            options={
                'db_table': 'shown_answer',
            },
        ),
        secure_table("shown_answer"),
        reference_within_tenant("shown_answer", "task_id", "task"),
    ]
