import django.db.models.deletion
import services.kit.clock
import services.kit.ids
from django.db import migrations, models

from services.kit.orgpg.operations import reference_within_tenant, secure_table


class Migration(migrations.Migration):

    dependencies = [
        ('chats', '0011_reports'),
    ]

    operations = [
        migrations.CreateModel(
            name='LinkListener',
            fields=[
                ('id', models.UUIDField(default=services.kit.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('org_id', models.UUIDField(editable=False)),
                ('created_at', models.DateTimeField(default=services.kit.clock.now, editable=False)),
                ('token', models.UUIDField(null=True)),
                ('holder', models.CharField(blank=True, max_length=80)),
                ('lease_until', models.DateTimeField(null=True)),
                ('state', models.JSONField(default=dict)),
                ('status', models.CharField(choices=[('starting', 'Starting'), ('listening', 'Listening'), ('retrying', 'Retrying'), ('failed', 'Failed')], default='starting', max_length=10)),
                ('last_seen_at', models.DateTimeField(null=True)),
                ('last_error', models.CharField(blank=True, max_length=300)),
                ('link', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='listener', to='chats.link')),
            ],
            options={
                'db_table': 'link_listener',
            },
        ),
        secure_table("link_listener"),
        reference_within_tenant("link_listener", "link_id", "link"),
    ]
