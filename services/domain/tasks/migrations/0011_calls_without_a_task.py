import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('tasks', '0010_versions'),
    ]

    operations = [
        migrations.AlterField(
            model_name='usagerecord',
            name='task',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.CASCADE, related_name='usage_records', to='tasks.task'),
        ),
        migrations.AddField(
            model_name='usagerecord',
            name='agent_id',
            field=models.UUIDField(null=True),
        ),
        migrations.AddField(
            model_name='usagerecord',
            name='user_id',
            field=models.UUIDField(null=True),
        ),
        migrations.AddField(
            model_name='usagerecord',
            name='chat_id',
            field=models.UUIDField(null=True),
        ),
    ]
