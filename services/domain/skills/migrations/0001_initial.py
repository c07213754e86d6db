import services.kit.clock
import services.kit.ids
from django.db import migrations, models

from services.kit.orgpg.operations import secure_table


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        ('tenancy', '0001_row_level_security'),
    ]

    operations = [
        migrations.CreateModel(
            name='Skill',
            fields=[
                ('id', models.UUIDField(default=services.kit.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('org_id', models.UUIDField(editable=False)),
                ('created_at', models.DateTimeField(default=services.kit.clock.now, editable=False)),
                ('name', models.CharField(max_length=60)),
                ('description', models.CharField(max_length=500)),
                ('body', models.TextField()),
                ('files', models.JSONField(default=dict)),
                ('updated_at', models.DateTimeField(default=services.kit.clock.now)),
            ],
            options={
                'db_table': 'skill',
                'constraints': [models.UniqueConstraint(fields=('org_id', 'name'), name='skill_once')],
            },
        ),
        secure_table('skill'),
    ]
