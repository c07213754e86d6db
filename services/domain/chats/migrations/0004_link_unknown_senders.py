from django.db import migrations, models

CHOICES = [('public', 'Public'), ('request_approval', 'Request Approval'), ('strict', 'Strict')]


class Migration(migrations.Migration):
    """Links that are there go on to answer everybody; a new one asks."""

    dependencies = [
        ('chats', '0003_delivery_kinds'),
    ]

    operations = [
        migrations.AddField(
            model_name='link',
            name='unknown_senders',
            field=models.CharField(choices=CHOICES, db_default='public', default='request_approval', max_length=16),
        ),
        migrations.AlterField(
            model_name='link',
            name='unknown_senders',
            field=models.CharField(choices=CHOICES, db_default='request_approval', default='request_approval', max_length=16),
        ),
    ]
