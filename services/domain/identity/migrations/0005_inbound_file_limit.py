from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('identity', '0004_languages'),
    ]

    operations = [
        migrations.AddField(
            model_name='organisation',
            name='max_inbound_file_bytes',
            field=models.PositiveIntegerField(blank=True, help_text="How large a file from a chat may be; empty is the installation's limit.", null=True),
        ),
    ]
