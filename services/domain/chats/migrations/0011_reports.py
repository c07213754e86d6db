from django.db import migrations, models


class Migration(migrations.Migration):
    """How far a platform says that a delivery has come. Empty until it says so."""

    dependencies = [
        ('chats', '0010_link_health'),
    ]

    operations = [
        migrations.AddField(
            model_name='delivery',
            name='reached',
            field=models.CharField(blank=True, db_default='', default='', max_length=9),
        ),
        migrations.AddField(
            model_name='delivery',
            name='reached_at',
            field=models.DateTimeField(null=True),
        ),
    ]
