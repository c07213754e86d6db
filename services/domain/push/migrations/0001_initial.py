import django.db.models.deletion
import services.kit.clock
import services.kit.ids
from django.conf import settings
from django.db import migrations, models

from services.kit.orgpg.operations import secure_table


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
        ('tenancy', '0001_row_level_security'),
    ]

    operations = [
        migrations.CreateModel(
            name='PushKey',
            fields=[
                ('id', models.UUIDField(default=services.kit.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('is_current', models.BooleanField(default=True, unique=True)),
                ('sealed', models.BinaryField()),
                ('key_id', models.CharField(max_length=40)),
                ('public', models.CharField(max_length=100)),
            ],
            options={
                'db_table': 'push_key',
                'constraints': [models.CheckConstraint(condition=models.Q(('is_current', True)), name='push_key_one_row')],
            },
        ),
        migrations.CreateModel(
            name='PushSubscription',
            fields=[
                ('id', models.UUIDField(default=services.kit.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('org_id', models.UUIDField(editable=False)),
                ('created_at', models.DateTimeField(default=services.kit.clock.now, editable=False)),
                ('label', models.CharField(blank=True, max_length=80)),
                ('host', models.CharField(max_length=255)),
                ('endpoint_hash', models.CharField(max_length=64)),
                ('sealed', models.BinaryField()),
                ('key_id', models.CharField(max_length=40)),
                ('last_sent_at', models.DateTimeField(null=True)),
                ('last_error', models.CharField(blank=True, max_length=200)),
                ('user', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'db_table': 'push_subscription',
                'indexes': [models.Index(fields=['user'], name='push_subscription_of_user')],
                'constraints': [models.UniqueConstraint(fields=('org_id', 'endpoint_hash'), name='push_subscription_once')],
            },
        ),
        secure_table('push_subscription'),
    ]
