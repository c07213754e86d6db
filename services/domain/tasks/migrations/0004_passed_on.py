from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('agents', '0003_owners_and_their_grants'),
        ('tasks', '0003_task_messages'),
        ('workspaces', '0001_initial'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddIndex(
            model_name='task',
            index=models.Index(condition=models.Q(('hops__gt', 0)), fields=['org_id', 'user', 'created_at'], name='task_passed_on'),
        ),
    ]
