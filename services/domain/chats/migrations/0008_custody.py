import django.db.models.deletion
import services.domain.chats.models
import services.kit.clock
import services.kit.ids
from django.db import migrations, models

from services.kit.orgpg.operations import reference_within_tenant, secure_table


class Migration(migrations.Migration):

    dependencies = [
        ('chats', '0007_thread_claims'),
    ]

    operations = [
        migrations.AddField(
            model_name='delivery',
            name='expires_at',
            field=models.DateTimeField(null=True, default=services.domain.chats.models.delivery_expiry),
        ),
        migrations.AddField(
            model_name='delivery',
            name='reported_at',
            field=models.DateTimeField(null=True),
        ),
        migrations.AddIndex(
            model_name='delivery',
            index=models.Index(condition=models.Q(('status__in', ['queued', 'sending'])), fields=['chat', 'id'], name='delivery_in_line'),
        ),
        migrations.CreateModel(
            name='DeliveryAttempt',
            fields=[
                ('id', models.UUIDField(default=services.kit.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('org_id', models.UUIDField(editable=False)),
                ('created_at', models.DateTimeField(default=services.kit.clock.now, editable=False)),
                ('started_at', models.DateTimeField(default=services.kit.clock.now)),
                ('finished_at', models.DateTimeField(null=True)),
                ('outcome', models.CharField(blank=True, choices=[('sent', 'Sent'), ('found', 'Found'), ('throttled', 'Throttled'), ('away', 'Away'), ('refused', 'Refused'), ('unknown', 'Unknown')], max_length=9)),
                ('note', models.CharField(blank=True, max_length=300)),
                ('delivery', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='custody', to='chats.delivery')),
            ],
            options={
                'db_table': 'delivery_attempt',
            },
        ),
        secure_table("delivery_attempt"),
        reference_within_tenant("delivery_attempt", "delivery_id", "delivery"),
    ]
