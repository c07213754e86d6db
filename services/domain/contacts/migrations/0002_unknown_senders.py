import django.db.models.deletion
import services.kit.clock
import services.kit.ids
from django.conf import settings
from django.db import migrations, models

from services.kit.orgpg.operations import key_for_references, reference_within_tenant, secure_table


class Migration(migrations.Migration):

    dependencies = [
        ('approvals', '0002_rules_and_held_calls'),
        ('chats', '0004_link_unknown_senders'),
        ('contacts', '0001_initial'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='LinkSender',
            fields=[
                ('id', models.UUIDField(default=services.kit.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('org_id', models.UUIDField(editable=False)),
                ('created_at', models.DateTimeField(default=services.kit.clock.now, editable=False)),
                ('platform_user_id', models.CharField(max_length=120)),
                ('display_name', models.CharField(blank=True, max_length=200)),
                ('standing', models.CharField(choices=[('unknown', 'Unknown'), ('allowed', 'Allowed'), ('denied', 'Denied')], default='unknown', max_length=10)),
                ('refused_messages', models.PositiveIntegerField(default=0)),
                ('last_heard_at', models.DateTimeField(default=services.kit.clock.now)),
                ('decided_at', models.DateTimeField(null=True)),
                ('chat', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='chats.chat')),
                ('decided_by', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('link', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='senders', to='chats.link')),
            ],
            options={
                'db_table': 'link_sender',
                'constraints': [models.UniqueConstraint(fields=('link', 'platform_user_id'), name='link_sender_once')],
            },
        ),
        migrations.CreateModel(
            name='HeldMessage',
            fields=[
                ('id', models.UUIDField(default=services.kit.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('org_id', models.UUIDField(editable=False)),
                ('created_at', models.DateTimeField(default=services.kit.clock.now, editable=False)),
                ('state', models.CharField(choices=[('waiting', 'Waiting'), ('let_in', 'Let In'), ('refused', 'Refused')], default='waiting', max_length=8)),
                ('approval', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to='approvals.approval')),
                ('message', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='hold', to='chats.inboundmessage')),
                ('sender', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='held_messages', to='contacts.linksender')),
            ],
            options={
                'db_table': 'held_message',
            },
        ),
        secure_table("link_sender"),
        secure_table("held_message"),
        key_for_references("link_sender"),
        key_for_references("inbound_message"),
        reference_within_tenant("link_sender", "link_id", "link"),
        reference_within_tenant("link_sender", "chat_id", "chat"),
        reference_within_tenant("held_message", "message_id", "inbound_message"),
        reference_within_tenant("held_message", "sender_id", "link_sender"),
        reference_within_tenant("held_message", "approval_id", "approval"),
    ]
