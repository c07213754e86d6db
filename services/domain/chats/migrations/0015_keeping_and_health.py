import django.db.models.deletion
import django.db.models.functions.datetime
import services.kit.clock
import services.kit.ids
from django.db import migrations, models

from services.kit.orgpg.operations import reference_within_tenant, secure_table


class Migration(migrations.Migration):

    dependencies = [
        ('chats', '0014_link_entries'),
    ]

    operations = [
        migrations.CreateModel(
            name='LinkHealth',
            fields=[
                ('id', models.UUIDField(default=services.kit.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('org_id', models.UUIDField(editable=False)),
                ('created_at', models.DateTimeField(default=services.kit.clock.now, editable=False)),
                ('status', models.CharField(max_length=12)),
                ('reason', models.CharField(blank=True, max_length=300)),
            ],
            options={
                'db_table': 'link_health',
            },
        ),
        migrations.AddField(
            model_name='chat',
            name='next_forget_at',
            field=models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), default=services.kit.clock.now),
        ),
        migrations.AddField(
            model_name='link',
            name='reached_at',
            field=models.DateTimeField(null=True),
        ),
        migrations.AddIndex(
            model_name='chat',
            index=models.Index(fields=['next_forget_at'], name='chat_forget_due'),
        ),
        migrations.AddField(
            model_name='linkhealth',
            name='link',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='history', to='chats.link'),
        ),
        secure_table("link_health"),
        reference_within_tenant("link_health", "link_id", "link"),
    ]
