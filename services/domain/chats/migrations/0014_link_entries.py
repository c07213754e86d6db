import django.db.models.deletion
import services.kit.clock
import services.kit.ids
from django.db import migrations, models

from services.kit.orgpg.operations import reference_within_tenant, secure_table


class Migration(migrations.Migration):

    dependencies = [
        ('chats', '0013_decisions'),
    ]

    operations = [
        migrations.CreateModel(
            name='LinkEntry',
            fields=[
                ('id', models.UUIDField(default=services.kit.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('org_id', models.UUIDField(editable=False)),
                ('created_at', models.DateTimeField(default=services.kit.clock.now, editable=False)),
                ('name', models.CharField(max_length=300)),
                ('sealed', models.BinaryField()),
                ('key_id', models.CharField(max_length=40)),
                ('version', models.PositiveBigIntegerField()),
                ('expires_at', models.DateTimeField(null=True)),
                ('link', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='entries', to='chats.link')),
            ],
            options={
                'db_table': 'link_entry',
                'indexes': [models.Index(condition=models.Q(('expires_at__isnull', False)), fields=['expires_at'], name='link_entry_old')],
                'constraints': [models.UniqueConstraint(fields=('link', 'name'), name='link_entry_once')],
            },
        ),
        secure_table("link_entry"),
        reference_within_tenant("link_entry", "link_id", "link"),
    ]
