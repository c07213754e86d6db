import django.db.models.deletion
import services.kit.clock
import services.kit.ids
from django.conf import settings
from django.db import migrations, models

from services.kit.orgpg.operations import reference_within_tenant, secure_table


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        ('chats', '0013_decisions'),
        ('tenancy', '0001_row_level_security'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='RoomFile',
            fields=[
                ('id', models.UUIDField(default=services.kit.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('org_id', models.UUIDField(editable=False)),
                ('created_at', models.DateTimeField(default=services.kit.clock.now, editable=False)),
                ('message_id', models.CharField(blank=True, max_length=120)),
                ('name', models.CharField(max_length=200)),
                ('content_type', models.CharField(max_length=120)),
                ('size_bytes', models.BigIntegerField()),
                ('key', models.CharField(max_length=200)),
                ('chat', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='room_files', to='chats.chat')),
                ('user', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'db_table': 'room_file',
                'indexes': [models.Index(fields=['chat', 'message_id'], name='room_file_of_message'), models.Index(condition=models.Q(('message_id', '')), fields=['created_at'], name='room_file_unsaid')],
            },
        ),
        migrations.CreateModel(
            name='RoomReaction',
            fields=[
                ('id', models.UUIDField(default=services.kit.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('org_id', models.UUIDField(editable=False)),
                ('created_at', models.DateTimeField(default=services.kit.clock.now, editable=False)),
                ('message_id', models.CharField(max_length=120)),
                ('emoji', models.CharField(max_length=40)),
                ('chat', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='room_reactions', to='chats.chat')),
                ('user', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'db_table': 'room_reaction',
                'constraints': [models.UniqueConstraint(fields=('chat', 'message_id', 'user', 'emoji'), name='room_reaction_once')],
            },
        ),
        secure_table("room_file"),
        secure_table("room_reaction"),
        reference_within_tenant("room_file", "chat_id", "chat"),
        reference_within_tenant("room_reaction", "chat_id", "chat"),
    ]
