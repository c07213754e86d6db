from django.db import migrations, models


class Migration(migrations.Migration):
    """A conversation of Teams has a long id, and the path of its service URL before it. A wider text rewrites no row."""

    dependencies = [
        ('chats', '0005_inbound_events'),
    ]

    operations = [
        migrations.AlterField(
            model_name='chat',
            name='platform_chat_id',
            field=models.CharField(max_length=255),
        ),
    ]
