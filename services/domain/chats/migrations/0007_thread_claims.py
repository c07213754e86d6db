import django.db.models.deletion
import services.kit.clock
import services.kit.ids
from django.conf import settings
from django.db import migrations, models

from services.kit.orgpg.operations import reference_within_tenant, secure_table


class Migration(migrations.Migration):

    dependencies = [
        ('chats', '0006_longer_chat_ids'),
        ('workspaces', '0001_initial'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name='inboundmessage',
            name='reply_to',
            field=models.CharField(blank=True, db_default='', max_length=120),
        ),
        migrations.CreateModel(
            name='ThreadClaim',
            fields=[
                ('id', models.UUIDField(default=services.kit.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('org_id', models.UUIDField(editable=False)),
                ('created_at', models.DateTimeField(default=services.kit.clock.now, editable=False)),
                ('thread_id', models.CharField(blank=True, max_length=120)),
                ('chat', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='claims', to='chats.chat')),
                ('user', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('workspace', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='claims', to='workspaces.workspace')),
            ],
            options={
                'db_table': 'thread_claim',
                'constraints': [models.UniqueConstraint(fields=('chat', 'thread_id'), name='thread_claim_once')],
            },
        ),
        secure_table("thread_claim"),
        reference_within_tenant("thread_claim", "chat_id", "chat"),
        reference_within_tenant("thread_claim", "workspace_id", "workspace"),
    ]
