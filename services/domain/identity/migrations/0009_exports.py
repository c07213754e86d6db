import django.db.models.deletion
import services.kit.clock
import services.kit.ids
from django.conf import settings
from django.db import migrations, models

from services.kit.orgpg.operations import secure_table


class Migration(migrations.Migration):

    dependencies = [
        ('identity', '0008_chat_keep_days'),
    ]

    operations = [
        migrations.CreateModel(
            name='OrganisationExport',
            fields=[
                ('id', models.UUIDField(default=services.kit.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('org_id', models.UUIDField(editable=False)),
                ('created_at', models.DateTimeField(default=services.kit.clock.now, editable=False)),
                ('status', models.CharField(choices=[('queued', 'Queued'), ('ready', 'Ready')], default='queued', max_length=6)),
                ('key', models.CharField(blank=True, max_length=200)),
                ('size_bytes', models.BigIntegerField(null=True)),
                ('finished_at', models.DateTimeField(null=True)),
                ('expires_at', models.DateTimeField()),
                ('requested_by', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'db_table': 'organisation_export',
            },
        ),
        secure_table('organisation_export'),
    ]
