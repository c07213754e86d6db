import django.db.models.deletion
import django.db.models.functions.datetime
import services.kit.clock
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('chats', '0009_shown_answers'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name='link',
            name='created_by',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddField(
            model_name='link',
            name='checked_at',
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name='link',
            name='next_check_at',
            field=models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), default=services.kit.clock.now),
        ),
        migrations.AddField(
            model_name='link',
            name='silent_checks',
            field=models.PositiveSmallIntegerField(db_default=0, default=0, help_text='How many times in a row the platform did not answer.'),
        ),
        migrations.AddIndex(
            model_name='link',
            index=models.Index(condition=models.Q(('status__in', ['connected', 'failed'])), fields=['next_check_at'], name='link_check_due'),
        ),
    ]
