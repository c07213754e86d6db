from django.db import migrations, models

import services.kit.clock
import services.kit.ids
from services.kit.orgpg.operations import secure_table


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        ('tenancy', '0001_row_level_security'),
    ]

    operations = [
        migrations.CreateModel(
            name='KeptAnswer',
            fields=[
                ('id', models.UUIDField(default=services.kit.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('org_id', models.UUIDField(editable=False)),
                ('created_at', models.DateTimeField(default=services.kit.clock.now, editable=False)),
                ('actor_key', models.CharField(max_length=60)),
                ('key', models.CharField(max_length=150)),
                ('request_hash', models.CharField(max_length=64)),
                ('begun_at', models.DateTimeField(default=services.kit.clock.now)),
                ('status', models.PositiveSmallIntegerField(null=True)),
                ('sealed', models.BinaryField(null=True)),
                ('key_id', models.CharField(blank=True, max_length=40)),
            ],
            options={
                'db_table': 'kept_answer',
                'indexes': [models.Index(fields=['begun_at'], name='kept_answer_begun')],
                'constraints': [models.UniqueConstraint(fields=('org_id', 'actor_key', 'key'), name='kept_answer_once')],
            },
        ),
        secure_table('kept_answer'),
    ]
