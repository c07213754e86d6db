from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('identity', '0007_token_kinds'),
    ]

    operations = [
        migrations.AddField(
            model_name='organisation',
            name='chat_keep_days',
            field=models.PositiveIntegerField(blank=True, help_text='For how many days what was said in chats is kept; 0 is for ever, empty is as for all.', null=True),
        ),
    ]
